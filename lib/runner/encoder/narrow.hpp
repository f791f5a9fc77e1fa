// Narrowing of f32 to the types in which numbers are packed, to nearest even.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace tidegate {

/// A number that is not one stays so; what is too large becomes infinite.
[[nodiscard]] [[gnu::always_inline]] inline std::uint16_t to_bf16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
  const std::uint32_t quiet = (bits >> 16) | 0x40U;
  return static_cast<std::uint16_t>((bits & 0x7FFFFFFFU) > 0x7F800000U ? quiet : rounded);
}

[[nodiscard]] [[gnu::always_inline]] inline std::uint16_t to_half(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  // Adding a half leaves a multiple of 2^-24, the step of the small numbers, at the end.
  const std::uint32_t small = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) - 0x3F000000U;
  const std::uint32_t normal = (magnitude - 0x38000000U + 0xFFFU + ((magnitude >> 13) & 1U)) >> 13;
  const std::uint32_t finite = magnitude < 0x38800000U ? small : normal;
  const std::uint32_t large = magnitude > 0x7F800000U ? 0x7E00U : 0x7C00U;
  return static_cast<std::uint16_t>((magnitude >= 0x477FF000U ? large : finite) | ((bits >> 16) & 0x8000U));
}

inline void narrow_to_bf16(std::span<const float> values, std::uint16_t* target) noexcept {
  for (std::size_t i = 0; i < values.size(); ++i) target[i] = to_bf16(values[i]);
}

inline void narrow_to_half(std::span<const float> values, std::uint16_t* target) noexcept {
  for (std::size_t i = 0; i < values.size(); ++i) target[i] = to_half(values[i]);
}

/// The bits of the largest magnitude: ordered as the magnitudes are, a number that is
/// not one above all. Magnitudes as integers, because those have a vector maximum
/// whatever the compiler may assume of floating point.
[[nodiscard]] inline std::uint32_t largest_magnitude_bits(std::span<const float> values) noexcept {
  std::int32_t largest = 0;
  for (const float value : values) {
    const auto bits = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(value) & 0x7FFFFFFFU);
    largest = bits > largest ? bits : largest;
  }
  return static_cast<std::uint32_t>(largest);
}

inline constexpr std::uint32_t kInfinityBits = 0x7F800000U;

}  // namespace tidegate
