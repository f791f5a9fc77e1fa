#include "runner/encoder/widen.hpp"

#include <bit>
#include <cstring>

namespace tidegate {
namespace {

/// IEEE 754 binary16 to binary32; subnormals become normal numbers.
float from_half(std::uint16_t half) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000U) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1FU;
  const std::uint32_t mantissa = half & 0x3FFU;
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000U | mantissa << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112U) << 23 | mantissa << 13);
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
  return sign != 0 ? -magnitude : magnitude;
}

std::uint16_t read_u16(const std::byte* stored) noexcept {
  std::uint16_t bits = 0;
  std::memcpy(&bits, stored, sizeof bits);
  return bits;
}

}  // namespace

void widen(DataType type, const std::byte* stored, std::span<float> values) noexcept {
  if (type == DataType::f32) {
    if (!values.empty()) std::memcpy(values.data(), stored, values.size_bytes());
    return;
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint16_t bits = read_u16(stored + 2 * i);
    values[i] = type == DataType::f16 ? from_half(bits) : std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
}

}  // namespace tidegate
