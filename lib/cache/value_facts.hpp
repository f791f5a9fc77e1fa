// ValueFacts: what a node of the memory tier says about its value, in 16 bits.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "tidegate/time.hpp"

namespace tidegate {

/// Bits 0 to 4: bytes that its block has beyond it; 5: it is no record and kept whole; 6: its
/// node is linked, that is, can be found; 7 to 15: what computing it took, microseconds with
/// five bits of exponent and four of mantissa.
class ValueFacts {
 public:
  enum class Kind : std::uint8_t { body, plain };

  explicit ValueFacts(std::uint16_t bits) noexcept : bits_(bits) {}
  ValueFacts(Kind kind, std::uint64_t spare_bytes, Duration cost) noexcept
      : bits_(static_cast<std::uint16_t>(spare_bytes | (kind == Kind::plain ? kPlain : 0U) |
                                         written(cost) << kCostShift)) {}

  [[nodiscard]] std::uint16_t bits() const noexcept { return bits_; }
  [[nodiscard]] std::uint64_t spare_bytes() const noexcept { return bits_ & kSpareMask; }
  [[nodiscard]] bool is_plain() const noexcept { return (bits_ & kPlain) != 0; }
  [[nodiscard]] bool is_linked() const noexcept { return (bits_ & kLinked) != 0; }
  [[nodiscard]] ValueFacts linked() const noexcept { return ValueFacts(static_cast<std::uint16_t>(bits_ | kLinked)); }
  [[nodiscard]] ValueFacts unlinked() const noexcept {
    return ValueFacts(static_cast<std::uint16_t>(bits_ & ~kLinked));
  }

  [[nodiscard]] Duration cost() const noexcept {
    const std::uint64_t exponent = bits_ >> (kCostShift + kMantissaBits);
    const std::uint64_t mantissa = bits_ >> kCostShift & (kImplied - 1);
    const std::uint64_t micros = exponent == 0 ? mantissa : (mantissa | kImplied) << (exponent - 1);
    return std::chrono::microseconds(static_cast<std::int64_t>(micros));
  }

 private:
  static constexpr std::uint32_t kSpareMask = 31;
  static constexpr std::uint32_t kPlain = 32;
  static constexpr std::uint32_t kLinked = 64;
  static constexpr unsigned kCostShift = 7;
  static constexpr unsigned kMantissaBits = 4;
  static constexpr std::uint64_t kImplied = 1U << kMantissaBits;
  static constexpr std::uint64_t kMostMicros = 31ULL << 30;

  /// Numbers below 16 as they are; above, exponent and the four bits behind the first.
  [[nodiscard]] static std::uint32_t written(Duration cost) noexcept {
    const auto whole = std::chrono::duration_cast<std::chrono::microseconds>(cost).count();
    const std::uint64_t micros =
        std::min<std::uint64_t>(whole > 0 ? static_cast<std::uint64_t>(whole) : 0, kMostMicros);
    if (micros < kImplied) return static_cast<std::uint32_t>(micros);
    const auto shift = static_cast<unsigned>(std::bit_width(micros)) - kMantissaBits - 1;
    return static_cast<std::uint32_t>((shift + 1) << kMantissaBits | ((micros >> shift) & (kImplied - 1)));
  }

  std::uint16_t bits_;
};

}  // namespace tidegate
