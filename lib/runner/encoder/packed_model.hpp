// PackedModel: a model's numbers laid out for the kernels, whoever owns the memory.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "runner/encoder/encoder_model.hpp"
#include "runner/encoder/numbers.hpp"

namespace tidegate {

/// A matrix and its bias. Arrays over columns are padded with zeros to whole strips.
struct PackedLinear {
  Number number = Number::f32;
  std::size_t inner = 0;
  std::size_t columns = 0;
  const std::byte* strips = nullptr;    ///< as ProductCall::strips
  const float* column_scale = nullptr;  ///< u8 only
  const float* column_sum = nullptr;    ///< u8 only: column_scale times the sum of the column's weights
  const float* bias = nullptr;
};

/// A LayerNorm, and the same with the smoothing factors of the product it feeds
/// divided out (SmoothQuant, Xiao et al. 2022); equal pointers where there are none.
struct PackedNorm {
  const float* gamma = nullptr;
  const float* beta = nullptr;
  const float* next_gamma = nullptr;
  const float* next_beta = nullptr;
};

struct PackedLayer {
  PackedLinear qkv;  ///< query, key and value side by side
  PackedLinear attention_output;
  PackedLinear intermediate;
  PackedLinear output;
  PackedNorm attention_norm;  ///< feeds `intermediate`
  PackedNorm output_norm;     ///< feeds the next layer's `qkv`
};

/// Views only.
struct PackedModel {
  DataType word_type = DataType::f32;  ///< f32, f16 or bf16
  const std::byte* words = nullptr;    ///< [vocab_size, hidden] of word_type
  const float* positions = nullptr;    ///< [max_tokens, hidden]
  const float* token_type = nullptr;   ///< [hidden]: every token of a single text has type 0
  PackedNorm embedding_norm;           ///< feeds layer 0
  std::vector<PackedLayer> layers;
  std::vector<PackedLinear> dense;  ///< the stages' matrices in order, f32
};

}  // namespace tidegate
