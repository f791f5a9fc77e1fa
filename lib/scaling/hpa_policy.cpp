// The reconcile loop of the Kubernetes HorizontalPodAutoscaler v2, without its I/O.
#include <charconv>

#include "base/try.hpp"
#include "scaling/decision_builder.hpp"
#include "scaling/hpa_options.hpp"
#include "scaling/hpa_rate_limit.hpp"
#include "scaling/hpa_replica_calculator.hpp"
#include "scaling/size_change.hpp"

namespace tidegate {
namespace {

using Condition = ScalingConditionType;

/// Reason of ScalingActive=False when a metric of this kind fails.
std::string_view failure_reason(const HpaMetric& metric) noexcept {
  switch (metric.kind) {
    case HpaMetricKind::utilization:
    case HpaMetricKind::resource_average:
      return metric.container.empty() ? "FailedGetResourceMetric" : "FailedGetContainerResourceMetric";
    case HpaMetricKind::pods: return "FailedGetPodsMetric";
    case HpaMetricKind::object_value:
    case HpaMetricKind::object_average: return "FailedGetObjectMetric";
    case HpaMetricKind::external_value:
    case HpaMetricKind::external_average: return "FailedGetExternalMetric";
    case HpaMetricKind::unrecognized: break;
  }
  return "InvalidMetricSourceType";
}

bool works_at_zero(const HpaMetric& metric) noexcept {
  return metric.kind == HpaMetricKind::object_value || metric.kind == HpaMetricKind::object_average ||
         metric.kind == HpaMetricKind::external_value || metric.kind == HpaMetricKind::external_average;
}

/// Six significant digits.
std::string short_text(double value) {
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof digits, value, std::chars_format::general, 6).ptr;
  return std::string(digits, end);
}

std::string describe(const hpa::MetricProposal& proposal, const HpaMetric& metric) {
  const std::string_view unit = metric.kind == HpaMetricKind::utilization ? " %" : " milli";
  return "usage " + std::to_string(proposal.usage) + std::string(unit) + ", target " + std::to_string(metric.target) +
         std::string(unit) + ", ratio " + short_text(proposal.ratio);
}

class HpaPolicy final : public ScalingPolicy {
 public:
  explicit HpaPolicy(HpaOptions options) : options_(std::move(options)), rules_(rules_of(options_)) {
    if (!options_.behavior) return;
    tolerances_.up = options_.behavior->up.tolerance.value_or(options_.tolerance);
    tolerances_.down = options_.behavior->down.tolerance.value_or(options_.tolerance);
  }

  [[nodiscard]] std::string_view name() const noexcept override { return "hpa"; }

  [[nodiscard]] ScalingDecision decide(const ScalingSnapshot& snapshot, ScalingState state) const override {
    DecisionBuilder builder(std::move(state));
    builder.condition(Condition::able_to_scale, Truth::yes, "SucceededGetScale", "the current size is known");
    const std::int32_t current = snapshot.spec_replicas;
    remember_first_sight(snapshot, builder.state());
    const std::optional<std::int32_t> desired = choose(snapshot, builder);
    if (!desired || *desired == current) return std::move(builder).finish(current);
    record_change(snapshot, *desired, builder);
    return std::move(builder).finish(*desired);
  }

 private:
  static hpa::SizeRules rules_of(const HpaOptions& options) {
    hpa::SizeRules rules{options.min_replicas,
                         options.max_replicas,
                         options.behavior,
                         options.downscale_window,
                         {options.scale_up_factor, options.scale_up_min}};
    if (rules.behavior) rules.behavior = hpa::with_defaults(std::move(*rules.behavior), options.downscale_window);
    return rules;
  }

  /// The current size enters the log, so a new policy does not shrink at once.
  static void remember_first_sight(const ScalingSnapshot& snapshot, ScalingState& state) {
    if (state.seen) return;
    state.seen = true;
    if (state.recommendations.empty()) state.recommendations.push_back({snapshot.spec_replicas, snapshot.now});
  }

  /// Empty: nothing may be decided, the size stays.
  std::optional<std::int32_t> choose(const ScalingSnapshot& snapshot, DecisionBuilder& builder) const {
    const std::int32_t current = snapshot.spec_replicas;
    if (current == 0 && zero_is_a_wish(builder.state())) {
      builder.condition(Condition::scaling_active, Truth::no, "ScalingDisabled",
                        "scaling is disabled since the size asked for is zero");
      builder.step("gate", current, current, "the size asked for is zero");
      return std::nullopt;
    }
    // Bounds come first: they consult no metric, window or rate. Growth from zero
    // is computed and lifted to the minimum afterwards.
    if (current > options_.max_replicas) {
      builder.step("gate", current, options_.max_replicas, "above max_replicas");
      return options_.max_replicas;
    }
    if (current != 0 && current < options_.min_replicas) {
      builder.step("gate", current, options_.min_replicas, "below min_replicas");
      return options_.min_replicas;
    }
    const std::optional<std::int32_t> wanted = combine_metrics(snapshot, builder);
    if (!wanted) return std::nullopt;
    const std::int32_t desired = hpa::normalize(rules_, snapshot, *wanted, builder);
    if (current != 0 || desired >= options_.min_replicas) return desired;
    builder.step("minimum", desired, options_.min_replicas, "min_replicas was raised while at zero");
    return options_.min_replicas;
  }

