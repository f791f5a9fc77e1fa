#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "tidegate/metrics.hpp"

namespace tidegate {
namespace {

bool includes(const MetricLabels& all, const MetricLabels& wanted) {
  return std::all_of(wanted.begin(), wanted.end(),
                     [&](const auto& label) { return std::find(all.begin(), all.end(), label) != all.end(); });
}

/// Observations per upper bound, each with the bound below it, over all matching
/// histograms.
struct Merged {
  struct Bucket {
    double lower = 0;
    double in_bucket = 0;
  };
  std::map<double, Bucket> buckets;
  double total = 0;

  void add(const MetricSample& sample) {
    double lower = 0;
    std::uint64_t below = 0;
    for (const auto& [upper, cumulative] : sample.buckets) {
      Bucket& bucket = buckets[upper];
      bucket.lower = std::max(bucket.lower, std::min(lower, upper));
      bucket.in_bucket += static_cast<double>(cumulative - std::min(below, cumulative));
      lower = upper;
      below = cumulative;
    }
    total += static_cast<double>(sample.count);
  }
};

}  // namespace

double MetricsSnapshot::value(const std::string& name, const MetricLabels& labels) const {
  double sum = 0;
  for (const MetricSample& sample : samples) {
    if (sample.kind == MetricKind::histogram || sample.name != name) continue;
    if (includes(sample.labels, labels)) sum += sample.value;
  }
  return sum;
}

double MetricsSnapshot::quantile(const std::string& name, double q, const MetricLabels& labels) const {
  Merged merged;
  for (const MetricSample& sample : samples) {
    if (sample.kind != MetricKind::histogram || sample.name != name) continue;
    if (includes(sample.labels, labels)) merged.add(sample);
  }
  if (merged.total == 0 || std::isnan(q) || merged.buckets.empty()) return std::numeric_limits<double>::quiet_NaN();
  const double rank = std::clamp(q, 0.0, 1.0) * merged.total;
  double below = 0;
  for (const auto& [upper, bucket] : merged.buckets) {
    if (bucket.in_bucket > 0 && below + bucket.in_bucket >= rank) {
      return bucket.lower + (upper - bucket.lower) * std::max(0.0, rank - below) / bucket.in_bucket;
    }
    below += bucket.in_bucket;
  }
  // The rest lies beyond the last bound, which is all that is known of it.
  return merged.buckets.rbegin()->first;
}

}  // namespace tidegate
