#include "runner/encoder/pooling.hpp"

#include <algorithm>
#include <cmath>

namespace tidegate {
namespace {

/// target = sum over tokens [begin, count) of weight(token) * row, in that order.
template <class Weight>
void weighted_sum(const TokenRows& tokens, std::size_t begin, std::span<float> target, Weight weight) {
  std::fill(target.begin(), target.end(), 0.0F);
  for (std::size_t token = begin; token < tokens.count; ++token) {
    const float* row = tokens.first + token * tokens.stride;
    const float factor = weight(token);
    for (std::size_t i = 0; i < target.size(); ++i) target[i] += factor * row[i];
  }
}

void divide(std::span<float> target, float divisor) {
  for (float& value : target) value /= std::max(divisor, 1e-9F);
}

void maximum(const TokenRows& tokens, std::size_t begin, std::span<float> target) {
  std::fill(target.begin(), target.end(), -1e9F);
  for (std::size_t token = begin; token < tokens.count; ++token) {
    const float* row = tokens.first + token * tokens.stride;
    // The first counted row is taken as it is: values may lie below the filler.
    for (std::size_t i = 0; i < target.size(); ++i) target[i] = token == begin ? row[i] : std::max(target[i], row[i]);
  }
}

void weighted_mean(const TokenRows& tokens, std::size_t begin, std::span<float> target) {
  weighted_sum(tokens, begin, target, [](std::size_t token) { return static_cast<float>(token + 1); });
  float total = 0;
  for (std::size_t token = begin; token < tokens.count; ++token) total += static_cast<float>(token + 1);
  divide(target, total);
}

}  // namespace

std::size_t pooled_width(const PoolingConfig& config, std::size_t hidden) noexcept {
  const int modes = int{config.cls_token} + int{config.max_tokens} + int{config.mean_tokens} +
                    int{config.mean_sqrt_len_tokens} + int{config.weighted_mean_tokens} + int{config.last_token};
  return static_cast<std::size_t>(modes) * hidden;
}

void pool(const PoolingConfig& config, const TokenRows& tokens, std::size_t prompt_tokens, std::span<float> target) {
  const std::size_t begin = config.include_prompt ? 0 : std::min(prompt_tokens, tokens.count);
  const auto counted = static_cast<float>(tokens.count - begin);
  const auto one = [](std::size_t) { return 1.0F; };
  std::size_t offset = 0;
  const auto next = [&] {
    const std::span<float> part = target.subspan(offset, tokens.width);
    offset += tokens.width;
    return part;
  };
  if (config.cls_token) std::copy_n(tokens.first, tokens.width, next().begin());
  if (config.max_tokens) maximum(tokens, begin, next());
  if (config.mean_tokens) {
    const std::span<float> part = next();
    weighted_sum(tokens, begin, part, one);
    divide(part, counted);
  }
  if (config.mean_sqrt_len_tokens) {
    const std::span<float> part = next();
    weighted_sum(tokens, begin, part, one);
    divide(part, std::sqrt(counted));
  }
  if (config.weighted_mean_tokens) weighted_mean(tokens, begin, next());
  if (config.last_token) {
    std::copy_n(tokens.first + (tokens.count - 1) * tokens.stride, tokens.width, next().begin());
  }
}

void normalize(std::span<float> vector) noexcept {
  float squares = 0;
  for (const float value : vector) squares += value * value;
  const float length = std::max(std::sqrt(squares), 1e-12F);
  for (float& value : vector) value /= length;
}

}  // namespace tidegate
