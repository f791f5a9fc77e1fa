#include "simulator/hpa_case_inputs.hpp"

#include <array>
#include <utility>

namespace tidegate::hpa_cases {
namespace {

// "Infinitely old", as the case files write it.
constexpr Duration kNever = std::chrono::seconds(1000000000);

PodPhase phase_of(const CaseFields& pod) {
  const std::string word = pod.text("phase", "Running");
  if (word == "Pending") return PodPhase::pending;
  if (word == "Succeeded") return PodPhase::succeeded;
  if (word == "Failed") return PodPhase::failed;
  if (word != "Running") pod.complaint().raise(pod.path_of("phase"), "must be Pending, Running, Succeeded or Failed");
  return PodPhase::running;
}

HpaMetricKind kind_of(const std::string& mode) {
  static constexpr std::array<std::pair<std::string_view, HpaMetricKind>, 8> kModes{{
      {"utilization", HpaMetricKind::utilization},
      {"resource_average", HpaMetricKind::resource_average},
      {"raw", HpaMetricKind::resource_average},
      {"pods", HpaMetricKind::pods},
      {"object_value", HpaMetricKind::object_value},
      {"object_average", HpaMetricKind::object_average},
      {"external_value", HpaMetricKind::external_value},
      {"external_average", HpaMetricKind::external_average},
  }};
  for (const auto& [word, kind] : kModes) {
    if (word == mode) return kind;
  }
  return HpaMetricKind::unrecognized;
}

HpaRate read_rate(const CaseFields& fields) {
  HpaRate rate;
  const std::string unit = fields.text("type");
  if (unit != "Pods" && unit != "Percent") fields.complaint().raise(fields.path_of("type"), "must be Pods or Percent");
  rate.unit = unit == "Pods" ? HpaRateUnit::pods : HpaRateUnit::percent;
  rate.value = fields.count("value");
  rate.period = fields.seconds("period_s");
  return rate;
}

HpaSelect read_select(const CaseFields& rules) {
  const std::string word = rules.text("select", "Max");
  if (word == "Min") return HpaSelect::min_change;
  if (word == "Disabled") return HpaSelect::disabled;
  if (word != "Max") rules.complaint().raise(rules.path_of("select"), "must be Max, Min or Disabled");
  return HpaSelect::max_change;
}

}  // namespace

std::vector<ScalingPod> read_pods(const CaseFields& input) {
  std::vector<ScalingPod> pods;
  for (const CaseFields& fields : input.objects("pods")) {
    ScalingPod pod;
    pod.name = fields.text("name");
    pod.phase = phase_of(fields);
    pod.deleting = fields.flag("deleting", false);
    if (fields.is_null("ready")) {
      pod.readiness = PodReadiness::unknown;
    } else {
      pod.readiness = fields.flag("ready", true) ? PodReadiness::ready : PodReadiness::not_ready;
    }
    if (!fields.is_null("start_age_s")) pod.age = fields.seconds("start_age_s", kNever);
    pod.transition_age = fields.seconds("transition_age_s", kNever);
    pods.push_back(std::move(pod));
  }
  return pods;
}

MetricReading read_reading(const CaseFields& fields, const CaseFields& input) {
  MetricReading reading;
  reading.error = fields.text("error", "");
  reading.values_milli = fields.integers("values");
  for (const CaseFields& pod : input.objects("pods")) {
    PodReading figure;
    figure.pod = pod.text("name");
    if (pod.has("usage")) figure.usage_milli = pod.integer("usage");
    if (pod.has("request")) figure.request_milli = pod.integer("request");
    figure.age = pod.seconds("metric_age_s", Duration{0});
    figure.window = pod.seconds("window_s", std::chrono::seconds(60));
    reading.pods.push_back(std::move(figure));
  }
  if (!fields.has("extra_usage")) return reading;
  const CaseFields extra = fields.object("extra_usage");
  for (const CaseMember& entry : *extra.raw().object()) {
    PodReading figure;
    figure.pod = entry.name;
    figure.usage_milli = extra.integer(entry.name.c_str());
    reading.pods.push_back(std::move(figure));
  }
  return reading;
}

HpaMetric read_metric(const CaseFields& fields) {
  const std::string mode = fields.text("mode");
  HpaMetric metric;
  metric.kind = kind_of(mode);
  const bool of_resource = metric.kind == HpaMetricKind::utilization || metric.kind == HpaMetricKind::resource_average;
  metric.name = of_resource ? fields.text("resource", "cpu") : mode;
  metric.container = fields.text("container", "");
  metric.target = metric.kind == HpaMetricKind::unrecognized ? 1 : fields.integer("target");
  return metric;
}

HpaRules read_rules(const CaseFields& parent, const char* key) {
  HpaRules rules;
  if (!parent.has(key)) return rules;
  const CaseFields fields = parent.object(key);
  if (fields.has("window_s")) rules.window = fields.seconds("window_s");
  rules.select = read_select(fields);
  for (const CaseFields& rate : fields.objects("policies")) rules.rates.push_back(read_rate(rate));
  if (fields.has("tolerance")) rules.tolerance = fields.number("tolerance");
  return rules;
}

HpaBehavior read_behavior(const CaseFields& input) {
  HpaBehavior behavior{read_rules(input, "scale_up"), read_rules(input, "scale_down")};
  if (input.has("tolerance_up")) behavior.up.tolerance = input.number("tolerance_up");
  if (input.has("tolerance_down")) behavior.down.tolerance = input.number("tolerance_down");
  return behavior;
}

std::vector<ScalingEvent> read_events(const CaseFields& input, const char* key) {
  std::vector<ScalingEvent> events;
  for (const CaseFields& fields : input.objects(key)) {
    events.push_back({fields.count("change"), kNow - fields.seconds("age_s"), fields.flag("outdated", false)});
  }
  return events;
}

std::vector<ScalingRecommendation> read_recommendations(const CaseFields& input) {
  std::vector<ScalingRecommendation> log;
  for (const CaseFields& fields : input.objects("recommendations")) {
    log.push_back({fields.count("value"), kNow - fields.seconds("age_s")});
  }
  return log;
}

}  // namespace tidegate::hpa_cases