  bool zero_is_a_wish(const ScalingState& state) const {
    if (options_.zero == HpaZero::by_minimum) return options_.min_replicas != 0;
    if (!state.scaled_to_zero) return true;
    return options_.min_replicas == 0 && !has_metric_at_zero();
  }

  bool has_metric_at_zero() const {
    for (const HpaMetric& metric : options_.metrics) {
      if (works_at_zero(metric)) return true;
    }
    return false;
  }

  /// The largest proposal. Empty if every metric failed, or if one failed and the
  /// others would shrink: missing data never shrinks.
  std::optional<std::int32_t> combine_metrics(const ScalingSnapshot& snapshot, DecisionBuilder& builder) const {
    if (snapshot.selection != PodSelection::known) {
      const bool missing = snapshot.selection == PodSelection::missing;
      builder.condition(Condition::scaling_active, Truth::no, missing ? "InvalidSelector" : "AmbiguousSelector",
                        missing ? "the target's pods are not known" : "the pods belong to more than one policy");
      return std::nullopt;
    }
    const hpa::MetricContext context{
        snapshot.spec_replicas,
        snapshot.status_replicas,
        snapshot.pods,
        tolerances_,
        {options_.cpu_initialization_period, options_.initial_readiness_delay},
    };
    const std::int32_t current = snapshot.spec_replicas;
    static const MetricReading kNotRead{"no reading", {}, {}};
    std::int32_t best = 0;
    std::size_t failures = 0;
    std::string_view first_reason;
    std::string first_message;
    std::string_view best_name;
    for (std::size_t i = 0; i < options_.metrics.size(); ++i) {
      const HpaMetric& metric = options_.metrics[i];
      const MetricReading& reading = i < snapshot.readings.size() ? snapshot.readings[i] : kNotRead;
      const auto proposal = hpa::propose_replicas(metric, reading, context);
      if (!proposal) {
        if (failures++ == 0) {
          first_reason = failure_reason(metric);
          first_message = proposal.error().message();
        }
        builder.step("metric " + metric.name, current, current, std::string(proposal.error().message()));
        continue;
      }
      builder.step("metric " + metric.name, current, proposal->replicas, describe(*proposal, metric));
      // 0 counts as unset.
      if (best != 0 && proposal->replicas <= best) continue;
      best = proposal->replicas;
      best_name = metric.name;
    }
    if (failures == options_.metrics.size() || (failures > 0 && best < current)) {
      builder.condition(Condition::scaling_active, Truth::no, first_reason,
                        "the desired size could not be computed: " + first_message);
      return std::nullopt;
    }
    builder.condition(Condition::scaling_active, Truth::yes, "ValidMetricFound",
                      "the desired size was computed from " + std::string(best_name));
    return std::max(best, 0);
  }

  void record_change(const ScalingSnapshot& snapshot, std::int32_t desired, DecisionBuilder& builder) const {
    hpa::record_change(rules_, snapshot, desired, builder);
    const std::int32_t current = snapshot.spec_replicas;
    ScalingState& state = builder.state();
    state.scaled_to_zero = current > 0 && desired == 0 && options_.min_replicas == 0 && has_metric_at_zero();
    if (options_.zero == HpaZero::by_minimum) return;
    builder.condition(Condition::scaled_to_zero, state.scaled_to_zero ? Truth::yes : Truth::no,
                      state.scaled_to_zero ? "ScaledToZero" : "NotScaledToZero",
                      state.scaled_to_zero ? "the policy scaled to zero" : "the policy did not scale to zero");
  }

  HpaOptions options_;
  hpa::SizeRules rules_;
  hpa::Tolerances tolerances_{options_.tolerance, options_.tolerance};
};

}  // namespace

Result<std::unique_ptr<ScalingPolicy>> make_hpa_policy(HpaOptions options) {
  TIDEGATE_CHECK(hpa::validate(options));
  return std::unique_ptr<ScalingPolicy>(std::make_unique<HpaPolicy>(std::move(options)));
}

}  // namespace tidegate
