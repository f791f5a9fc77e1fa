#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "scaling/hpa_rate_limit.hpp"
#include "scaling/hpa_replica_calculator.hpp"
#include "scaling/hpa_stabilization.hpp"
#include "scaling_fixtures.hpp"

using namespace tidegate;
using namespace tidegate::test;
using std::chrono::seconds;

namespace {

constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kLowest = std::numeric_limits<std::int64_t>::min();

HpaMetric metric_of(HpaMetricKind kind, std::int64_t target) { return options_for(kind, target).metrics[0]; }

hpa::MetricProposal propose(const HpaMetric& metric, const MetricReading& reading, std::int32_t current,
                            const std::vector<ScalingPod>& pods) {
  const auto proposal = hpa::propose_replicas(metric, reading, {current, current, pods, {}, {}});
  REQUIRE_MESSAGE(proposal.has_value(), (proposal ? "" : proposal.error().text()));
  return *proposal;
}

ScalingEvent event(std::int32_t change, int age_s) { return {change, TimePoint{} - seconds(age_s), false}; }

HpaRules rules_of(HpaSelect select, std::vector<HpaRate> rates) {
  HpaRules rules;
  rules.select = select;
  rules.rates = std::move(rates);
  return rules;
}

}  // namespace

TEST_CASE("hpa arithmetic: sums, products, quotients and conversions saturate") {
  CHECK(hpa::add_saturated(kHuge, 1) == kHuge);
  CHECK(hpa::add_saturated(kLowest, -1) == kLowest);
  CHECK(hpa::multiply_saturated(kHuge, 100) == kHuge);
  CHECK(hpa::multiply_saturated(kLowest, 100) == kLowest);
  CHECK(hpa::divide_saturated(kLowest, -1) == kHuge);
  CHECK(hpa::divide_saturated(-7, 2) == -3);
  CHECK(hpa::to_int32(kHuge) == std::numeric_limits<std::int32_t>::max());
  CHECK(hpa::ceil_to_int32(1e300) == std::numeric_limits<std::int32_t>::max());
  CHECK(hpa::ceil_to_int32(-1e300) == std::numeric_limits<std::int32_t>::min());
  CHECK(hpa::ceil_to_int32(std::nan("")) == 0);
  CHECK(hpa::ceil_to_int32(-0.5) == 0);
  CHECK(hpa::age_of(TimePoint::min(), TimePoint::max()) == Duration::max());
  CHECK(hpa::age_of(TimePoint::max(), TimePoint::min()) == Duration::min());
}

TEST_CASE("hpa tolerance: 33/30 equals 1.0 + 0.1 in doubles and lies inside") {
  const hpa::Tolerances tolerances;
  CHECK(tolerances.within(33.0 / 30.0));
  CHECK(tolerances.within(0.9));
  CHECK_FALSE(tolerances.within(std::nextafter(1.0 + 0.1, 2.0)));
  CHECK_FALSE(tolerances.within(std::nextafter(1.0 - 0.1, 0.0)));
  CHECK_FALSE(tolerances.within(std::nan("")));
}

TEST_CASE("hpa pod groups: a sample of a warming pod counts only if its window lies after the last transition") {
  ScalingPod pod = steady_pods(1)[0];
  pod.age = seconds(100);
  pod.transition_age = seconds(90);
  PodReading sample;
  const auto unready = [&](int age_s, std::string_view resource) {
    sample.age = seconds(age_s);
    return hpa::group_pods({&pod, 1}, {{"p0", sample}}, resource, {}).unready.size() == 1;
  };
  CHECK_FALSE(unready(30, "cpu"));
  CHECK(unready(31, "cpu"));
  CHECK_FALSE(unready(31, "memory"));
  pod.age = seconds(300);  // the initialization period is over
  CHECK_FALSE(unready(31, "cpu"));
}

TEST_CASE("hpa pod groups: a pod that was never ready is unready, one that lost readiness later is not") {
  ScalingPod pod = steady_pods(1)[0];
  pod.readiness = PodReadiness::not_ready;
  pod.age = seconds(600);
  const auto unready = [&](int transition_age_s) {
    pod.transition_age = seconds(transition_age_s);
    return hpa::group_pods({&pod, 1}, {{"p0", PodReading{}}}, "cpu", {}).unready.size() == 1;
  };
  CHECK(unready(571));
  CHECK_FALSE(unready(570));
  CHECK_FALSE(unready(10));
}

TEST_CASE("hpa metric: utilization truncates to whole percent before the ratio is taken") {
  // 1999 of 3000 is 66.63 %: 66/60 = 1.1 is inside the tolerance, 66.63/60 is not.
  const auto metric = metric_of(HpaMetricKind::utilization, 60);
  const auto proposal = propose(metric, readings_of({667, 666, 666}), 3, steady_pods(3));
  CHECK(proposal.usage == 66);
  CHECK(proposal.raw == 666);
  CHECK(proposal.replicas == 3);
}

