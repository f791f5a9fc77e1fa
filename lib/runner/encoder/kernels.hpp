// Kernels: the encoder's inner loops, one table per instruction set.
//
// Every result row depends on its own inputs alone and is summed in one fixed
// order, whatever the number of rows or columns in a call: that is what makes an
// embedding's bits independent of its batch. Matrices are row-major; a stride counts
// values of the matrix's own type.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runner/encoder/cpu_features.hpp"
#include "runner/encoder/encoder_model.hpp"
#include "runner/encoder/numbers.hpp"

namespace tidegate {

/// sums = x * w. `strips` holds w as [columns / kStrip][groups][kStrip] groups of four
/// bytes, zero beyond the last real row and column.
struct ProductCall {
  const void* x;         ///< [rows] of `groups` groups, in the product's Number
  std::size_t x_stride;  ///< values
  const void* strips;
  void* sums;  ///< [rows, columns] f32, or int32 for u8
  std::size_t sums_stride;
  std::size_t rows;
  std::size_t groups;
  std::size_t columns;  ///< whole strips
};

/// How a product's sums become values: sum + bias, and for u8
/// step * (scale * sum) + low * column_sum + bias.
struct Dequantizer {
  Number number;
  const float* column_scale;  ///< [width]; u8 only
  const float* column_sum;    ///< [width]; u8 only: scale times the sum of the column's weights
  const float* bias;          ///< [width]
  const RowScale* rows;       ///< [rows]; u8 only
};

/// target = activation(values), f32 or bf16. The GELU is within
/// 4e-7 of the exact one for sums of f32 products, within 5e-6 for the others.
struct FinishCall {
  const void* sums;
  std::size_t sums_stride;
  Dequantizer values;
  Activation activation;
  Number target_number;  ///< f32 or bf16
  void* target;
  std::size_t target_stride;
  std::size_t rows;
  std::size_t width;
};

/// Where the input of the next product goes.
struct NextInput {
  Number number;  ///< f32: the product reads x itself and nothing here but this counts
  void* target;   ///< [rows, width]
  std::size_t stride;
  RowScale* scales;    ///< [rows]; u8 only
  const float* gamma;  ///< [width]: the LayerNorm's, with the next product's smoothing folded in
  const float* beta;
};

/// x = LayerNorm(x + values), and its copy for the next product.
struct NormCall {
  float* x;
  std::size_t x_stride;
  const void* sums;
  std::size_t sums_stride;
  Dequantizer values;
  const float* gamma;
  const float* beta;
  float epsilon;
  NextInput next;
  std::size_t rows;
  std::size_t width;
};

/// Rows of f32 to u8.
struct NarrowCall {
  const float* x;
  std::size_t x_stride;
  std::uint8_t* target;  ///< [rows, width]
  std::size_t target_stride;
  RowScale* scales;  ///< [rows]
  std::size_t rows;
  std::size_t width;
};

/// Self-attention of one head within one sequence. A row of `qkv` is query, key and
/// value side by side, heads within each, bias added.
struct AttentionCall {
  Number number;  ///< of qkv: f32, or the table's attention_number
  const void* qkv;
  std::size_t qkv_stride;
  Number context_number;  ///< f32 or bf16
  void* context;
  std::size_t context_stride;
  std::size_t length;
  std::size_t head;
  std::size_t heads;
  std::size_t head_size;
  float* scratch;  ///< attention_scratch(length, head_size) floats, 64-byte aligned
};

struct Kernels {
  KernelSet set;
  Number attention_number;  ///< what attention of a bf16 or u8 model multiplies fastest
  void (*product[kNumbers])(const ProductCall& call);
  void (*finish)(const FinishCall& call);
  void (*norm)(const NormCall& call);
  void (*narrow)(const NarrowCall& call);
  void (*attention)(const AttentionCall& call);
};

/// Floats of scratch space that `attention` needs, for every set and number.
[[nodiscard]] std::size_t attention_scratch(std::size_t length, std::size_t head_size) noexcept;

/// The table of one set; the caller has checked `supports`.
[[nodiscard]] const Kernels& kernels_of(KernelSet set) noexcept;

// One per translation unit, each compiled for its instruction set.
extern const Kernels kPlainKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
extern const Kernels kAvx512VnniKernels;
extern const Kernels kAvx512Bf16Kernels;

}  // namespace tidegate
