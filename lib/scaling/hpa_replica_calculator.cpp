#include "scaling/hpa_replica_calculator.hpp"

#include <algorithm>
#include <optional>

#include "base/try.hpp"

namespace tidegate::hpa {
namespace {

using Requests = std::map<std::string, std::int64_t>;

/// A ratio to the target with the figures it came from.
struct Usage {
  double ratio = 0;
  std::int64_t usage = 0;
  std::int64_t raw = 0;
};

PodSamples samples_of(const MetricReading& reading) {
  PodSamples samples;
  for (const PodReading& pod : reading.pods) {
    if (pod.usage_milli) samples.insert_or_assign(pod.pod, pod);
  }
  return samples;
}

/// Every pod of the target must have a request, also those that are then ignored.
Result<Requests> requests_of(const HpaMetric& metric, const MetricReading& reading, const MetricContext& context) {
  Requests known;
  for (const PodReading& pod : reading.pods) {
    if (pod.request_milli) known.insert_or_assign(pod.pod, *pod.request_milli);
  }
  Requests requests;
  for (const ScalingPod& pod : context.pods) {
    const auto request = known.find(pod.name);
    if (request == known.end()) {
      return Error(ErrorCode::unavailable, "missing request for " + metric.name + " in pod " + pod.name);
    }
    requests.insert(*request);
  }
  return requests;
}

Result<Usage> utilization_of(const PodSamples& samples, const Requests& requests, std::int64_t target) {
  std::int64_t used = 0;
  std::int64_t requested = 0;
  std::int64_t entries = 0;
  for (const auto& [name, sample] : samples) {
    const auto request = requests.find(name);
    if (request == requests.end()) continue;
    used = add_saturated(used, *sample.usage_milli);
    requested = add_saturated(requested, request->second);
    ++entries;
  }
  if (requested == 0) return Error(ErrorCode::unavailable, "no metrics returned matched known pods");
  const std::int32_t percent = to_int32(divide_saturated(multiply_saturated(used, 100), requested));
  return Usage{static_cast<double>(percent) / static_cast<double>(target), percent, used / entries};
}

Usage average_of(const PodSamples& samples, std::int64_t target) {
  std::int64_t used = 0;
  for (const auto& [name, sample] : samples) used = add_saturated(used, *sample.usage_milli);
  const std::int64_t average = used / static_cast<std::int64_t>(samples.size());
  return {static_cast<double>(average) / static_cast<double>(target), average, 0};
}

/// The rules common to utilization and plain averages. `requests` is set for
/// utilization only.
class PodMetricCalculation {
 public:
  PodMetricCalculation(const HpaMetric& metric, const MetricReading& reading, const MetricContext& context)
      : metric_(metric), reading_(reading), context_(context) {}

  Result<MetricProposal> run() {
    if (context_.pods.empty()) {
      return Error(ErrorCode::unavailable, "no pods returned by selector while calculating replica count");
    }
    samples_ = samples_of(reading_);
    // Pods metrics belong to no resource, so the CPU rule does not reach them.
    const std::string_view resource = metric_.kind == HpaMetricKind::pods ? "" : std::string_view(metric_.name);
    groups_ = group_pods(context_.pods, samples_, resource, context_.timing);
    for (const auto* group : {&groups_.ignored, &groups_.unready}) {
      for (const std::string& name : *group) samples_.erase(name);
    }
    if (samples_.empty()) {
      return Error(ErrorCode::unavailable, "did not receive metrics for targeted pods (pods might be unready)");
    }
    if (metric_.kind == HpaMetricKind::utilization) {
      TIDEGATE_TRY(requests_, requests_of(metric_, reading_, context_));
    }
    TIDEGATE_TRY(const Usage measured, measure());
    const bool unready_counts = !groups_.unready.empty() && measured.ratio > 1.0;
    if (unready_counts || !groups_.missing.empty()) return propose_with_gaps(measured, unready_counts);
    if (context_.tolerances.within(measured.ratio)) return proposal(context_.current, measured);
    return proposal(ceil_to_int32(measured.ratio * static_cast<double>(groups_.ready)), measured);
  }

 private:
  Result<Usage> measure() const {
    if (metric_.kind == HpaMetricKind::utilization) return utilization_of(samples_, requests_, metric_.target);
    return average_of(samples_, metric_.target);
  }

  static MetricProposal proposal(std::int32_t replicas, const Usage& measured) {
    return {replicas, measured.usage, measured.raw, measured.ratio};
  }

  /// What a pod without a sample is taken to use when the others are below target.
  std::int64_t assumed_high(const std::string& name) const {
    if (metric_.kind != HpaMetricKind::utilization) return metric_.target;
    const auto request = requests_.find(name);
    if (request == requests_.end()) return 0;
    return multiply_saturated(request->second, std::max<std::int64_t>(100, metric_.target)) / 100;
  }

