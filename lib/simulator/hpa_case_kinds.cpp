#include "simulator/hpa_case_kinds.hpp"

#include <array>
#include <cstdlib>
#include <set>
#include <utility>

#include "scaling/hpa_rate_limit.hpp"
#include "scaling/hpa_replica_calculator.hpp"
#include "scaling/hpa_stabilization.hpp"
#include "simulator/hpa_case_inputs.hpp"

namespace tidegate::hpa_cases {
namespace {

CaseValue results(std::vector<CaseMember> members) { return CaseValue(std::move(members)); }

template <class Value>
CaseMember result(const char* name, Value&& value) {
  return {name, CaseValue(std::forward<Value>(value))};
}

CaseValue names(const std::set<std::string>& group) {
  CaseValue::List list;
  for (const std::string& name : group) list.emplace_back(std::string_view(name));
  return CaseValue(std::move(list));
}

constexpr Duration kDownscaleWindow = std::chrono::seconds(300);

hpa::PodTiming read_timing(const CaseFields& fields) {
  hpa::PodTiming timing;
  timing.cpu_initialization_period = fields.seconds("cpu_init_period_s", timing.cpu_initialization_period);
  timing.initial_readiness_delay = fields.seconds("initial_readiness_delay_s", timing.initial_readiness_delay);
  return timing;
}

hpa::SizeRequest read_size(const CaseFields& input) {
  return {input.count("current"), input.count("desired"), input.count("min"), input.count("max")};
}

CaseValue play_metric(const CaseFields& input) {
  const std::vector<ScalingPod> pods = read_pods(input);
  hpa::MetricContext context;
  context.current = input.count("current");
  context.status_replicas = input.count("status_replicas", context.current);
  context.pods = pods;
  const double tolerance = input.number("tolerance", 0.1);
  context.tolerances = {input.number("tolerance_down", tolerance), input.number("tolerance_up", tolerance)};
  context.timing = read_timing(input);
  const HpaMetric metric = read_metric(input);
  const MetricReading reading = read_reading(input, input);
  if (input.complaint().error) return {};
  const auto proposal = hpa::propose_replicas(metric, reading, context);
  if (!proposal) return results({result("error", proposal.error().message())});
  return results(
      {result("replicas", proposal->replicas), result("usage", proposal->usage), result("raw", proposal->raw)});
}

CaseValue play_group_pods(const CaseFields& input) {
  hpa::PodSamples samples;
  for (const PodReading& reading : read_reading(input, input).pods) {
    if (reading.usage_milli) samples.emplace(reading.pod, reading);
  }
  const hpa::PodGroups groups =
      hpa::group_pods(read_pods(input), samples, input.text("resource", ""), read_timing(input));
  return results({result("ready", groups.ready),
                  {"unready", names(groups.unready)},
                  {"missing", names(groups.missing)},
                  {"ignored", names(groups.ignored)}});
}

CaseValue limited_results(const hpa::Limited& limited) {
  return results({result("replicas", limited.replicas), result("reason", limited.reason)});
}

CaseValue play_clamp_rules(const CaseFields& input) {
  hpa::StepLimit step;
  step.factor = input.number("scale_up_factor", step.factor);
  step.minimum = input.count("scale_up_min", step.minimum);
  return limited_results(hpa::limit_step(read_size(input), step));
}

CaseValue play_behavior_rate(const CaseFields& input) {
  const HpaBehavior behavior = hpa::with_defaults(read_behavior(input), kDownscaleWindow);
  const auto ups = read_events(input, "up_events");
  const auto downs = read_events(input, "down_events");
  return limited_results(hpa::limit_rate(read_size(input), behavior, {ups, downs, kNow}));
}

CaseValue play_up_limit(const CaseFields& input) {
  HpaBehavior behavior;
  behavior.up = read_rules(input, "rules");
  behavior = hpa::with_defaults(std::move(behavior), kDownscaleWindow);
  const auto ups = read_events(input, "up_events");
  const auto downs = read_events(input, "down_events");
  return results({result("limit", hpa::up_limit(input.count("current"), behavior.up, {ups, downs, kNow}))});
}

CaseValue play_down_limit(const CaseFields& input) {
  HpaBehavior behavior;
  behavior.down = read_rules(input, "rules");
  behavior = hpa::with_defaults(std::move(behavior), kDownscaleWindow);
  const auto ups = read_events(input, "up_events");
  const auto downs = read_events(input, "down_events");
  return results({result("limit", hpa::down_limit(input.count("current"), behavior.down, {ups, downs, kNow}))});
}

CaseValue stabilized_results(const hpa::Stabilized& stable) {
  CaseValue::List log;
  for (const ScalingRecommendation& entry : stable.log) log.emplace_back(entry.replicas);
  return results(
      {result("replicas", stable.replicas), result("log_length", stable.log.size()), result("log", std::move(log))});
}

CaseValue play_stabilize_legacy(const CaseFields& input) {
  return stabilized_results(hpa::stabilize_downscale(read_recommendations(input), input.count("desired"),
                                                     input.seconds("window_s", kDownscaleWindow), kNow));
}

CaseValue play_stabilize_behavior(const CaseFields& input) {
  const hpa::StabilizationWindows windows{input.seconds("up_window_s"), input.seconds("down_window_s")};
  return stabilized_results(hpa::stabilize_both_ways(read_recommendations(input), input.count("current"),
                                                     input.count("desired"), windows, kNow));
}

/// The change of the last minute is the one before the event is stored. Without
/// behavior the policy keeps no events.
CaseValue play_store_event(const CaseFields& input) {
  hpa::EventLog events = read_events(input, "events");
  const std::int32_t before = hpa::change_within(std::chrono::seconds(60), events, kNow);
  const std::int32_t change = input.count("change");
  if (input.has("rules")) {
    const HpaRules rules = read_rules(input, "rules");
    const HpaBehavior behavior = hpa::with_defaults({rules, rules}, kDownscaleWindow);
    events = hpa::store_event(std::move(events), std::abs(change), change > 0 ? behavior.up : behavior.down, kNow);
  }
  CaseValue::List log;
  for (const ScalingEvent& event : events) {
    log.emplace_back(CaseValue::List{CaseValue(event.change), CaseValue(event.outdated)});
  }
  return results({result("change_60s", before), result("events", std::move(log))});
}

HpaOptions read_options(const CaseFields& input) {
  HpaOptions options;
  options.min_replicas = input.count("min");
  options.max_replicas = input.count("max");
  if (input.has("config")) {
    const CaseFields config = input.object("config");
    options.tolerance = config.number("tolerance", options.tolerance);
    options.downscale_window = config.seconds("downscale_window_s", options.downscale_window);
    const hpa::PodTiming timing = read_timing(config);
    options.cpu_initialization_period = timing.cpu_initialization_period;
    options.initial_readiness_delay = timing.initial_readiness_delay;
    options.scale_up_factor = config.number("scale_up_factor", options.scale_up_factor);
    options.scale_up_min = config.count("scale_up_min", options.scale_up_min);
  }
  for (const char* key : {"scale_up", "scale_down", "tolerance_up", "tolerance_down"}) {
    if (input.has(key)) options.behavior = read_behavior(input);
  }
  options.metrics.clear();
  for (const CaseFields& metric : input.objects("metrics")) options.metrics.push_back(read_metric(metric));
  if (options.metrics.empty()) options.metrics.emplace_back();
  const std::string zero = input.text("zero_model", "minimum");
  if (zero == "condition") options.zero = HpaZero::by_condition;
  return options;
}

ScalingSnapshot read_snapshot(const CaseFields& input) {
  ScalingSnapshot snapshot;
  snapshot.now = kNow;
  snapshot.spec_replicas = input.count("spec_replicas");
  snapshot.status_replicas = input.count("status_replicas", snapshot.spec_replicas);
  snapshot.pods = read_pods(input);
  if (input.text("selector", "set").empty()) snapshot.selection = PodSelection::missing;
  for (const CaseFields& metric : input.objects("metrics")) snapshot.readings.push_back(read_reading(metric, input));
  return snapshot;
}

CaseValue play_reconcile(const CaseFields& input) {
  ScalingState state;
  state.seen = input.has("recommendations");
  state.recommendations = read_recommendations(input);
  state.ups = read_events(input, "up_events");
  state.downs = read_events(input, "down_events");
  state.scaled_to_zero = input.flag("scaled_to_zero", false);
  const ScalingSnapshot snapshot = read_snapshot(input);
  const auto policy = make_hpa_policy(read_options(input));
  if (!policy) input.complaint().raise("input", policy.error().message());
  if (input.complaint().error) return {};
  const ScalingDecision decision = (*policy)->decide(snapshot, std::move(state));
  static constexpr std::array<std::pair<const char*, ScalingConditionType>, 4> kConditions{{
      {"AbleToScale", ScalingConditionType::able_to_scale},
      {"ScalingActive", ScalingConditionType::scaling_active},
      {"ScalingLimited", ScalingConditionType::scaling_limited},
      {"ScaledToZero", ScalingConditionType::scaled_to_zero},
  }};
  CaseValue::Object reasons;
  for (const auto& [word, type] : kConditions) {
    if (const ScalingCondition* condition = decision.condition(type)) {
      reasons.push_back(result(word, std::string_view(condition->reason)));
    }
  }
  return results({result("desired", decision.replicas), result("reasons", std::move(reasons))});
}

}  // namespace

std::optional<CaseValue> play(const std::string& kind, const CaseFields& input) {
  static constexpr std::array<std::pair<std::string_view, CaseValue (*)(const CaseFields&)>, 10> kKinds{{
      {"metric", play_metric},
      {"group_pods", play_group_pods},
      {"clamp_rules", play_clamp_rules},
      {"up_limit", play_up_limit},
      {"down_limit", play_down_limit},
      {"behavior_rate", play_behavior_rate},
      {"stabilize_legacy", play_stabilize_legacy},
      {"stabilize_behavior", play_stabilize_behavior},
      {"store_event", play_store_event},
      {"reconcile", play_reconcile},
  }};
  for (const auto& [word, play_kind] : kKinds) {
    if (word == kind) return play_kind(input);
  }
  return std::nullopt;
}

}  // namespace tidegate::hpa_cases
