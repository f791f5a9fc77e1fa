// Number: the formats in which activations and weights are multiplied.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tidegate {

/// What a product multiplies. `u8` stands for activations of 8 bits without sign, one
/// RowScale a row, times weights of 8 bits with sign, one scale a column; its sums are
/// 32-bit integers and exact. The sums of the others are f32.
enum class Number : std::uint8_t { f32, bf16, u8 };
inline constexpr std::size_t kNumbers = 3;

/// Operands are read in groups of four bytes along the inner dimension.
[[nodiscard]] [[gnu::always_inline]] constexpr std::size_t bytes_of(Number number) noexcept {
  return number == Number::f32 ? 4 : number == Number::bf16 ? 2 : 1;
}

[[nodiscard]] [[gnu::always_inline]] constexpr std::size_t round_up(std::size_t value, std::size_t unit) noexcept {
  return (value + unit - 1) / unit * unit;
}

/// Groups of four bytes that hold `inner` values; the last may be padded.
[[nodiscard]] [[gnu::always_inline]] constexpr std::size_t groups_of(Number number, std::size_t inner) noexcept {
  return (inner * bytes_of(number) + 3) / 4;
}

/// Columns of weights that lie together, for every instruction set.
inline constexpr std::size_t kStrip = 32;

/// Rows of activations that pass through the wide products together: what they leave
/// between two products stays in a level-2 cache.
inline constexpr std::size_t kPanelRows = 48;

/// A row of u8 activations: value = low + step * q, q in 0..255.
struct RowScale {
  float step = 0.0F;
  float low = 0.0F;
};

/// Values between the rows of an activation matrix of `columns` columns: rows start on
/// a cache line in every format. The padding of a buffer is zero and stays so.
[[nodiscard]] [[gnu::always_inline]] constexpr std::size_t row_stride(std::size_t columns) noexcept {
  return round_up(columns, 64);
}

}  // namespace tidegate
