#include <doctest/doctest.h>

#include <algorithm>
#include <limits>

#include "scaling_fixtures.hpp"

using namespace tidegate;
using namespace tidegate::test;
using std::chrono::seconds;
using Condition = ScalingConditionType;

namespace {

std::unique_ptr<ScalingPolicy> hpa_of(HpaOptions options) {
  auto policy = make_hpa_policy(std::move(options));
  REQUIRE_MESSAGE(policy.has_value(), (policy ? "" : policy.error().text()));
  return *std::move(policy);
}

std::string refusal(HpaOptions options) {
  const auto policy = make_hpa_policy(std::move(options));
  return policy ? "" : policy.error().text();
}

}  // namespace

TEST_CASE("fixed policy: always asks for its size") {
  const auto policy = make_fixed_policy(3);
  REQUIRE(policy.has_value());
  CHECK((*policy)->name() == "fixed");
  for (const std::int32_t now : {0, 1, 3, 7}) {
    const auto decision = (*policy)->decide(snapshot_of(now, failed_reading()), {});
    CHECK(decision.replicas == 3);
    CHECK(reason_of(decision, Condition::able_to_scale) == (now == 3 ? "ReadyForNewScale" : "SucceededRescale"));
  }
  CHECK(make_fixed_policy(-1).error().code() == ErrorCode::invalid_argument);
}

TEST_CASE("hpa: every bad option is refused by name") {
  const auto with = [](auto&& change) {
    HpaOptions options;
    change(options);
    return refusal(options);
  };
  CHECK(with([](HpaOptions&) {}) == "");
  CHECK(with([](HpaOptions& o) { o.min_replicas = -1; }).find("min_replicas") != std::string::npos);
  CHECK(with([](HpaOptions& o) { o.max_replicas = 0; }).find("max_replicas") != std::string::npos);
  CHECK(with([](HpaOptions& o) { o.min_replicas = 11; }).find("max_replicas") != std::string::npos);
  CHECK(with([](HpaOptions& o) { o.metrics.clear(); }).find("metrics") != std::string::npos);
  CHECK(with([](HpaOptions& o) { o.metrics[0].target = 0; }).find("metrics[0].target") != std::string::npos);
  CHECK(with([](HpaOptions& o) { o.metrics[0].target = 1ll << 40; }).find("percentage") != std::string::npos);
  CHECK(with([](HpaOptions& o) { o.tolerance = std::numeric_limits<double>::quiet_NaN(); }).find("tolerance") !=
        std::string::npos);
  CHECK(with([](HpaOptions& o) { o.scale_up_factor = 0.5; }).find("scale_up_factor") != std::string::npos);
  CHECK(with([](HpaOptions& o) { o.scale_up_min = 0; }).find("scale_up_min") != std::string::npos);
  CHECK(with([](HpaOptions& o) { o.downscale_window = seconds(-1); }).find("downscale_window") != std::string::npos);
  CHECK(with([](HpaOptions& o) { o.behavior.emplace().up.window = seconds(3601); }).find("behavior.up.window") !=
        std::string::npos);
  CHECK(with([](HpaOptions& o) {
          o.behavior.emplace().down.rates = {{HpaRateUnit::pods, 0, seconds(1)}};
        }).find("behavior.down.rates[0].value") != std::string::npos);
  CHECK(with([](HpaOptions& o) {
          o.behavior.emplace().down.rates = {{HpaRateUnit::pods, 1, seconds(0)}};
        }).find("behavior.down.rates[0].period") != std::string::npos);
  CHECK(with([](HpaOptions& o) { o.behavior.emplace().down.tolerance = -0.1; }).find("behavior.down.tolerance") !=
        std::string::npos);
}

TEST_CASE("hpa: a target seen for the first time is not shrunk for one window") {
  const auto policy = hpa_of(options_for(HpaMetricKind::external_average, 1000));
  auto decision = policy->decide(snapshot_of(5, value_of(1000)), {});
  CHECK(decision.replicas == 5);
  CHECK(reason_of(decision, Condition::able_to_scale) == "ScaleDownStabilized");
  decision = policy->decide(snapshot_of(5, value_of(1000), seconds(300)), decision.state);
  CHECK(decision.replicas == 5);
  decision = policy->decide(snapshot_of(5, value_of(1000), seconds(301)), decision.state);
  CHECK(decision.replicas == 1);
}

TEST_CASE("hpa: production limits a step without behavior to max(2 x, 4)") {
  const auto policy = hpa_of(options_for(HpaMetricKind::external_average, 1000));
  CHECK(policy->decide(snapshot_of(1, value_of(90000)), {}).replicas == 4);
  const auto decision = policy->decide(snapshot_of(10, value_of(90000)), {});
  CHECK(decision.replicas == 20);
  CHECK(reason_of(decision, Condition::scaling_limited) == "ScaleUpLimit");
  CHECK(decision.condition(Condition::scaling_limited)->status);
}

TEST_CASE("hpa: the default behavior spends its rate once a period") {
  auto options = options_for(HpaMetricKind::external_average, 1000);
  options.behavior.emplace();
  const auto policy = hpa_of(options);
  auto decision = policy->decide(snapshot_of(2, value_of(90000)), seen_state());
  CHECK(decision.replicas == 6);
  decision = policy->decide(snapshot_of(6, value_of(90000), seconds(14)), decision.state);
  CHECK(decision.replicas == 6);
  CHECK(reason_of(decision, Condition::scaling_limited) == "ScaleUpLimit");
  decision = policy->decide(snapshot_of(6, value_of(90000), seconds(15)), decision.state);
  CHECK(decision.replicas == 12);
}

