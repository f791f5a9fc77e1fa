#include "runner/encoder/activation_statistics.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace tidegate {
namespace {

constexpr std::size_t kRowsTogether = 128;  // whole cache lines of a transposed row
constexpr std::size_t kMaxRows = 4096;      // more barely change the moments and cost width^2 each

}  // namespace

ActivationStatistics::ActivationStatistics(const EncoderConfig& config, const Kernels& kernels,
                                           std::size_t moment_bytes)
    : kernels_(&kernels), inputs_(config.layers * kLinearKinds) {
  std::size_t widest = 0;
  std::size_t layer_bytes = 0;
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    const bool wide = static_cast<LinearKind>(i % kLinearKinds) == LinearKind::output;
    const std::size_t width = wide ? config.intermediate_size : config.hidden_size;
    InputStatistics& statistics = inputs_[i].statistics;
    statistics.width = width;
    statistics.reach.resize(width);
    if (i < kLinearKinds) layer_bytes += (width + kRowsTogether) * width * sizeof(float);
    widest = std::max(widest, round_up(width, kStrip));
  }
  transposed_ = AlignedArray<float>(widest * kRowsTogether);
  strips_ = AlignedArray<float>(widest * kRowsTogether);
  sums_ = AlignedArray<float>(kPanelRows * widest);
  if (layer_bytes > 0) layers_together_ = std::max<std::size_t>(1, moment_bytes / layer_bytes);
  gather(0);
}

void ActivationStatistics::gather(std::size_t first) {
  for (Input& input : inputs_) {
    input.statistics.rows = 0;
    input.statistics.moments = {};
    input.waiting = {};
    input.waiting_rows = 0;
  }
  const std::size_t end = std::min(inputs_.size(), (first + layers_together_) * kLinearKinds);
  for (std::size_t i = first * kLinearKinds; i < end; ++i) {
    const std::size_t width = inputs_[i].statistics.width;
    inputs_[i].statistics.moments = AlignedArray<float>(width * width);
    inputs_[i].waiting = AlignedArray<float>(kRowsTogether * width);
  }
}

void ActivationStatistics::observe(std::size_t layer, LinearKind kind, const float* x, std::size_t stride,
                                   std::size_t rows, std::size_t width) {
  Input& input = inputs_[layer * kLinearKinds + static_cast<std::size_t>(kind)];
  InputStatistics& statistics = input.statistics;
  for (std::size_t row = 0; row < rows; ++row, x += stride) {
    for (std::size_t i = 0; i < width; ++i) statistics.reach[i] = std::max(statistics.reach[i], std::abs(x[i]));
    if (input.waiting.size() == 0 || statistics.rows + input.waiting_rows >= kMaxRows) continue;
    std::memcpy(input.waiting.data() + input.waiting_rows * width, x, width * sizeof(float));
    if (++input.waiting_rows == kRowsTogether) sum_up(input);
  }
}

void ActivationStatistics::finish() {
  for (Input& input : inputs_) {
    if (input.waiting_rows > 0) sum_up(input);
  }
}

/// moments += transposed rows * rows, panels of it as far as the diagonal.
void ActivationStatistics::sum_up(Input& input) {
  const std::size_t width = input.statistics.width;
  const std::size_t padded = round_up(width, kStrip);
  std::memset(transposed_.data(), 0, padded * kRowsTogether * sizeof(float));
  std::memset(strips_.data(), 0, padded * kRowsTogether * sizeof(float));
  for (std::size_t row = 0; row < input.waiting_rows; ++row) {
    const float* x = input.waiting.data() + row * width;
    for (std::size_t i = 0; i < width; ++i) {
      transposed_.data()[i * kRowsTogether + row] = x[i];
      strips_.data()[(i / kStrip * kRowsTogether + row) * kStrip + i % kStrip] = x[i];
    }
  }
  const auto product = kernels_->product[static_cast<std::size_t>(Number::f32)];
  for (std::size_t first = 0; first < width; first += kPanelRows) {
    const std::size_t count = std::min(kPanelRows, width - first);
    const std::size_t columns = std::min(padded, round_up(first + count, kStrip));
    product({transposed_.data() + first * kRowsTogether, kRowsTogether, strips_.data(), sums_.data(), padded, count,
             kRowsTogether, columns});
    for (std::size_t row = 0; row < count; ++row) {
      float* moments = input.statistics.moments.data() + (first + row) * width;
      const float* sums = sums_.data() + row * padded;
      for (std::size_t i = 0; i <= first + row; ++i) moments[i] += sums[i];
    }
  }
  input.statistics.rows += input.waiting_rows;
  input.waiting_rows = 0;
}

}  // namespace tidegate
