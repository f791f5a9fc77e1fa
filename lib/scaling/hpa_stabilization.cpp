#include "scaling/hpa_stabilization.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "scaling/hpa_arithmetic.hpp"

namespace tidegate::hpa {
namespace {

/// Of several expired slots the last one is written over, as Kubernetes does.
void record(RecommendationLog& log, std::optional<std::size_t> expired, ScalingRecommendation entry) {
  if (expired) {
    log[*expired] = entry;
  } else {
    log.push_back(entry);
  }
}

}  // namespace

Stabilized stabilize_downscale(RecommendationLog log, std::int32_t desired, Duration window, TimePoint now) {
  std::int32_t largest = desired;
  std::optional<std::size_t> expired;
  for (std::size_t i = 0; i < log.size(); ++i) {
    if (age_of(log[i].at, now) > window) {
      expired = i;
    } else {
      largest = std::max(largest, log[i].replicas);
    }
  }
  record(log, expired, {desired, now});
  return {largest, std::move(log)};
}

Stabilized stabilize_both_ways(RecommendationLog log, std::int32_t current, std::int32_t desired,
                               StabilizationWindows windows, TimePoint now) {
  std::int32_t least = desired;
  std::int32_t largest = desired;
  std::optional<std::size_t> expired;
  for (std::size_t i = 0; i < log.size(); ++i) {
    const Duration age = age_of(log[i].at, now);
    if (age < windows.up) least = std::min(least, log[i].replicas);
    if (age < windows.down) largest = std::max(largest, log[i].replicas);
    if (age > windows.up && age > windows.down) expired = i;
  }
  record(log, expired, {desired, now});
  // least <= desired <= largest always holds.
  return {std::clamp(current, least, largest), std::move(log)};
}

}  // namespace tidegate::hpa
