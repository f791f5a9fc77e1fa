// The kernels over a vector type `V`, which the including file defines before. Each
// including file is compiled for one instruction set, so nothing here may leave the
// unnamed namespace or call an inline function of the standard library: the linker
// would keep one copy of it for every processor.
#pragma once

#include "runner/encoder/attention_layout.hpp"
#include "runner/encoder/kernels.hpp"

namespace tidegate {
namespace {

using Reg = V::Reg;
constexpr std::size_t kLanes = V::kLanes;
constexpr std::size_t kStrip = 2 * kLanes;

// ---- elementary functions -------------------------------------------------------

/// Horner's rule, highest power first.
template <std::size_t N>
inline Reg polynomial(Reg x, const float (&coefficients)[N]) {
  Reg result = V::set(coefficients[0]);
  for (std::size_t i = 1; i < N; ++i) result = V::fma(result, x, V::set(coefficients[i]));
  return result;
}

/// e^x, relative error below 2e-7; x is clamped to [-87.3, 88.3], NaN stays NaN.
inline Reg exponential(Reg x) {
  // Taylor-like near-minimax polynomial on [-ln 2 / 2, ln 2 / 2].
  static constexpr float kSeries[] = {0.00139411085F, 0.00837512594F, 0.0416663513F, 0.166664153F, 0.5F, 1.0F, 1.0F};
  x = V::min(V::set(88.3F), V::max(V::set(-87.3F), x));
  const Reg power = V::round(V::mul(x, V::set(1.44269502F)));
  Reg rest = V::fma(power, V::set(-0.693359375F), x);  // ln 2 in two parts: the first product is exact
  rest = V::fma(power, V::set(0.000212194442F), rest);
  return V::scale(polynomial(rest, kSeries), power);
}

/// erf, absolute error below 2.5e-7: a polynomial in x^2 up to 1, beyond it
/// 1 - e^p(|x|) with p near ln erfc.
inline Reg error_function(Reg x) {
  static constexpr float kInner[] = {7.87587487e-05F, -0.00080168643F, 0.00518908724F, -0.0268542115F,
                                     0.112835944F,    -0.37612626F,    1.12837911F};
  static constexpr float kOuter[] = {1.6371514e-06F,   -1.33150143e-05F, 7.72913772e-05F,
                                     -0.000420122524F, 0.00216530357F,   -0.0108585414F,
                                     -0.943893731F,    -5.35268068F,     -7.80681515F};
  const Reg magnitude = V::abs(x);
  const Reg inner = V::mul(x, polynomial(V::mul(x, x), kInner));
  const Reg clamped = V::min(V::set(4.0F), magnitude);  // 1 - erf(4) is below half a unit in the last place
  const Reg tail = exponential(polynomial(V::sub(clamped, V::set(2.5F)), kOuter));
  const Reg outer = V::copy_sign(V::sub(V::set(1.0F), tail), x);
  return V::select_greater(magnitude, V::set(1.0F), outer, inner);
}

template <Activation activation>
inline Reg activate(Reg x) {
  const Reg one = V::set(1.0F);
  if constexpr (activation == Activation::gelu_erf) {
    const Reg half = V::mul(x, V::set(0.5F));
    return V::fma(half, error_function(V::mul(x, V::set(0.707106781F))), half);
  } else if constexpr (activation == Activation::gelu_tanh) {
    // x / 2 (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3)
    const Reg cubic = V::mul(V::mul(x, x), V::set(0.044715F));
    const Reg argument = V::mul(V::fma(cubic, x, x), V::set(-1.59576912F));
    return V::div(x, V::add(one, exponential(argument)));
  } else if constexpr (activation == Activation::relu) {
    return V::max(V::set(0.0F), x);
  } else if constexpr (activation == Activation::tanh) {
    // From |x|, so that the quotient loses nothing; below 2^-8 the series does.
    const Reg magnitude = V::abs(x);
    const Reg decay = exponential(V::mul(magnitude, V::set(-2.0F)));
    const Reg large = V::copy_sign(V::div(V::sub(one, decay), V::add(one, decay)), x);
    const Reg square = V::mul(x, x);
    const Reg small = V::fma(V::mul(square, x), V::set(-0.333333343F), x);
    return V::select_greater(magnitude, V::set(0.00390625F), large, small);
  } else {
    return x;
  }
}

// ---- products -------------------------------------------------------------------

/// Steps ahead at which weights are fetched: 4 KiB, beyond the page at which the
/// processor's own prefetcher stops (docs/decisions/0002-onednn-version.md).
constexpr std::size_t kPrefetch = 64;

enum class Start { from_zero, from_target };

/// Rows x kStrip outputs held in registers while `inner` is walked. Each
/// output is one chain of fused multiply-adds in the order of `inner`, so it is the
/// same for every number of rows.
template <int Rows, Start start>
inline void tile(const float* x, std::size_t x_stride, const float* packed, float* y, std::size_t y_stride,
                 std::size_t inner) {
  Reg sums[Rows][2];
#pragma GCC unroll 16
  for (int row = 0; row < Rows; ++row) {
#pragma GCC unroll 2
    for (std::size_t half = 0; half < 2; ++half) {
      if constexpr (start == Start::from_zero) {
        sums[row][half] = V::set(0.0F);
      } else {
        sums[row][half] = V::load(y + static_cast<std::size_t>(row) * y_stride + half * kLanes);
      }
    }
  }
  for (std::size_t k = 0; k < inner; ++k) {
    __builtin_prefetch(packed + (k + kPrefetch) * kStrip);
    const Reg left = V::load(packed + k * kStrip);
    const Reg right = V::load(packed + k * kStrip + kLanes);
#pragma GCC unroll 16
    for (int row = 0; row < Rows; ++row) {
      const Reg factor = V::set(x[static_cast<std::size_t>(row) * x_stride + k]);
      sums[row][0] = V::fma(factor, left, sums[row][0]);
      sums[row][1] = V::fma(factor, right, sums[row][1]);
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < Rows; ++row) {
#pragma GCC unroll 2
    for (std::size_t half = 0; half < 2; ++half) {
      V::store(y + static_cast<std::size_t>(row) * y_stride + half * kLanes, sums[row][half]);
    }
  }
}

/// The last rows, fewer than a full tile.
template <int Rows, Start start>
inline void tail_tile(std::size_t rows, const float* x, std::size_t x_stride, const float* packed, float* y,
                      std::size_t y_stride, std::size_t inner) {
  if (rows == static_cast<std::size_t>(Rows)) return tile<Rows, start>(x, x_stride, packed, y, y_stride, inner);
  if constexpr (Rows > 1) tail_tile<Rows - 1, start>(rows, x, x_stride, packed, y, y_stride, inner);
}

/// All rows against one strip, over a part of `inner`.
template <Start start>
inline void strip_product(std::size_t rows, const float* x, std::size_t x_stride, const float* packed, float* y,
                          std::size_t y_stride, std::size_t inner) {
  constexpr std::size_t kRows = V::kTileRows;
  std::size_t row = 0;
  for (; row + kRows <= rows; row += kRows) {
    tile<V::kTileRows, start>(x + row * x_stride, x_stride, packed, y + row * y_stride, y_stride, inner);
  }
  if (row == rows) return;
  tail_tile<V::kTileRows - 1, start>(rows - row, x + row * x_stride, x_stride, packed, y + row * y_stride, y_stride,
                                     inner);
}

/// Longest part of `inner` walked at once: its 16 or 32 KiB of a strip stay in the
/// level-1 cache while the rows pass.
constexpr std::size_t kInnerBlock = 256;

void product(const ProductCall& call) {
  const std::size_t blocks = (call.inner + kInnerBlock - 1) / kInnerBlock;
  const std::size_t step = blocks == 0 ? 1 : (call.inner + blocks - 1) / blocks;
  for (std::size_t k = 0; k < call.inner; k += step) {
    const std::size_t part = call.inner - k < step ? call.inner - k : step;
    for (std::size_t column = 0; column < call.columns; column += kStrip) {
      const float* packed = call.packed + column * call.inner + k * kStrip;
      if (k == 0) {
        strip_product<Start::from_zero>(call.rows, call.x, call.x_stride, packed, call.y + column, call.y_stride, part);
      } else {
        strip_product<Start::from_target>(call.rows, call.x + k, call.x_stride, packed, call.y + column, call.y_stride,
                                          part);
      }
    }
  }
}

// ---- LayerNorm and activations ----------------------------------------------------

/// Lanes in use at `index` of a row of `width`.
inline std::size_t lanes_at(std::size_t index, std::size_t width) {
  return width - index < kLanes ? width - index : kLanes;
}

void residual_norm(const ResidualNormCall& call) {
  const Reg inverse_width = V::set(1.0F / static_cast<float>(call.width));
  for (std::size_t row = 0; row < call.rows; ++row) {
    float* x = call.x + row * call.x_stride;
    const float* addend = call.addend + row * call.addend_stride;
    Reg sum = V::set(0.0F);
    for (std::size_t i = 0; i < call.width; i += kLanes) {
      const std::size_t lanes = lanes_at(i, call.width);
      const Reg biased = V::add(V::load_part(addend + i, lanes), V::load_part(call.bias + i, lanes));
      const Reg value = V::add(V::load_part(x + i, lanes), biased);
      V::store_part(x + i, value, lanes);
      sum = V::add(sum, value);
    }
    const Reg mean = V::mul(V::set(V::sum(sum)), inverse_width);
    Reg squares = V::set(0.0F);
    for (std::size_t i = 0; i < call.width; i += kLanes) {
      const std::size_t lanes = lanes_at(i, call.width);
      const Reg centered = V::keep(V::sub(V::load_part(x + i, lanes), mean), lanes);
      squares = V::fma(centered, centered, squares);
    }
    const Reg variance = V::mul(V::set(V::sum(squares)), inverse_width);
    const Reg scale = V::div(V::set(1.0F), V::sqrt(V::add(variance, V::set(call.epsilon))));
    for (std::size_t i = 0; i < call.width; i += kLanes) {
      const std::size_t lanes = lanes_at(i, call.width);
      const Reg normal = V::mul(V::sub(V::load_part(x + i, lanes), mean), scale);
      const Reg value = V::fma(normal, V::load_part(call.gamma + i, lanes), V::load_part(call.beta + i, lanes));
      V::store_part(x + i, value, lanes);
    }
  }
}

/// One activation a loop: chosen inside, the choice would cost as much as the function.
template <Activation activation>
inline void bias_activation_as(const BiasActivationCall& call) {
  for (std::size_t row = 0; row < call.rows; ++row) {
    float* x = call.x + row * call.stride;
    std::size_t i = 0;
    for (; i + kLanes <= call.width; i += kLanes) {
      V::store(x + i, activate<activation>(V::add(V::load(x + i), V::load(call.bias + i))));
    }
    if (i == call.width) continue;
    const std::size_t lanes = call.width - i;
    const Reg biased = V::add(V::load_part(x + i, lanes), V::load_part(call.bias + i, lanes));
    V::store_part(x + i, activate<activation>(biased), lanes);
  }
}

void bias_activation(const BiasActivationCall& call) {
  switch (call.activation) {
    case Activation::identity: return bias_activation_as<Activation::identity>(call);
    case Activation::gelu_erf: return bias_activation_as<Activation::gelu_erf>(call);
    case Activation::gelu_tanh: return bias_activation_as<Activation::gelu_tanh>(call);
    case Activation::relu: return bias_activation_as<Activation::relu>(call);
    case Activation::tanh: return bias_activation_as<Activation::tanh>(call);
  }
}

// ---- attention --------------------------------------------------------------------

/// Copies one head's operands to where the products want them, bias added.
inline void gather_head(const AttentionCall& call, const AttentionLayout& at, std::size_t head) {
  const std::size_t size = call.head_size;
  const std::size_t hidden = call.heads * size;
  const Reg scale = V::div(V::set(1.0F), V::sqrt(V::set(static_cast<float>(size))));
  const float* query_bias = call.bias + head * size;
  const float* key_bias = query_bias + hidden;
  const float* value_bias = key_bias + hidden;
  float* queries = call.scratch + at.queries;
  float* keys = call.scratch + at.keys;
  float* values = call.scratch + at.values;
  for (std::size_t row = 0; row < call.length; ++row) {
    const float* query = call.qkv + row * call.qkv_stride + head * size;
    const float* key = query + hidden;
    const float* value = key + hidden;
    for (std::size_t i = 0; i < size; i += kLanes) {
      const std::size_t lanes = lanes_at(i, size);
      const Reg biased = V::add(V::load_part(query + i, lanes), V::load_part(query_bias + i, lanes));
      V::store_part(queries + row * size + i, V::mul(biased, scale), lanes);
      float* target = values + i / kStrip * call.length * kStrip + row * kStrip + i % kStrip;
      V::store(target, V::add(V::load_part(value + i, lanes), V::load_part(value_bias + i, lanes)));
    }
    for (std::size_t i = size; i % kStrip != 0; ++i) {
      values[i / kStrip * call.length * kStrip + row * kStrip + i % kStrip] = 0.0F;
    }
    float* column = keys + row / kStrip * size * kStrip + row % kStrip;
    for (std::size_t i = 0; i < size; ++i) column[i * kStrip] = key[i] + key_bias[i];
  }
  for (std::size_t row = call.length; row < at.padded_keys; ++row) {
    float* column = keys + row / kStrip * size * kStrip + row % kStrip;
    for (std::size_t i = 0; i < size; ++i) column[i * kStrip] = 0.0F;
  }
}

/// Turns a row of scores into e^(score - highest); answers their sum.
inline float soften(float* scores, std::size_t length) {
  Reg highest = V::set(-__builtin_inff());
  for (std::size_t i = 0; i < length; i += kLanes) {
    const std::size_t lanes = lanes_at(i, length);
    highest = V::max(highest, V::fill(V::load_part(scores + i, lanes), -__builtin_inff(), lanes));
  }
  const Reg top = V::set(V::highest(highest));
  Reg sum = V::set(0.0F);
  for (std::size_t i = 0; i < length; i += kLanes) {
    const std::size_t lanes = lanes_at(i, length);
    const Reg power = exponential(V::sub(V::load_part(scores + i, lanes), top));
    V::store_part(scores + i, power, lanes);
    sum = V::add(sum, V::keep(power, lanes));
  }
  return V::sum(sum);
}

/// Queries [first, first + rows) of one head, whose operands lie in the scratch space.
inline void attend(const AttentionCall& call, const AttentionLayout& at, std::size_t head, std::size_t first,
                   std::size_t rows) {
  const std::size_t size = call.head_size;
  const float* queries = call.scratch + at.queries + first * size;
  float* scores = call.scratch + at.scores;
  float* sums = call.scratch + at.sums;
  float* output = call.scratch + at.output;
  for (std::size_t key = 0; key < at.padded_keys; key += kStrip) {
    const float* keys = call.scratch + at.keys + key * size;
    strip_product<Start::from_zero>(rows, queries, size, keys, scores + key, at.padded_keys, size);
  }
  for (std::size_t row = 0; row < rows; ++row) sums[row] = soften(scores + row * at.padded_keys, call.length);
  for (std::size_t column = 0; column < at.padded_head; column += kStrip) {
    const float* values = call.scratch + at.values + column * call.length;
    strip_product<Start::from_zero>(rows, scores, at.padded_keys, values, output + column, at.padded_head, call.length);
  }
  for (std::size_t row = 0; row < rows; ++row) {
    const Reg factor = V::div(V::set(1.0F), V::set(sums[row]));
    float* context = call.context + (first + row) * call.context_stride + head * size;
    for (std::size_t i = 0; i < size; i += kLanes) {
      V::store_part(context + i, V::mul(V::load(output + row * at.padded_head + i), factor), lanes_at(i, size));
    }
  }
}

void attention(const AttentionCall& call) {
  const AttentionLayout at = AttentionLayout::of(call.length, call.head_size, kStrip);
  for (std::size_t head = 0; head < call.heads; ++head) {
    gather_head(call, at, head);
    for (std::size_t first = 0; first < call.length; first += AttentionLayout::kQueries) {
      const std::size_t left = call.length - first;
      attend(call, at, head, first, left < AttentionLayout::kQueries ? left : AttentionLayout::kQueries);
    }
  }
}

}  // namespace
}  // namespace tidegate
