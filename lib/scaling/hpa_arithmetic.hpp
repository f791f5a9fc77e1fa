// Integer and conversion rules of the HPA: milli-units in int64, results in int32,
// both saturating; ratios in double. The order of operations is Kubernetes' own:
// 33/30 equals 1.0 + 0.1 in doubles and therefore lies inside the tolerance.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "tidegate/time.hpp"

namespace tidegate::hpa {

[[nodiscard]] inline std::int64_t add_saturated(std::int64_t a, std::int64_t b) noexcept {
  std::int64_t sum = 0;
  if (!__builtin_add_overflow(a, b, &sum)) return sum;
  return b > 0 ? std::numeric_limits<std::int64_t>::max() : std::numeric_limits<std::int64_t>::min();
}

[[nodiscard]] inline std::int64_t multiply_saturated(std::int64_t a, std::int64_t b) noexcept {
  std::int64_t product = 0;
  if (!__builtin_mul_overflow(a, b, &product)) return product;
  return (a < 0) == (b < 0) ? std::numeric_limits<std::int64_t>::max() : std::numeric_limits<std::int64_t>::min();
}

/// Truncates towards zero. `b` is not 0.
[[nodiscard]] inline std::int64_t divide_saturated(std::int64_t a, std::int64_t b) noexcept {
  if (a == std::numeric_limits<std::int64_t>::min() && b == -1) return std::numeric_limits<std::int64_t>::max();
  return a / b;
}

[[nodiscard]] inline std::int32_t to_int32(std::int64_t value) noexcept {
  constexpr std::int64_t kMin = std::numeric_limits<std::int32_t>::min();
  constexpr std::int64_t kMax = std::numeric_limits<std::int32_t>::max();
  return static_cast<std::int32_t>(value < kMin ? kMin : (value > kMax ? kMax : value));
}

/// Truncates towards zero; NaN becomes 0.
[[nodiscard]] inline std::int64_t to_int64(double value) noexcept {
  if (std::isnan(value)) return 0;
  // 2^63 is exact as a double, the largest int64 is not.
  if (value >= 9223372036854775808.0) return std::numeric_limits<std::int64_t>::max();
  if (value <= -9223372036854775808.0) return std::numeric_limits<std::int64_t>::min();
  return static_cast<std::int64_t>(value);
}

[[nodiscard]] inline std::int32_t truncate_to_int32(double value) noexcept { return to_int32(to_int64(value)); }
[[nodiscard]] inline std::int32_t ceil_to_int32(double value) noexcept { return truncate_to_int32(std::ceil(value)); }

/// Negative if `at` lies ahead, as after a state was loaded with a later `now`.
[[nodiscard]] inline Duration age_of(TimePoint at, TimePoint now) noexcept {
  std::int64_t age = 0;
  if (!__builtin_sub_overflow(now.time_since_epoch().count(), at.time_since_epoch().count(), &age)) {
    return Duration{age};
  }
  return at < now ? Duration::max() : Duration::min();
}

/// How far a ratio may lie from 1 without a change.
struct Tolerances {
  double down = 0.1;
  double up = 0.1;
  [[nodiscard]] bool within(double ratio) const noexcept { return (1.0 - down) <= ratio && ratio <= (1.0 + up); }
};

}  // namespace tidegate::hpa
