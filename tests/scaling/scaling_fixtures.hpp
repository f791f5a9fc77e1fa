// Builders shared by the scaling tests.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tidegate/scaling.hpp"

namespace tidegate::test {

inline constexpr Duration kNever = std::chrono::seconds(1000000000);

inline std::string pod_name(std::size_t index) { return std::string(1, 'p').append(std::to_string(index)); }

/// `count` running, ready pods p0, p1, ... that started long ago.
inline std::vector<ScalingPod> steady_pods(int count) {
  std::vector<ScalingPod> pods;
  for (int i = 0; i < count; ++i) {
    ScalingPod pod;
    pod.name = pod_name(static_cast<std::size_t>(i));
    pod.age = kNever;
    pod.transition_age = kNever;
    pods.push_back(std::move(pod));
  }
  return pods;
}

/// One figure for each of p0, p1, ...; each pod requests 1000.
inline MetricReading readings_of(const std::vector<std::int64_t>& usages) {
  MetricReading reading;
  for (std::size_t i = 0; i < usages.size(); ++i) {
    PodReading pod;
    pod.pod = pod_name(i);
    pod.usage_milli = usages[i];
    pod.request_milli = 1000;
    reading.pods.push_back(std::move(pod));
  }
  return reading;
}

inline MetricReading value_of(std::int64_t milli) {
  MetricReading reading;
  reading.values_milli = {milli};
  return reading;
}

inline MetricReading failed_reading() {
  MetricReading reading;
  reading.error = "down";
  return reading;
}

inline ScalingSnapshot snapshot_of(std::int32_t replicas, MetricReading reading, Duration at = Duration{0}) {
  ScalingSnapshot snapshot;
  snapshot.now = TimePoint{at};
  snapshot.spec_replicas = replicas;
  snapshot.status_replicas = replicas;
  snapshot.pods = steady_pods(replicas);
  snapshot.readings.push_back(std::move(reading));
  return snapshot;
}

inline HpaOptions options_for(HpaMetricKind kind, std::int64_t target) {
  HpaOptions options;
  options.min_replicas = 1;
  options.max_replicas = 100;
  HpaMetric metric;
  metric.kind = kind;
  metric.target = target;
  if (kind != HpaMetricKind::utilization && kind != HpaMetricKind::resource_average) metric.name = "load";
  options.metrics = {metric};
  return options;
}

/// A state that has seen its target, so that nothing holds a shrink back.
inline ScalingState seen_state() {
  ScalingState state;
  state.seen = true;
  return state;
}

inline std::string reason_of(const ScalingDecision& decision, ScalingConditionType type) {
  const ScalingCondition* condition = decision.condition(type);
  return condition == nullptr ? "" : condition->reason;
}

}  // namespace tidegate::test