TEST_CASE("hpa: tolerances of their own for each direction") {
  auto options = options_for(HpaMetricKind::external_average, 1000);
  options.behavior.emplace().up.tolerance = 0.0;
  options.behavior->down.tolerance = 0.5;
  options.behavior->down.window = seconds(0);
  const auto policy = hpa_of(options);
  CHECK(policy->decide(snapshot_of(20, value_of(21000)), seen_state()).replicas == 21);
  CHECK(policy->decide(snapshot_of(20, value_of(11000)), seen_state()).replicas == 20);
  CHECK(policy->decide(snapshot_of(20, value_of(9000)), seen_state()).replicas == 9);
}

TEST_CASE("hpa: zero by condition wakes only what the policy itself put to sleep") {
  auto options = options_for(HpaMetricKind::external_average, 1000);
  options.min_replicas = 0;
  options.zero = HpaZero::by_condition;
  const auto policy = hpa_of(options);
  CHECK(reason_of(policy->decide(snapshot_of(0, value_of(3000)), seen_state()), Condition::scaling_active) ==
        "ScalingDisabled");
  auto decision = policy->decide(snapshot_of(2, value_of(0)), seen_state());
  CHECK(decision.replicas == 0);
  CHECK(reason_of(decision, Condition::scaled_to_zero) == "ScaledToZero");
  decision = policy->decide(snapshot_of(0, value_of(3000), seconds(15)), decision.state);
  CHECK(decision.replicas == 3);
  CHECK(reason_of(decision, Condition::scaled_to_zero) == "NotScaledToZero");
  CHECK_FALSE(decision.state.scaled_to_zero);
}

TEST_CASE("hpa: a minimum raised while asleep is met on waking") {
  auto options = options_for(HpaMetricKind::external_average, 1000);
  options.min_replicas = 3;
  options.zero = HpaZero::by_condition;
  ScalingState state = seen_state();
  state.scaled_to_zero = true;
  CHECK(hpa_of(options)->decide(snapshot_of(0, value_of(1000)), state).replicas == 3);
  CHECK(hpa_of(options)->decide(snapshot_of(0, failed_reading()), state).replicas == 0);
}

TEST_CASE("hpa: pods that are not known, or not its own, stop every decision") {
  const auto policy = hpa_of(options_for(HpaMetricKind::external_average, 1000));
  auto snapshot = snapshot_of(5, value_of(90000));
  snapshot.selection = PodSelection::ambiguous;
  const auto decision = policy->decide(snapshot, seen_state());
  CHECK(decision.replicas == 5);
  CHECK(reason_of(decision, Condition::scaling_active) == "AmbiguousSelector");
}

TEST_CASE("hpa: of several metrics the one that asks for most decides, in any order") {
  auto options = options_for(HpaMetricKind::external_average, 1000);
  options.metrics.push_back(options.metrics[0]);
  const auto policy = hpa_of(options);
  for (const bool most_first : {true, false}) {
    auto snapshot = snapshot_of(10, value_of(most_first ? 15000 : 12000));
    snapshot.readings.push_back(value_of(most_first ? 12000 : 15000));
    CHECK(policy->decide(snapshot, seen_state()).replicas == 15);
  }
}

TEST_CASE("hpa: a failing container metric says so") {
  auto options = options_for(HpaMetricKind::utilization, 50);
  options.metrics[0].container = "main";
  const auto decision = hpa_of(options)->decide(snapshot_of(2, failed_reading()), {});
  CHECK(reason_of(decision, Condition::scaling_active) == "FailedGetContainerResourceMetric");
}

TEST_CASE("hpa: the explanation holds every stage with its numbers") {
  const auto policy = hpa_of(options_for(HpaMetricKind::external_average, 1000));
  const auto decision = policy->decide(snapshot_of(10, value_of(90000)), seen_state());
  CHECK(decision.explain() ==
        "metric load: 10 -> 90 (usage 9000 milli, target 1000 milli, ratio 9)\n"
        "stabilize: 90 -> 90 (no recent recommendation objects)\n"
        "limit: 90 -> 20 (ScaleUpLimit, bounds 1 to 100, current 10)\n"
        "AbleToScale=True SucceededRescale: the size is set to 20\n"
        "ScalingActive=True ValidMetricFound: the desired size was computed from load\n"
        "ScalingLimited=True ScaleUpLimit: bounds 1 to 100, current 10\n");
}

TEST_CASE("hpa: no readings, no pods, and readings of strangers decide nothing") {
  const auto policy = hpa_of(options_for(HpaMetricKind::utilization, 50));
  ScalingSnapshot empty;
  empty.spec_replicas = 4;
  CHECK(policy->decide(empty, seen_state()).replicas == 4);
  auto strangers = snapshot_of(4, readings_of({0, 0, 0, 0}));
  for (PodReading& reading : strangers.readings[0].pods) reading.pod += "-old";
  CHECK(policy->decide(strangers, seen_state()).replicas == 4);
}

TEST_CASE("hpa: its logs stay bounded over a day of decisions") {
  auto options = options_for(HpaMetricKind::external_average, 1000);
  options.behavior.emplace().down.window = seconds(60);
  const auto policy = hpa_of(options);
  std::mt19937_64 random(4);
  ScalingState state;
  std::int32_t replicas = 5;
  for (int tick = 0; tick < 5760; ++tick) {
    auto decision = policy->decide(
        snapshot_of(replicas, value_of(static_cast<std::int64_t>(random() % 60000)), seconds(15) * tick), state);
    replicas = decision.replicas;
    state = std::move(decision.state);
    CHECK(state.recommendations.size() <= 6);
    CHECK(state.ups.size() <= 3);
    CHECK(state.downs.size() <= 3);
  }
}
