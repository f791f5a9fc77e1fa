// Pooling: token vectors to one vector, as sentence-transformers does.
#pragma once

#include <cstddef>
#include <span>

#include "runner/encoder/encoder_model.hpp"

namespace tidegate {

/// The final token vectors of one text.
struct TokenRows {
  const float* first;
  std::size_t stride;
  std::size_t count;  ///< >= 1
  std::size_t width;
};

/// Length of a pooled vector: `hidden` for each mode that is on.
[[nodiscard]] std::size_t pooled_width(const PoolingConfig& config, std::size_t hidden) noexcept;

/// Writes the modes that are on, in the order of PoolingConfig, to the front of
/// `target`. Where the configuration leaves the prompt out, means and maximum skip
/// the first `prompt_tokens` tokens; if none remain, a mean is zero and the maximum
/// -1e9, as sentence-transformers answers.
void pool(const PoolingConfig& config, const TokenRows& tokens, std::size_t prompt_tokens, std::span<float> target);

/// Divides by the Euclidean length, or by 1e-12 if that is larger.
void normalize(std::span<float> vector) noexcept;

}  // namespace tidegate