  /// Assumes of unknown pods whatever makes the change smaller, and refuses a change
  /// whose direction rests on the assumption.
  Result<MetricProposal> propose_with_gaps(const Usage& measured, bool unready_counts) {
    for (const std::string& name : groups_.missing) {
      if (measured.ratio < 1.0) assume(name, assumed_high(name));
      if (measured.ratio > 1.0) assume(name, 0);
    }
    if (unready_counts) {
      for (const std::string& name : groups_.unready) assume(name, 0);
    }
    TIDEGATE_TRY(const Usage assumed, measure());
    const double before = measured.ratio;
    const double after = assumed.ratio;
    const bool turned = (before < 1.0 && after > 1.0) || (before > 1.0 && after < 1.0);
    if (context_.tolerances.within(after) || turned) return proposal(context_.current, measured);
    const std::int32_t replicas = ceil_to_int32(after * static_cast<double>(samples_.size()));
    const bool backwards = (after < 1.0 && replicas > context_.current) || (after > 1.0 && replicas < context_.current);
    return proposal(backwards ? context_.current : replicas, measured);
  }

  void assume(const std::string& name, std::int64_t usage_milli) {
    PodReading reading;
    reading.pod = name;
    reading.usage_milli = usage_milli;
    samples_.insert_or_assign(name, std::move(reading));
  }

  const HpaMetric& metric_;
  const MetricReading& reading_;
  const MetricContext& context_;
  PodSamples samples_;
  PodGroups groups_;
  Requests requests_;
};

Result<std::int64_t> sum_of(const MetricReading& reading) {
  if (reading.values_milli.empty()) return Error(ErrorCode::unavailable, "no metrics returned from metrics API");
  std::int64_t sum = 0;
  for (const std::int64_t value : reading.values_milli) sum = add_saturated(sum, value);
  return sum;
}

/// Value: the ratio scales the pods that are ready. From zero it is the count itself.
Result<MetricProposal> propose_by_value(std::int64_t value, std::int64_t target, const MetricContext& context) {
  const double ratio = static_cast<double>(value) / static_cast<double>(target);
  if (context.current == 0) return MetricProposal{ceil_to_int32(ratio), value, 0, ratio};
  if (context.tolerances.within(ratio)) return MetricProposal{context.current, value, 0, ratio};
  if (context.pods.empty()) {
    return Error(ErrorCode::unavailable,
                 "unable to calculate ready pods: no pods returned by selector while calculating replica count");
  }
  const auto ready = std::count_if(context.pods.begin(), context.pods.end(), [](const ScalingPod& pod) {
    return pod.phase == PodPhase::running && pod.readiness == PodReadiness::ready;
  });
  return MetricProposal{ceil_to_int32(ratio * static_cast<double>(ready)), value, 0, ratio};
}

/// AverageValue: shared out over the replicas that exist.
MetricProposal propose_by_average(std::int64_t value, std::int64_t target, const MetricContext& context) {
  const double total = static_cast<double>(value);
  const double existing = static_cast<double>(context.status_replicas);
  MetricProposal proposal;
  proposal.ratio = total / (static_cast<double>(target) * existing);
  proposal.replicas = context.tolerances.within(proposal.ratio) ? context.status_replicas
                                                                : ceil_to_int32(total / static_cast<double>(target));
  proposal.usage = to_int64(std::ceil(total / existing));
  return proposal;
}

}  // namespace

Result<MetricProposal> propose_replicas(const HpaMetric& metric, const MetricReading& reading,
                                        const MetricContext& context) {
  if (metric.kind == HpaMetricKind::unrecognized) {
    return Error(ErrorCode::unsupported, "unknown metric source type \"" + metric.name + "\"");
  }
  if (!reading.error.empty()) {
    return Error(ErrorCode::unavailable, "unable to get metric " + metric.name + ": " + reading.error);
  }
  switch (metric.kind) {
    case HpaMetricKind::utilization:
    case HpaMetricKind::resource_average:
    case HpaMetricKind::pods: return PodMetricCalculation(metric, reading, context).run();
    case HpaMetricKind::object_value:
    case HpaMetricKind::external_value: {
      TIDEGATE_TRY(const std::int64_t sum, sum_of(reading));
      return propose_by_value(sum, metric.target, context);
    }
    case HpaMetricKind::object_average:
    case HpaMetricKind::external_average: {
      TIDEGATE_TRY(const std::int64_t sum, sum_of(reading));
      return propose_by_average(sum, metric.target, context);
    }
    case HpaMetricKind::unrecognized: break;
  }
  return Error(ErrorCode::internal, "metric kind out of range");
}

}  // namespace tidegate::hpa
