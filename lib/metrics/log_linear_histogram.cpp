#include "metrics/log_linear_histogram.hpp"

#include <bit>
#include <cmath>

#include "metrics/striped_counter.hpp"

namespace tidegate {
namespace {

// IEEE 754 double: the top four mantissa bits number the sixteenths of a power of two.
constexpr int kMantissaBits = 52;
constexpr int kSubBits = 4;
constexpr int kExponentBias = 1023;

}  // namespace

std::size_t LogLinearHistogram::bucket_of(double value) noexcept {
  const double lowest = std::ldexp(1.0, kLowestExponent);
  if (!(value > lowest)) return 0;
  if (value > std::ldexp(1.0, kHighestExponent)) return kBuckets - 1;
  // The next smaller double: a value equal to a bound belongs below it.
  const std::uint64_t bits = std::bit_cast<std::uint64_t>(value) - 1;
  const auto sixteenths = static_cast<std::int64_t>(bits >> (kMantissaBits - kSubBits));
  const std::int64_t origin = static_cast<std::int64_t>(kLowestExponent + kExponentBias) << kSubBits;
  return static_cast<std::size_t>(sixteenths - origin) + 1;
}

double LogLinearHistogram::bound(std::size_t bucket) noexcept {
  const auto power = static_cast<int>(bucket / kSubBuckets);
  const auto part = static_cast<double>(bucket % kSubBuckets);
  return std::ldexp(1.0 + part / static_cast<double>(kSubBuckets), kLowestExponent + power);
}

void LogLinearHistogram::record(double value) noexcept {
  if (!(value > 0.0)) value = 0.0;
  Stripe& stripe = stripes_[stripe_of_this_thread(kStripes)];
  // Relaxed: each count stands alone; sum and buckets need not agree to the last value.
  stripe.counts[bucket_of(value)].fetch_add(1, std::memory_order_relaxed);
  stripe.sum.fetch_add(value, std::memory_order_relaxed);
}

void LogLinearHistogram::read_into(MetricSample& sample) const {
  for (const Stripe& stripe : stripes_) sample.value += stripe.sum.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < kBuckets; ++i) {
    std::uint64_t in_bucket = 0;
    for (const Stripe& stripe : stripes_) in_bucket += stripe.counts[i].load(std::memory_order_relaxed);
    if (in_bucket == 0) continue;
    if (i > 0) {
      const double lower = bound(i - 1);
      if (sample.buckets.empty() || sample.buckets.back().first < lower) {
        sample.buckets.emplace_back(lower, sample.count);
      }
    }
    sample.count += in_bucket;
    if (i < kFinite) sample.buckets.emplace_back(bound(i), sample.count);
  }
}

}  // namespace tidegate
