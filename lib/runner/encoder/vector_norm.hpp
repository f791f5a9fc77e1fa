// LayerNorm after a residual addition, and its result rounded for the next product.
#pragma once

#include "runner/encoder/vector_rows.hpp"

namespace tidegate {
namespace {

/// What the next product reads: nothing of its own, or numbers of a format made with
/// the LayerNorm's gamma and beta or with others.
enum class Next : std::uint8_t { none, same, own };

inline std::byte* next_row(const NextInput& next, std::size_t row) {
  return static_cast<std::byte*>(next.target) + row * next.stride * bytes_of(next.number);
}

/// Sum of `values` in a fixed tree.
template <std::size_t N>
inline Reg tree_sum(const Reg* values) {
  if constexpr (N == 1) {
    return values[0];
  } else {
    return V::add(tree_sum<N / 2>(values), tree_sum<N - N / 2>(values + N / 2));
  }
}

/// 1 / sqrt(variance + epsilon)
inline Reg norm_scale(Reg squares, float inverse_width, float epsilon) {
  const float variance = V::sum(squares) * inverse_width + epsilon;
  return V::div(V::set(1.0F), V::sqrt(V::set(variance)));
}

/// A row of Regs whole registers, which never leaves them.
template <Number from, Number to, Next next, std::size_t Regs>
inline void norm_held_row(const NormCall& call, std::size_t row) {
  float* x = call.x + row * call.x_stride;
  const Values<from> values(call.values, call.sums, call.sums_stride, row);
  const float inverse_width = 1.0F / static_cast<float>(call.width);
  Reg held[Regs];
#pragma GCC unroll 32
  for (std::size_t i = 0; i < Regs; ++i) held[i] = V::add(V::load(x + i * kLanes), values.at(i * kLanes, kLanes));
  const Reg mean = V::set(V::sum(tree_sum<Regs>(held)) * inverse_width);
  Reg squares[4] = {V::set(0.0F), V::set(0.0F), V::set(0.0F), V::set(0.0F)};
#pragma GCC unroll 32
  for (std::size_t i = 0; i < Regs; ++i) {
    held[i] = V::sub(held[i], mean);
    squares[i % 4] = V::fma(held[i], held[i], squares[i % 4]);
  }
  const Reg scale = norm_scale(tree_sum<4>(squares), inverse_width, call.epsilon);
  Range range;
#pragma GCC unroll 32
  for (std::size_t i = 0; i < Regs; ++i) {
    const Reg normal = V::mul(held[i], scale);
    const Reg value = V::fma(normal, V::load(call.gamma + i * kLanes), V::load(call.beta + i * kLanes));
    V::store(x + i * kLanes, value);
    if constexpr (next == Next::none) continue;
    held[i] = next == Next::same
                  ? value
                  : V::fma(normal, V::load(call.next.gamma + i * kLanes), V::load(call.next.beta + i * kLanes));
    if constexpr (to == Number::u8) {
      range.add(held[i], kLanes);
    } else {
      store_number<Number::bf16>(next_row(call.next, row), i * kLanes, held[i], kLanes);
    }
  }
  if constexpr (next != Next::none && to == Number::u8) {
    const Quantizer quantizer(range);
    call.next.scales[row] = quantizer.scale();
    std::byte* target = next_row(call.next, row);
#pragma GCC unroll 32
    for (std::size_t i = 0; i < Regs; ++i) quantizer.store(target + i * kLanes, held[i], kLanes);
  }
}

/// A row in memory: mean and scale of x + values, the sum left in x.
struct Moments {
  Reg mean;
  Reg scale;
};

template <Number from>
inline Moments add_and_measure(const NormCall& call, std::size_t row) {
  float* x = call.x + row * call.x_stride;
  const Values<from> values(call.values, call.sums, call.sums_stride, row);
  const float inverse_width = 1.0F / static_cast<float>(call.width);
  Reg sum = V::set(0.0F);
  for (std::size_t i = 0; i < call.width; i += kLanes) {
    const std::size_t lanes = lanes_at(i, call.width);
    const Reg value = V::add(V::load_part(x + i, lanes), values.at(i, lanes));
    V::store_part(x + i, value, lanes);
    sum = V::add(sum, value);  // the lanes beyond the row are zero
  }
  const Reg mean = V::set(V::sum(sum) * inverse_width);
  Reg squares = V::set(0.0F);
  for (std::size_t i = 0; i < call.width; i += kLanes) {
    const std::size_t lanes = lanes_at(i, call.width);
    const Reg centered = V::keep(V::sub(V::load_part(x + i, lanes), mean), lanes);
    squares = V::fma(centered, centered, squares);
  }
  return {mean, norm_scale(squares, inverse_width, call.epsilon)};
}

template <Number from, Number to, Next next>
inline void norm_row(const NormCall& call, std::size_t row) {
  float* x = call.x + row * call.x_stride;
  const Moments moments = add_and_measure<from>(call, row);
  const auto normal = [&](std::size_t i, std::size_t lanes) {
    return V::mul(V::sub(V::load_part(x + i, lanes), moments.mean), moments.scale);
  };
  const auto apply = [](Reg normalized, const float* gamma, const float* beta, std::size_t i, std::size_t lanes) {
    return V::fma(normalized, V::load_part(gamma + i, lanes), V::load_part(beta + i, lanes));
  };
  Range range;
  if constexpr (next != Next::none && to == Number::u8) {
    for (std::size_t i = 0; i < call.width; i += kLanes) {
      const std::size_t lanes = lanes_at(i, call.width);
      range.add(apply(normal(i, lanes), call.next.gamma, call.next.beta, i, lanes), lanes);
    }
  }
  const Quantizer quantizer(range);
  if constexpr (next != Next::none && to == Number::u8) call.next.scales[row] = quantizer.scale();
  for (std::size_t i = 0; i < call.width; i += kLanes) {
    const std::size_t lanes = lanes_at(i, call.width);
    const Reg normalized = normal(i, lanes);
    V::store_part(x + i, apply(normalized, call.gamma, call.beta, i, lanes), lanes);
    if constexpr (next == Next::none) continue;
    const Reg value = apply(normalized, call.next.gamma, call.next.beta, i, lanes);
    if constexpr (to == Number::u8) {
      quantizer.store(next_row(call.next, row) + i, value, lanes);
    } else {
      store_number<Number::bf16>(next_row(call.next, row), i, value, lanes);
    }
  }
}

/// By the width alone, so that its bits are the same whatever the number of rows.
template <Number from, Number to, Next next>
inline void norm_rows(const NormCall& call) {
  if constexpr (V::kNormRegs != 0) {
    if (call.width == V::kNormRegs * kLanes) {
      for (std::size_t row = 0; row < call.rows; ++row) norm_held_row<from, to, next, V::kNormRegs>(call, row);
      return;
    }
  }
  for (std::size_t row = 0; row < call.rows; ++row) norm_row<from, to, next>(call, row);
}

template <Number from, Number to>
inline void norm_to(const NormCall& call) {
  if (call.next.gamma == call.gamma && call.next.beta == call.beta) return norm_rows<from, to, Next::same>(call);
  norm_rows<from, to, Next::own>(call);
}

template <Number from>
inline void norm_from(const NormCall& call) {
  switch (call.next.number) {
    case Number::f32: return norm_rows<from, Number::f32, Next::none>(call);
    case Number::bf16: return norm_to<from, Number::bf16>(call);
    case Number::u8: return norm_to<from, Number::u8>(call);
  }
}

void norm(const NormCall& call) {
  if (call.values.number == Number::u8) return norm_from<Number::u8>(call);
  norm_from<Number::f32>(call);  // the sums of bf16 are f32 too
}

}  // namespace
}  // namespace tidegate
