// How fast a size may change: the step limit without behavior, rate policies with it.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "tidegate/scaling.hpp"

namespace tidegate::hpa {

using EventLog = std::vector<ScalingEvent>;

struct Limited {
  std::int32_t replicas = 0;
  std::string_view reason;  ///< Kubernetes' word; static storage
};

/// The size asked for, the size now, and the bounds.
struct SizeRequest {
  std::int32_t current = 0;
  std::int32_t desired = 0;
  std::int32_t min = 0;
  std::int32_t max = 0;
};

/// Changes that were made, both ways, as `now` sees them.
struct RecentEvents {
  std::span<const ScalingEvent> ups;
  std::span<const ScalingEvent> downs;
  TimePoint now{};
};

struct StepLimit {
  double factor = 2.0;
  std::int32_t minimum = 4;
};

[[nodiscard]] Limited limit_step(const SizeRequest& size, const StepLimit& step);
[[nodiscard]] Limited limit_rate(const SizeRequest& size, const HpaBehavior& behavior, const RecentEvents& events);

/// Largest (smallest) size the rules allow. `rules.rates` is not empty.
[[nodiscard]] std::int32_t up_limit(std::int32_t current, const HpaRules& rules, const RecentEvents& events);
[[nodiscard]] std::int32_t down_limit(std::int32_t current, const HpaRules& rules, const RecentEvents& events);

/// Replicas changed by events younger than `period`.
[[nodiscard]] std::int32_t change_within(Duration period, std::span<const ScalingEvent> events, TimePoint now);

/// The log with a change of `change` (> 0) replicas. Entries older than every rate's
/// period are marked outdated; the last of them gives its slot.
[[nodiscard]] EventLog store_event(EventLog log, std::int32_t change, const HpaRules& rules, TimePoint now);

/// `behavior` with its unset fields filled.
[[nodiscard]] HpaBehavior with_defaults(HpaBehavior behavior, Duration downscale_window);

}  // namespace tidegate::hpa
