// RatioHistogram: a fading distribution of ratios around 1.
#pragma once

#include <array>
#include <cstddef>

namespace tidegate {

/// Ratios between 1/16 and 16 in buckets of 2^(1/16), where the newest ratio weighs
/// most; what lies outside counts as the nearest bound.
class RatioHistogram {
 public:
  void record(double ratio) noexcept;
  /// Interpolated; 1 while empty. 0 < q < 1.
  [[nodiscard]] double quantile(double q) const noexcept;
  void clear() noexcept {
    weights_ = {};
    total_ = 0;
    unit_ = 1;
  }

 private:
  static constexpr double kPerOctave = 16;
  static constexpr double kOctaves = 4;  ///< to either side of 1
  static constexpr std::size_t kBuckets = static_cast<std::size_t>(2 * kOctaves * kPerOctave);
  static constexpr double kGrowth = 1 / 0.998;  ///< of a record's weight over the one before

  std::array<double, kBuckets> weights_{};
  double total_ = 0;
  double unit_ = 1;  ///< weight of the next record; growing it spares fading all others
};

}  // namespace tidegate