TEST_CASE("hpa metric: the base is ready pods for values, status for averages") {
  auto pods = steady_pods(5);
  pods[4].readiness = PodReadiness::not_ready;
  CHECK(propose(metric_of(HpaMetricKind::external_value, 1000), value_of(2000), 5, pods).replicas == 8);
  const auto average = metric_of(HpaMetricKind::external_average, 1000);
  const auto proposal = hpa::propose_replicas(average, value_of(7200), {5, 7, pods, {}, {}});
  REQUIRE(proposal.has_value());
  CHECK(proposal->replicas == 7);  // 7200 / 7 is within a tenth of the target
}

TEST_CASE("hpa metric: the CPU rule reaches resource averages, not pods metrics of the same name") {
  auto pods = steady_pods(2);
  pods[1].readiness = PodReadiness::not_ready;
  auto metric = metric_of(HpaMetricKind::resource_average, 100);
  CHECK(propose(metric, readings_of({100, 900}), 2, pods).usage == 100);
  metric.kind = HpaMetricKind::pods;
  CHECK(propose(metric, readings_of({100, 900}), 2, pods).usage == 500);
}

TEST_CASE("hpa metric: without growth unready pods are left out, not counted as idle") {
  // p1 is missing and taken to be at the target: (850 + 1000) / 2 is within a tenth.
  auto pods = steady_pods(3);
  pods[2].phase = PodPhase::pending;
  CHECK(propose(metric_of(HpaMetricKind::pods, 1000), readings_of({850}), 3, pods).replicas == 3);
}

TEST_CASE("hpa metric: an assumption never turns a shrink into growth") {
  // (200 + 200 + 1000) / 3 is below target, yet asks for 2 where 1 was asked for.
  CHECK(propose(metric_of(HpaMetricKind::pods, 1000), readings_of({200, 200}), 1, steady_pods(3)).replicas == 1);
}

TEST_CASE("hpa metric: extreme figures saturate and never misbehave") {
  const auto pods = steady_pods(2);
  for (const std::int64_t extreme : {kHuge, kLowest, std::int64_t{0}, std::int64_t{-1}}) {
    for (const HpaMetricKind kind :
         {HpaMetricKind::utilization, HpaMetricKind::resource_average, HpaMetricKind::pods, HpaMetricKind::object_value,
          HpaMetricKind::object_average, HpaMetricKind::external_value, HpaMetricKind::external_average}) {
      MetricReading reading = readings_of({extreme, extreme});
      reading.values_milli = {extreme, extreme};
      for (const std::int32_t current : {0, 1, 2, std::numeric_limits<std::int32_t>::max()}) {
        const auto proposal = hpa::propose_replicas(metric_of(kind, 1), reading, {current, 0, pods, {}, {}});
        REQUIRE(proposal.has_value());
        if (extreme == kHuge) CHECK(proposal->replicas > 2);
        if (extreme <= 0) CHECK(proposal->replicas <= 0);
      }
    }
  }
}

TEST_CASE("hpa metric: a negative or absurd request is no division by zero") {
  MetricReading reading = readings_of({kLowest, 5});
  reading.pods[0].request_milli = -1001;
  CHECK(hpa::propose_replicas(metric_of(HpaMetricKind::utilization, 50), reading, {2, 2, steady_pods(2), {}, {}})
            .has_value());
  reading.pods[0].request_milli = -1000;
  const auto zero =
      hpa::propose_replicas(metric_of(HpaMetricKind::utilization, 50), reading, {2, 2, steady_pods(2), {}, {}});
  REQUIRE_FALSE(zero.has_value());
  CHECK(zero.error().code() == ErrorCode::unavailable);
}

TEST_CASE("hpa stabilization: the legacy window includes its oldest instant, the others do not") {
  const hpa::RecommendationLog log = {{9, TimePoint{} - seconds(300)}};
  CHECK(hpa::stabilize_downscale(log, 3, seconds(300), TimePoint{}).replicas == 9);
  CHECK(hpa::stabilize_downscale(log, 3, seconds(299), TimePoint{}).replicas == 3);
  CHECK(hpa::stabilize_both_ways(log, 9, 3, {seconds(0), seconds(300)}, TimePoint{}).replicas == 3);
  CHECK(hpa::stabilize_both_ways(log, 9, 3, {seconds(0), seconds(301)}, TimePoint{}).replicas == 9);
}

TEST_CASE("hpa stabilization: an expired slot is used again, the last of several") {
  const hpa::RecommendationLog log = {
      {9, TimePoint{} - seconds(900)}, {8, TimePoint{} - seconds(800)}, {4, TimePoint{} - seconds(10)}};
  const auto stable = hpa::stabilize_downscale(log, 3, seconds(300), TimePoint{});
  CHECK(stable.log ==
        hpa::RecommendationLog{{9, TimePoint{} - seconds(900)}, {3, TimePoint{}}, {4, TimePoint{} - seconds(10)}});
}

