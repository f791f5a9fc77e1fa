#include "scaling/hpa_rate_limit.hpp"

#include <algorithm>
#include <limits>
#include <optional>

#include "scaling/hpa_arithmetic.hpp"

namespace tidegate::hpa {
namespace {

/// The size when the rate's period began.
std::int64_t period_start(std::int32_t current, const HpaRate& rate, const RecentEvents& events) {
  return std::int64_t{current} - change_within(rate.period, events.ups, events.now) +
         change_within(rate.period, events.downs, events.now);
}

}  // namespace

std::int32_t change_within(Duration period, std::span<const ScalingEvent> events, TimePoint now) {
  std::int64_t change = 0;
  for (const ScalingEvent& event : events) {
    if (age_of(event.at, now) < period) change += event.change;
  }
  return to_int32(change);
}

std::int32_t up_limit(std::int32_t current, const HpaRules& rules, const RecentEvents& events) {
  if (rules.select == HpaSelect::disabled) return current;
  const bool smallest = rules.select == HpaSelect::min_change;
  std::int32_t limit = smallest ? std::numeric_limits<std::int32_t>::max() : std::numeric_limits<std::int32_t>::min();
  for (const HpaRate& rate : rules.rates) {
    const std::int64_t start = period_start(current, rate, events);
    // Rounded up: a small percentage of a small size must still allow growth.
    const std::int32_t allowed =
        rate.unit == HpaRateUnit::pods
            ? to_int32(start + rate.value)
            : ceil_to_int32(static_cast<double>(start) * (1 + static_cast<double>(rate.value) / 100));
    limit = smallest ? std::min(limit, allowed) : std::max(limit, allowed);
  }
  return limit;
}

std::int32_t down_limit(std::int32_t current, const HpaRules& rules, const RecentEvents& events) {
  if (rules.select == HpaSelect::disabled) return current;
  const bool smallest = rules.select == HpaSelect::min_change;
  std::int32_t limit = smallest ? std::numeric_limits<std::int32_t>::min() : std::numeric_limits<std::int32_t>::max();
  for (const HpaRate& rate : rules.rates) {
    const std::int64_t start = period_start(current, rate, events);
    const std::int32_t allowed =
        rate.unit == HpaRateUnit::pods
            ? to_int32(start - rate.value)
            : truncate_to_int32(static_cast<double>(start) * (1 - static_cast<double>(rate.value) / 100));
    limit = smallest ? std::max(limit, allowed) : std::min(limit, allowed);
  }
  return limit;
}

Limited limit_step(const SizeRequest& size, const StepLimit& step) {
  const std::int32_t highest =
      truncate_to_int32(std::max(step.factor * static_cast<double>(size.current), static_cast<double>(step.minimum)));
  const bool by_step = size.max > highest;
  if (size.desired < size.min) return {size.min, "TooFewReplicas"};
  if (size.desired > (by_step ? highest : size.max)) {
    return by_step ? Limited{highest, "ScaleUpLimit"} : Limited{size.max, "TooManyReplicas"};
  }
  return {size.desired, "DesiredWithinRange"};
}

Limited limit_rate(const SizeRequest& size, const HpaBehavior& behavior, const RecentEvents& events) {
  if (size.desired > size.current) {
    // Not below the present size, even where earlier growth has used up the rate.
    const std::int32_t highest = std::max(size.current, up_limit(size.current, behavior.up, events));
    if (size.desired > std::min(size.max, highest)) {
      return size.max > highest ? Limited{highest, "ScaleUpLimit"} : Limited{size.max, "TooManyReplicas"};
    }
  } else if (size.desired < size.current) {
    const std::int32_t lowest = std::min(size.current, down_limit(size.current, behavior.down, events));
    if (size.desired < std::max(size.min, lowest)) {
      return size.min < lowest ? Limited{lowest, "ScaleDownLimit"} : Limited{size.min, "TooFewReplicas"};
    }
  }
  return {size.desired, "DesiredWithinRange"};
}

EventLog store_event(EventLog log, std::int32_t change, const HpaRules& rules, TimePoint now) {
  Duration longest{0};
  for (const HpaRate& rate : rules.rates) longest = std::max(longest, rate.period);
  std::optional<std::size_t> free;
  for (std::size_t i = 0; i < log.size(); ++i) {
    if (age_of(log[i].at, now) > longest) log[i].outdated = true;
    if (log[i].outdated) free = i;
  }
  const ScalingEvent event{change, now, false};
  if (free) {
    log[*free] = event;
  } else {
    log.push_back(event);
  }
  return log;
}

HpaBehavior with_defaults(HpaBehavior behavior, Duration downscale_window) {
  constexpr Duration kPeriod = std::chrono::seconds(15);
  const HpaRate whole_size{HpaRateUnit::percent, 100, kPeriod};
  if (!behavior.up.window) behavior.up.window = Duration{0};
  if (behavior.up.rates.empty()) behavior.up.rates = {HpaRate{HpaRateUnit::pods, 4, kPeriod}, whole_size};
  if (!behavior.down.window) behavior.down.window = downscale_window;
  if (behavior.down.rates.empty()) behavior.down.rates = {whole_size};
  return behavior;
}

}  // namespace tidegate::hpa
