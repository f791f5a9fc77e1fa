// The kernels as plain loops, in double precision beside the products: the oracle of
// the vector kernels, and what runs where there is no AVX2.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>

#include "runner/encoder/attention_layout.hpp"
#include "runner/encoder/kernels.hpp"
#include "runner/encoder/narrow.hpp"

namespace tidegate {
namespace {

float from_bf16(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

/// Number `i` of a row of f32 or bf16.
float number_at(Number number, const void* row, std::size_t i) {
  if (number == Number::bf16) return from_bf16(static_cast<const std::uint16_t*>(row)[i]);
  return static_cast<const float*>(row)[i];
}

void put_number(Number number, void* row, std::size_t i, float value) {
  if (number == Number::bf16) {
    static_cast<std::uint16_t*>(row)[i] = to_bf16(value);
  } else {
    static_cast<float*>(row)[i] = value;
  }
}

const std::byte* row_of(const void* matrix, std::size_t row, std::size_t stride, std::size_t bytes) {
  return static_cast<const std::byte*>(matrix) + row * stride * bytes;
}
std::byte* row_of(void* matrix, std::size_t row, std::size_t stride, std::size_t bytes) {
  return static_cast<std::byte*>(matrix) + row * stride * bytes;
}

// ---- products ---------------------------------------------------------------------

struct PlainF32 {
  using Sum = float;
  static constexpr Number kNumber = Number::f32;
  static void add(Sum (&sums)[kStrip], const std::byte* x, const std::byte* strip) {
    float factor;
    float weights[kStrip];
    std::memcpy(&factor, x, sizeof factor);
    std::memcpy(weights, strip, sizeof weights);
    for (std::size_t j = 0; j < kStrip; ++j) sums[j] += factor * weights[j];
  }
};

struct PlainBf16 {
  using Sum = float;
  static constexpr Number kNumber = Number::bf16;
  static void add(Sum (&sums)[kStrip], const std::byte* x, const std::byte* strip) {
    std::uint32_t factors;
    std::uint32_t weights[kStrip];
    std::memcpy(&factors, x, sizeof factors);
    std::memcpy(weights, strip, sizeof weights);
    const float first = std::bit_cast<float>(factors << 16);
    const float second = std::bit_cast<float>(factors & 0xFFFF0000U);
    for (std::size_t j = 0; j < kStrip; ++j) {
      sums[j] += first * std::bit_cast<float>(weights[j] << 16);
      sums[j] += second * std::bit_cast<float>(weights[j] & 0xFFFF0000U);
    }
  }
};

struct PlainU8 {
  using Sum = std::int32_t;
  static constexpr Number kNumber = Number::u8;
  static void add(Sum (&sums)[kStrip], const std::byte* x, const std::byte* strip) {
    std::uint8_t factors[4];
    std::int8_t weights[4 * kStrip];
    std::memcpy(factors, x, sizeof factors);
    std::memcpy(weights, strip, sizeof weights);
    for (std::size_t j = 0; j < kStrip; ++j) {
      sums[j] += factors[0] * weights[4 * j] + factors[1] * weights[4 * j + 1] + factors[2] * weights[4 * j + 2] +
                 factors[3] * weights[4 * j + 3];
    }
  }
};

template <class Plain>
void product(const ProductCall& call) {
  for (std::size_t column = 0; column < call.columns; column += kStrip) {
    const std::byte* strip = static_cast<const std::byte*>(call.strips) + column * call.groups * 4;
    for (std::size_t row = 0; row < call.rows; ++row) {
      const std::byte* x = row_of(call.x, row, call.x_stride, bytes_of(Plain::kNumber));
      typename Plain::Sum sums[kStrip] = {};
      for (std::size_t group = 0; group < call.groups; ++group) {
        Plain::add(sums, x + group * 4, strip + group * kStrip * 4);
      }
      std::memcpy(row_of(call.sums, row, call.sums_stride, 4) + column * 4, sums, sizeof sums);
    }
  }
}

// ---- between products ---------------------------------------------------------------

double value_of(const Dequantizer& values, const void* sums, std::size_t stride, std::size_t row, std::size_t i) {
  const std::byte* sum = row_of(sums, row, stride, 4);
  if (values.number != Number::u8) return static_cast<double>(number_at(Number::f32, sum, i)) + values.bias[i];
  const RowScale scale = values.rows[row];
  std::int32_t whole = 0;
  std::memcpy(&whole, sum + i * 4, sizeof whole);
  return scale.step * (static_cast<double>(values.column_scale[i]) * whole) +
         static_cast<double>(scale.low) * values.column_sum[i] + values.bias[i];
}

double activate(Activation activation, double x) {
  switch (activation) {
    case Activation::identity: return x;
    case Activation::gelu_erf: return 0.5 * x * (1.0 + std::erf(x / std::numbers::sqrt2));
    case Activation::gelu_tanh:
      return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Activation::relu: return std::isnan(x) ? x : std::max(x, 0.0);
    case Activation::tanh: return std::tanh(x);
  }
  return x;
}

void finish(const FinishCall& call) {
  for (std::size_t row = 0; row < call.rows; ++row) {
    std::byte* target = row_of(call.target, row, call.target_stride, bytes_of(call.target_number));
    for (std::size_t i = 0; i < call.width; ++i) {
      const double value = value_of(call.values, call.sums, call.sums_stride, row, i);
      put_number(call.target_number, target, i, static_cast<float>(activate(call.activation, value)));
    }
  }
}

/// One row to u8; `value(i)` answers an f32. Constant rows, and those so nearly so that
/// 255 / spread would overflow, are their lowest number.
template <class Value>
void write_bytes(std::byte* target, RowScale& row, std::size_t width, const Value& value) {
  float low = std::numeric_limits<float>::infinity();
  float high = -low;
  for (std::size_t i = 0; i < width; ++i) {
    low = std::min(low, value(i));
    high = std::max(high, value(i));
  }
  const float spread = high - low;
  const bool constant = !(spread > 1e-36F);
  row = {constant ? 0.0F : spread / 255.0F, low};
  const float inverse = constant ? 0.0F : 255.0F / spread;
  for (std::size_t i = 0; i < width; ++i) {
    const float whole = std::nearbyint((value(i) - low) * inverse);
    target[i] = static_cast<std::byte>(static_cast<std::uint8_t>(std::clamp(whole, 0.0F, 255.0F)));
  }
}

void norm_row(const NormCall& call, std::size_t row) {
  float* x = call.x + row * call.x_stride;
  double mean = 0;
  for (std::size_t i = 0; i < call.width; ++i) {
    x[i] = static_cast<float>(x[i] + value_of(call.values, call.sums, call.sums_stride, row, i));
    mean += x[i];
  }
  mean /= static_cast<double>(call.width);
  double variance = 0;
  for (std::size_t i = 0; i < call.width; ++i) variance += (x[i] - mean) * (x[i] - mean);
  variance /= static_cast<double>(call.width);
  const double scale = 1.0 / std::sqrt(variance + call.epsilon);
  const auto normal = [&](std::size_t i, const float* gamma, const float* beta) {
    return static_cast<float>((x[i] - mean) * scale * gamma[i] + beta[i]);
  };
  const auto next = [&](std::size_t i) { return normal(i, call.next.gamma, call.next.beta); };
  if (call.next.number == Number::u8) {
    write_bytes(row_of(call.next.target, row, call.next.stride, 1), call.next.scales[row], call.width, next);
  } else if (call.next.number == Number::bf16) {
    std::byte* target = row_of(call.next.target, row, call.next.stride, 2);
    for (std::size_t i = 0; i < call.width; ++i) put_number(Number::bf16, target, i, next(i));
  }
  for (std::size_t i = 0; i < call.width; ++i) x[i] = normal(i, call.gamma, call.beta);
}

void norm(const NormCall& call) {
  for (std::size_t row = 0; row < call.rows; ++row) norm_row(call, row);
}

void narrow(const NarrowCall& call) {
  for (std::size_t row = 0; row < call.rows; ++row) {
    const float* x = call.x + row * call.x_stride;
    write_bytes(row_of(call.target, row, call.target_stride, 1), call.scales[row], call.width,
                [x](std::size_t i) { return x[i]; });
  }
}

// ---- attention ----------------------------------------------------------------------

/// One query: scores against every key, softmax, weighted sum of values.
void attend(const AttentionCall& call, std::size_t row, float* scores) {
  const std::size_t bytes = bytes_of(call.number);
  const std::size_t hidden = call.heads * call.head_size;
  const std::size_t offset = call.head * call.head_size;
  const std::byte* query = row_of(call.qkv, row, call.qkv_stride, bytes);
  const double scale = 1.0 / std::sqrt(static_cast<double>(call.head_size));
  float highest = -std::numeric_limits<float>::infinity();
  for (std::size_t key = 0; key < call.length; ++key) {
    const std::byte* keys = row_of(call.qkv, key, call.qkv_stride, bytes);
    double sum = 0;
    for (std::size_t i = offset; i < offset + call.head_size; ++i) {
      sum += static_cast<double>(number_at(call.number, query, i)) * number_at(call.number, keys, hidden + i);
    }
    scores[key] = static_cast<float>(sum * scale);
    highest = std::max(highest, scores[key]);
  }
  double total = 0;
  for (std::size_t key = 0; key < call.length; ++key) {
    scores[key] = static_cast<float>(std::exp(static_cast<double>(scores[key]) - highest));
    total += scores[key];
  }
  std::byte* context = row_of(call.context, row, call.context_stride, bytes_of(call.context_number));
  for (std::size_t i = offset; i < offset + call.head_size; ++i) {
    double sum = 0;
    for (std::size_t key = 0; key < call.length; ++key) {
      const std::byte* values = row_of(call.qkv, key, call.qkv_stride, bytes);
      sum += static_cast<double>(scores[key]) * number_at(call.number, values, 2 * hidden + i);
    }
    put_number(call.context_number, context, i, static_cast<float>(sum / total));
  }
}

void attention(const AttentionCall& call) {
  float* scores = call.scratch + AttentionLayout::of(call.length, call.head_size).scores;
  for (std::size_t row = 0; row < call.length; ++row) attend(call, row, scores);
}

}  // namespace

const Kernels kPlainKernels = {KernelSet::plain, Number::f32, {product<PlainF32>, product<PlainBf16>, product<PlainU8>},
                               finish,           norm,        narrow,
                               attention};

}  // namespace tidegate
