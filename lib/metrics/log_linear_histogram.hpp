// LogLinearHistogram: 16 equal buckets in each power of two.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "metrics/registry.hpp"

namespace tidegate {

/// Bucket i holds the values in (bound(i - 1), bound(i)], as Prometheus' `le` means
/// it; bucket 0 holds everything up to 2^-34 (0.06 ns), the last one everything
/// above 2^50 (1 PiB). Lock-free; a snapshot taken while others record holds some
/// of their values and is consistent in itself (count equals the sum of buckets).
class LogLinearHistogram final : public Histogram {
 public:
  static constexpr int kLowestExponent = -34;
  static constexpr int kHighestExponent = 50;
  static constexpr std::size_t kSubBuckets = 16;
  static constexpr std::size_t kFinite = 1 + kSubBuckets * static_cast<std::size_t>(kHighestExponent - kLowestExponent);
  static constexpr std::size_t kBuckets = kFinite + 1;

  void record(double value) noexcept override;

  /// Adds the sum, count and buckets to `sample`. Only occupied buckets are listed,
  /// each preceded by its lower bound, so that interpolation stays inside it.
  void read_into(MetricSample& sample) const;

  [[nodiscard]] static std::size_t bucket_of(double value) noexcept;
  /// Upper bound of a finite bucket.
  [[nodiscard]] static double bound(std::size_t bucket) noexcept;

 private:
  static constexpr std::size_t kStripes = 4;
  struct alignas(64) Stripe {
    std::atomic<double> sum{0.0};
    std::array<std::atomic<std::uint64_t>, kBuckets> counts{};
  };
  std::array<Stripe, kStripes> stripes_;
};

}  // namespace tidegate
