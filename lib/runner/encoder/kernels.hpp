// Kernels: the encoder's inner loops, one table per instruction set.
//
// Every result row depends on its own inputs alone and is summed in one fixed
// order, whatever the number of rows in a call: that is what makes an embedding's
// bits independent of its batch. Matrices are row-major; a stride counts floats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "runner/encoder/cpu_features.hpp"
#include "runner/encoder/encoder_model.hpp"

namespace tidegate {

/// Rows of activation matrices are padded to whole multiples of this, the widest
/// strip of any set. What lies in the padding is unspecified and never read.
inline constexpr std::size_t kColumnUnit = 32;

[[nodiscard]] [[gnu::always_inline]] constexpr std::size_t round_up(std::size_t value, std::size_t unit) noexcept {
  return (value + unit - 1) / unit * unit;
}

/// y = x * w. `packed` holds w as strips of Kernels::strip columns, zero beyond the
/// last real one: [columns / strip][inner][strip].
struct ProductCall {
  const float* x;
  std::size_t x_stride;
  const float* packed;
  float* y;
  std::size_t y_stride;
  std::size_t rows;
  std::size_t inner;
  std::size_t columns;  ///< whole strips
};

/// x = LayerNorm(x + addend + bias), row by row.
struct ResidualNormCall {
  float* x;
  std::size_t x_stride;
  const float* addend;
  std::size_t addend_stride;
  const float* bias;
  const float* gamma;
  const float* beta;
  float epsilon;
  std::size_t rows;
  std::size_t width;
};

/// x = activation(x + bias), row by row.
struct BiasActivationCall {
  float* x;
  std::size_t stride;
  const float* bias;
  Activation activation;
  std::size_t rows;
  std::size_t width;
};

/// Self-attention within one sequence. A row of `qkv` is query, key and value side
/// by side, heads within each, without their bias, which is added here.
struct AttentionCall {
  const float* qkv;
  std::size_t qkv_stride;
  const float* bias;  ///< [3 * heads * head_size]
  float* context;
  std::size_t context_stride;
  std::size_t length;
  std::size_t heads;
  std::size_t head_size;
  float* scratch;  ///< attention_scratch(length, head_size) floats, 64-byte aligned
};

struct Kernels {
  KernelSet set;
  std::size_t strip;  ///< columns of a packed strip: divides kColumnUnit
  void (*product)(const ProductCall& call);
  void (*residual_norm)(const ResidualNormCall& call);
  void (*bias_activation)(const BiasActivationCall& call);
  void (*attention)(const AttentionCall& call);
};

/// Floats of scratch space that `attention` needs, for every set.
[[nodiscard]] std::size_t attention_scratch(std::size_t length, std::size_t head_size) noexcept;

/// The table of one set; the caller has checked `supports`.
[[nodiscard]] const Kernels& kernels_of(KernelSet set) noexcept;

// One per translation unit, each compiled for its instruction set.
extern const Kernels kPlainKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;

}  // namespace tidegate
