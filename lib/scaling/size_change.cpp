#include "scaling/size_change.hpp"

#include "scaling/hpa_arithmetic.hpp"
#include "scaling/hpa_stabilization.hpp"

namespace tidegate::hpa {
namespace {

using Condition = ScalingConditionType;

void explain_stabilization(const SizeRules& rules, std::int32_t current, std::int32_t wanted, std::int32_t stable,
                           DecisionBuilder& builder) {
  if (stable == wanted) {
    builder.condition(Condition::able_to_scale, Truth::yes, "ReadyForNewScale", "no recent recommendation objects");
    builder.step("stabilize", wanted, stable, "no recent recommendation objects");
    return;
  }
  const bool up = rules.behavior && wanted >= current;
  const std::string why = up ? "recent recommendations were lower" : "recent recommendations were higher";
  builder.condition(Condition::able_to_scale, Truth::yes, up ? "ScaleUpStabilized" : "ScaleDownStabilized", why);
  builder.step("stabilize", wanted, stable, why);
}

}  // namespace

std::int32_t normalize(const SizeRules& rules, const ScalingSnapshot& snapshot, std::int32_t wanted,
                       DecisionBuilder& builder) {
  const std::int32_t current = snapshot.spec_replicas;
  ScalingState& state = builder.state();
  Stabilized stable =
      rules.behavior
          ? stabilize_both_ways(std::move(state.recommendations), current, wanted,
                                {*rules.behavior->up.window, *rules.behavior->down.window}, snapshot.now)
          : stabilize_downscale(std::move(state.recommendations), wanted, rules.downscale_window, snapshot.now);
  state.recommendations = std::move(stable.log);
  explain_stabilization(rules, current, wanted, stable.replicas, builder);
  const SizeRequest size{current, stable.replicas, rules.min_replicas, rules.max_replicas};
  const Limited limited = rules.behavior ? limit_rate(size, *rules.behavior, {state.ups, state.downs, snapshot.now})
                                         : limit_step(size, rules.step);
  const Truth was_limited = limited.replicas == stable.replicas ? Truth::no : Truth::yes;
  const std::string why = "bounds " + std::to_string(rules.min_replicas) + " to " + std::to_string(rules.max_replicas) +
                          ", current " + std::to_string(current);
  builder.condition(Condition::scaling_limited, was_limited, limited.reason, why);
  builder.step("limit", stable.replicas, limited.replicas, std::string(limited.reason) + ", " + why);
  return limited.replicas;
}

void record_change(const SizeRules& rules, const ScalingSnapshot& snapshot, std::int32_t desired,
                   DecisionBuilder& builder) {
  builder.condition(Condition::able_to_scale, Truth::yes, "SucceededRescale",
                    "the size is set to " + std::to_string(desired));
  if (!rules.behavior) return;
  const std::int32_t current = snapshot.spec_replicas;
  const bool up = desired > current;
  EventLog& log = up ? builder.state().ups : builder.state().downs;
  const std::int32_t change = to_int32(up ? std::int64_t{desired} - current : std::int64_t{current} - desired);
  log = store_event(std::move(log), change, up ? rules.behavior->up : rules.behavior->down, snapshot.now);
}

}  // namespace tidegate::hpa
