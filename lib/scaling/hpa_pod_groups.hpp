// Which pods count, and as what, when a per-pod metric is averaged.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>

#include "tidegate/scaling.hpp"

namespace tidegate::hpa {

/// How long a young pod's figures are held back. Only the resource "cpu" has this rule.
struct PodTiming {
  Duration cpu_initialization_period = std::chrono::seconds(300);
  Duration initial_readiness_delay = std::chrono::seconds(30);
};

/// Names by group; each pod is in one. Ready ones are only counted.
struct PodGroups {
  std::size_t ready = 0;
  std::set<std::string> unready;
  std::set<std::string> missing;
  std::set<std::string> ignored;
};

/// Readings by pod name; those without a sample are absent.
using PodSamples = std::map<std::string, PodReading>;

[[nodiscard]] PodGroups group_pods(std::span<const ScalingPod> pods, const PodSamples& samples,
                                   std::string_view resource, const PodTiming& timing);

}  // namespace tidegate::hpa
