// MetricsSnapshot: every number an engine measures, at one moment.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace tidegate {

enum class MetricKind : std::uint8_t { counter, gauge, histogram };

using MetricLabels = std::vector<std::pair<std::string, std::string>>;

/// One time series. Names follow Prometheus: base units (seconds, bytes) and
/// `_total` on counters.
struct MetricSample {
  std::string name;
  std::string help;
  MetricKind kind = MetricKind::counter;
  MetricLabels labels;
  double value = 0;         ///< counter or gauge; for a histogram the sum of observations
  std::uint64_t count = 0;  ///< histogram: observations
  /// Histogram: (upper bound, cumulative count), ascending, without +Inf.
  std::vector<std::pair<double, std::uint64_t>> buckets{};
};

struct MetricsSnapshot {
  std::vector<MetricSample> samples;

  /// The value of a counter or gauge whose labels include `labels`, summed over
  /// matching series; 0 if there is none.
  [[nodiscard]] double value(const std::string& name, const MetricLabels& labels = {}) const;

  /// Quantile q in [0, 1] of a histogram, by linear interpolation inside its
  /// bucket; NaN if there is no observation.
  [[nodiscard]] double quantile(const std::string& name, double q, const MetricLabels& labels = {}) const;
};

/// Prometheus text exposition format 0.0.4 of a snapshot.
[[nodiscard]] std::string to_prometheus(const MetricsSnapshot& snapshot);

}  // namespace tidegate
