// What happens to rows between two products: dequantizing, activations, LayerNorm, and
// rounding to what the next product multiplies.
#pragma once

#include "runner/encoder/vector_math.hpp"

namespace tidegate {
namespace {

/// One row of a product's sums as values.
template <Number number>
class Values {
 public:
  Values(const Dequantizer& from, const void* sums, std::size_t stride, std::size_t row)
      : from_(from), sums_(static_cast<const float*>(sums) + row * stride) {
    if constexpr (number == Number::u8) {
      step_ = V::set(from.rows[row].step);
      low_ = V::set(from.rows[row].low);
    }
  }

  [[nodiscard]] Reg at(std::size_t i, std::size_t lanes) const {
    const Reg bias = V::load_part(from_.bias + i, lanes);
    if constexpr (number == Number::u8) {
      const Reg sum = V::from_ints(V::load_ints_part(sums_ + i, lanes));
      const Reg scaled = V::mul(V::load_part(from_.column_scale + i, lanes), sum);
      return V::fma(step_, scaled, V::fma(low_, V::load_part(from_.column_sum + i, lanes), bias));
    } else {
      return V::add(V::load_part(sums_ + i, lanes), bias);
    }
  }

 private:
  const Dequantizer& from_;
  const float* sums_;  // int32 for u8
  Reg step_ = V::set(0.0F);
  Reg low_ = V::set(0.0F);
};

/// Writes f32 or bf16 at column `i` of a row.
template <Number number>
inline void store_number(std::byte* row, std::size_t i, Reg value, std::size_t lanes) {
  if constexpr (number == Number::f32) {
    V::store_part(reinterpret_cast<float*>(row) + i, value, lanes);
  } else {
    V::store_bf16(row + 2 * i, value, lanes);
  }
}

// ---- activations ------------------------------------------------------------------

template <Number from, Number to, class Function>
inline void finish_rows(const FinishCall& call, const Function& function) {
  for (std::size_t row = 0; row < call.rows; ++row) {
    const Values<from> values(call.values, call.sums, call.sums_stride, row);
    std::byte* target = static_cast<std::byte*>(call.target) + row * call.target_stride * bytes_of(to);
    std::size_t i = 0;
    for (; i + kLanes <= call.width; i += kLanes) store_number<to>(target, i, function(values.at(i, kLanes)), kLanes);
    const std::size_t lanes = call.width - i;
    if (lanes != 0) store_number<to>(target, i, function(values.at(i, lanes)), lanes);
  }
}

template <Number from, Number to>
inline void finish_as(const FinishCall& call) {
  switch (call.activation) {
    case Activation::identity: return finish_rows<from, to>(call, Exact<Activation::identity>());
    case Activation::gelu_erf:
      // Sums of f32 alone deserve, and only callers that keep f32 get, the exact one.
      if (call.values.number == Number::f32) return finish_rows<from, to>(call, Exact<Activation::gelu_erf>());
      return finish_rows<from, to>(call, CoarseGelu());
    case Activation::gelu_tanh: return finish_rows<from, to>(call, Exact<Activation::gelu_tanh>());
    case Activation::relu: return finish_rows<from, to>(call, Exact<Activation::relu>());
    case Activation::tanh: return finish_rows<from, to>(call, Exact<Activation::tanh>());
  }
}

template <Number from>
inline void finish_from(const FinishCall& call) {
  if (call.target_number == Number::f32) return finish_as<from, Number::f32>(call);
  finish_as<from, Number::bf16>(call);
}

void finish(const FinishCall& call) {
  if (call.values.number == Number::u8) return finish_from<Number::u8>(call);
  finish_from<Number::f32>(call);  // the sums of bf16 are f32 too
}

// ---- quantizing -------------------------------------------------------------------

/// The lowest and the highest number of a row.
struct Range {
  Reg low = V::set(__builtin_inff());
  Reg high = V::set(-__builtin_inff());

  void add(Reg value, std::size_t lanes) {
    low = V::min(low, lanes == kLanes ? value : V::fill(value, __builtin_inff(), lanes));
    high = V::max(high, lanes == kLanes ? value : V::fill(value, -__builtin_inff(), lanes));
  }
  void add(const Range& other) {
    low = V::min(low, other.low);
    high = V::max(high, other.high);
  }
};

/// Rounds a row to u8: its lowest number becomes 0, its highest 255.
class Quantizer {
 public:
  explicit Quantizer(const Range& range) : scale_{0.0F, V::lowest(range.low)} {
    const float spread = V::highest(range.high) - scale_.low;
    constexpr float kConstant = 1e-36F;  // below, 255 / spread would overflow
    if (spread > kConstant) {
      scale_.step = spread / 255.0F;
      inverse_ = V::set(255.0F / spread);
    }
    low_ = V::set(scale_.low);
  }

  [[nodiscard]] RowScale scale() const { return scale_; }
  void store(std::byte* target, Reg value, std::size_t lanes) const {
    V::store_bytes(target, V::mul(V::sub(value, low_), inverse_), lanes);
  }

 private:
  RowScale scale_;
  Reg inverse_ = V::set(0.0F);
  Reg low_;
};

void narrow(const NarrowCall& call) {
  for (std::size_t row = 0; row < call.rows; ++row) {
    const float* x = call.x + row * call.x_stride;
    std::byte* target = reinterpret_cast<std::byte*>(call.target + row * call.target_stride);
    Range range;
    Range other;
    std::size_t i = 0;
    for (; i + 2 * kLanes <= call.width; i += 2 * kLanes) {
      range.add(V::load(x + i), kLanes);
      other.add(V::load(x + i + kLanes), kLanes);
    }
    for (; i < call.width; i += kLanes) {
      const std::size_t lanes = lanes_at(i, call.width);
      range.add(V::load_part(x + i, lanes), lanes);
    }
    range.add(other);
    const Quantizer quantizer(range);
    call.scales[row] = quantizer.scale();
    for (i = 0; i + kLanes <= call.width; i += kLanes) quantizer.store(target + i, V::load(x + i), kLanes);
    const std::size_t lanes = call.width - i;
    if (lanes != 0) quantizer.store(target + i, V::load_part(x + i, lanes), lanes);
  }
}

}  // namespace
}  // namespace tidegate
