// Stabilization windows: a new recommendation against the recent ones.
#pragma once

#include <vector>

#include "tidegate/scaling.hpp"

namespace tidegate::hpa {

using RecommendationLog = std::vector<ScalingRecommendation>;

struct Stabilized {
  std::int32_t replicas = 0;
  RecommendationLog log;  ///< with the new recommendation in an expired slot, or appended
};

/// Without behavior: the largest recommendation of the window, which includes its
/// oldest instant.
[[nodiscard]] Stabilized stabilize_downscale(RecommendationLog log, std::int32_t desired, Duration window,
                                             TimePoint now);

struct StabilizationWindows {
  Duration up{0};
  Duration down{0};
};

/// With behavior: `current` moved no further than the least recommendation of the
/// up window and the largest of the down window, both without their oldest instant.
[[nodiscard]] Stabilized stabilize_both_ways(RecommendationLog log, std::int32_t current, std::int32_t desired,
                                             StabilizationWindows windows, TimePoint now);

}  // namespace tidegate::hpa
