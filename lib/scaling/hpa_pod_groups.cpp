#include "scaling/hpa_pod_groups.hpp"

namespace tidegate::hpa {
namespace {

/// While a pod warms up its CPU figure says nothing about the load.
bool cpu_is_unready(const ScalingPod& pod, const PodReading& sample, const PodTiming& timing) {
  if (pod.readiness == PodReadiness::unknown || !pod.age) return true;
  const bool not_ready = pod.readiness == PodReadiness::not_ready;
  if (*pod.age < timing.cpu_initialization_period) {
    // The sample's window must lie wholly after the last change of readiness. Ages
    // run backwards: an older sample has the larger one.
    return not_ready || sample.age > pod.transition_age - sample.window;
  }
  // Never was ready: its last change came no later than the delay after its start.
  return not_ready && *pod.age - timing.initial_readiness_delay < pod.transition_age;
}

}  // namespace

PodGroups group_pods(std::span<const ScalingPod> pods, const PodSamples& samples, std::string_view resource,
                     const PodTiming& timing) {
  PodGroups groups;
  for (const ScalingPod& pod : pods) {
    if (pod.deleting || pod.phase == PodPhase::failed || pod.phase == PodPhase::succeeded) {
      groups.ignored.insert(pod.name);
      continue;
    }
    if (pod.phase == PodPhase::pending) {
      groups.unready.insert(pod.name);
      continue;
    }
    const auto sample = samples.find(pod.name);
    if (sample == samples.end()) {
      groups.missing.insert(pod.name);
    } else if (resource == "cpu" && cpu_is_unready(pod, sample->second, timing)) {
      groups.unready.insert(pod.name);
    } else {
      ++groups.ready;
    }
  }
  return groups;
}

}  // namespace tidegate::hpa