TEST_CASE("hpa rate: the select rule picks the biggest change, the smallest, or none") {
  const std::vector<HpaRate> rates = {{HpaRateUnit::pods, 2, seconds(60)}, {HpaRateUnit::percent, 50, seconds(60)}};
  const hpa::RecentEvents none{};
  CHECK(hpa::up_limit(10, rules_of(HpaSelect::max_change, rates), none) == 15);
  CHECK(hpa::up_limit(10, rules_of(HpaSelect::min_change, rates), none) == 12);
  CHECK(hpa::up_limit(10, rules_of(HpaSelect::disabled, rates), none) == 10);
  CHECK(hpa::down_limit(10, rules_of(HpaSelect::max_change, rates), none) == 5);
  CHECK(hpa::down_limit(10, rules_of(HpaSelect::min_change, rates), none) == 8);
  CHECK(hpa::down_limit(10, rules_of(HpaSelect::disabled, rates), none) == 10);
}

TEST_CASE("hpa rate: growth is rounded up, shrinking truncated, and a period excludes its oldest instant") {
  const auto one_percent = rules_of(HpaSelect::max_change, {{HpaRateUnit::percent, 1, seconds(60)}});
  CHECK(hpa::up_limit(3, one_percent, {}) == 4);
  const auto ten_percent = rules_of(HpaSelect::max_change, {{HpaRateUnit::percent, 10, seconds(60)}});
  CHECK(hpa::down_limit(7, ten_percent, {}) == 6);
  const std::vector<ScalingEvent> ups = {event(5, 60), event(3, 59)};
  CHECK(hpa::change_within(seconds(60), ups, TimePoint{}) == 3);
  const auto pods = rules_of(HpaSelect::max_change, {{HpaRateUnit::pods, 4, seconds(60)}});
  CHECK(hpa::up_limit(10, pods, {ups, {}, TimePoint{}}) == 11);
  CHECK(hpa::up_limit(10, pods, {{}, ups, TimePoint{}}) == 17);
}

TEST_CASE("hpa rate: a rate already overspent holds the size and does not undo it") {
  HpaBehavior behavior;
  behavior.up = rules_of(HpaSelect::max_change, {{HpaRateUnit::pods, 4, seconds(60)}});
  behavior.down = behavior.up;
  const std::vector<ScalingEvent> changes = {event(30, 10)};
  const auto up = hpa::limit_rate({10, 20, 1, 100}, behavior, {changes, {}, TimePoint{}});
  CHECK(up.replicas == 10);
  CHECK(up.reason == "ScaleUpLimit");
  const auto down = hpa::limit_rate({10, 2, 1, 100}, behavior, {{}, changes, TimePoint{}});
  CHECK(down.replicas == 10);
  CHECK(down.reason == "ScaleDownLimit");
}

TEST_CASE("hpa rate: limits saturate") {
  constexpr std::int32_t kMost = std::numeric_limits<std::int32_t>::max();
  const auto rules = rules_of(HpaSelect::max_change, {{HpaRateUnit::pods, kMost, seconds(60)}});
  CHECK(hpa::up_limit(kMost, rules, {}) == kMost);
  CHECK(hpa::down_limit(0, rules, {}) == -kMost);
  const auto percent = rules_of(HpaSelect::max_change, {{HpaRateUnit::percent, kMost, seconds(60)}});
  CHECK(hpa::up_limit(kMost, percent, {}) == kMost);
  const std::vector<ScalingEvent> many(3, event(kMost, 1));
  CHECK(hpa::change_within(seconds(60), many, TimePoint{}) == kMost);
  CHECK(hpa::limit_step({kMost, kMost, 1, kMost}, {2.0, 4}).replicas == kMost);
}

TEST_CASE("hpa events: outdated slots are found by the longest period and used again, the last first") {
  const auto rules =
      rules_of(HpaSelect::max_change, {{HpaRateUnit::pods, 4, seconds(30)}, {HpaRateUnit::percent, 100, seconds(60)}});
  const hpa::EventLog log = {event(1, 90), event(2, 61), event(3, 60), event(4, 5)};
  const auto stored = hpa::store_event(log, 7, rules, TimePoint{});
  REQUIRE(stored.size() == 4);
  CHECK(stored[0].outdated);
  CHECK(stored[1] == ScalingEvent{7, TimePoint{}, false});
  CHECK_FALSE(stored[2].outdated);
  CHECK(hpa::store_event({event(3, 60)}, 7, rules, TimePoint{}).size() == 2);
}

TEST_CASE("to_milli: rounds, saturates, and takes NaN for missing") {
  CHECK(to_milli(1.5) == 1500);
  CHECK(to_milli(-0.0004) == 0);
  CHECK(to_milli(1e300) == kHuge);
  CHECK(to_milli(-std::numeric_limits<double>::infinity()) == kLowest);
  CHECK_FALSE(to_milli(std::nan("")).has_value());
}
