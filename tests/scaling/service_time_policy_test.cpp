#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "scaling/staffing.hpp"
#include "scaling_fixtures.hpp"

using namespace tidegate;
using namespace tidegate::test;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr double kMilli = 1e6;

/// 2 ms a batch and 1 ms an item of ten tokens.
LaneLoad lane_at(double items_per_s) {
  LaneLoad lane;
  lane.model = "m";
  lane.service.source = LatencySource::learned;
  lane.service.samples = 200;
  lane.service.base_ns = 2 * kMilli;
  lane.service.per_token_ns = 0.1 * kMilli;
  lane.service.tail95 = 1.2;
  lane.service.tail99 = 1.5;
  lane.observed = seconds(600);
  lane.arrivals_10s = lane.arrivals_60s = {items_per_s, items_per_s * 10, items_per_s * 100};
  lane.slots = 2;
  lane.max_batch_size = 16;
  return lane;
}

ScalingSnapshot at_size(std::int32_t replicas, LaneLoad lane, Duration at = Duration{0}) {
  ScalingSnapshot snapshot;
  snapshot.now = TimePoint{at};
  snapshot.spec_replicas = snapshot.status_replicas = replicas;
  snapshot.lanes.push_back(std::move(lane));
  return snapshot;
}

std::unique_ptr<ScalingPolicy> policy_of(ServiceTimeOptions options = {}) {
  auto policy = make_service_time_policy(options);
  REQUIRE(policy);
  return *std::move(policy);
}

/// The size asked for where neither windows nor rates hold it back.
std::int32_t size_for(const LaneLoad& lane, ServiceTimeOptions options = {}) {
  options.behavior.up.rates = {{HpaRateUnit::pods, 100'000, seconds(15)}};
  options.max_replicas = 10'000;
  return policy_of(options)->decide(at_size(1, lane), seen_state()).replicas;
}

}  // namespace

TEST_CASE("staffing by the textbook: shares that wait by Erlang C") {
  const auto check = [](std::uint32_t servers, double load, double expected) {
    CHECK(staffing::share_that_waits(servers, load) == doctest::Approx(expected).epsilon(1e-5));
  };
  check(1, 0.5, 0.5);
  check(2, 1, 1.0 / 3);
  check(2, 1.6, 0.711111);
  check(4, 3, 0.509434);
  check(10, 8, 0.409180);
  check(20, 18, 0.550769);
  check(100, 90, 0.216940);
  CHECK(staffing::share_that_waits(3, 3) == 1);
  const double huge = staffing::share_that_waits(10'000, 9'900);
  CHECK((huge > 0 && huge < 1));
}

TEST_CASE("the service-time policy keeps the slots' utilization below its target") {
  // A full batch of 16 takes 18 ms, so an item 1.125 ms of a slot.
  ServiceTimeOptions options;
  options.target_utilization = 0.7;
  for (const double rate : {10.0, 500.0, 1000.0, 5000.0, 50'000.0}) {
    const double busy = rate * 1.125e-3;
    CHECK(size_for(lane_at(rate), options) == std::max(1, static_cast<int>(std::ceil(busy / 0.7))));
  }
  LaneLoad pairs = lane_at(5000);
  pairs.slots_per_replica = 2;
  CHECK(size_for(pairs, options) == 5);  // of 8.04 slots
}

TEST_CASE("an SLO makes batches smaller and asks for more replicas until wait and tail fit it") {
  // Half of 14 ms: 1.2 * (2 + b) ms <= 7 ms holds for 3 items, 5 ms of a slot, 1.667 ms an item.
  LaneLoad lane = lane_at(5000);
  lane.slo = milliseconds(14);
  const staffing::Demand demand = staffing::demand_of(lane, {});
  CHECK(demand.batch == 3);
  CHECK(demand.batch_ns == doctest::Approx(5 * kMilli));
  CHECK(demand.load == doctest::Approx(5000 * 5e-3 / 3));
  CHECK(demand.token_ns() == doctest::Approx(5 * kMilli / 30));
  const std::int32_t size = size_for(lane);
  CHECK(size == 12);
  staffing::Traffic traffic;
  traffic.add(demand);
  CHECK(traffic.wait_ns(static_cast<std::uint32_t>(size), TailQuantile::p95) + demand.batch_tail_ns <= 14 * kMilli);

  // At little load it is the wait that asks for the second replica, not the utilization.
  LaneLoad little = lane_at(120);
  little.slo = milliseconds(8);
  CHECK(size_for(lane_at(120)) == 1);
  CHECK(size_for(little) == 2);
}

TEST_CASE("an SLO below the time of one item is left out, and the decision says so") {
  LaneLoad lane = lane_at(1000);
  lane.slo = milliseconds(2);
  const ScalingDecision decision = policy_of()->decide(at_size(4, lane), seen_state());
  CHECK(decision.replicas == 5);  // batches of one: 3 ms an item, and the rate of growth does not matter
  CHECK(decision.explain().find("one item alone takes longer") != std::string::npos);
}

TEST_CASE("more load, longer tails, a backlog or a tighter SLO never ask for fewer replicas") {
  std::int32_t before = 0;
  for (double rate = 1; rate < 100'000; rate *= 1.3) {
    LaneLoad lane = lane_at(rate);
    lane.slo = milliseconds(40);
    const std::int32_t size = size_for(lane);
    CHECK(size >= before);
    before = size;
    LaneLoad slow = lane;
    slow.service.tail95 = 2;
    CHECK(size_for(slow) >= size);
    LaneLoad behind = lane;
    behind.queued_items = 1000;
    behind.queued_tokens = 10'000;
    CHECK(size_for(behind) >= size);
    LaneLoad strict = lane;
    strict.slo = milliseconds(20);
    CHECK(size_for(strict) >= size);
  }
}

TEST_CASE("lanes of one pool add up, lanes of their own need the largest") {
  LaneLoad first = lane_at(4000);
  LaneLoad second = lane_at(2000);
  second.model = "n";
  ServiceTimeOptions options;
  options.behavior.up.rates = {{HpaRateUnit::pods, 1000, seconds(15)}};
  options.max_replicas = 100;
  const auto policy = policy_of(options);
  ScalingSnapshot snapshot = at_size(1, first);
  snapshot.lanes.push_back(second);
  CHECK(policy->decide(snapshot, seen_state()).replicas == 7);
  for (LaneLoad& lane : snapshot.lanes) lane.pool = "shared";
  CHECK(policy->decide(snapshot, seen_state()).replicas == 10);
}

TEST_CASE("what is not known never shrinks the replicas, and every gap is named") {
  const auto policy = policy_of();
  const auto stays = [&](LaneLoad lane, const char* gap) {
    const ScalingDecision decision = policy->decide(at_size(8, std::move(lane)), seen_state());
    CHECK(decision.replicas == 8);
    CHECK(reason_of(decision, ScalingConditionType::scaling_active) == "MissingServiceTimes");
    CHECK(decision.explain().find(gap) != std::string::npos);
  };
  LaneLoad lane = lane_at(1);
  lane.service.source = LatencySource::none;
  stays(lane, "batch times");
  lane = lane_at(1);
  lane.service.samples = 31;
  stays(lane, "only 31");
  lane = lane_at(1);
  lane.observed = Duration{0};
  stays(lane, "arrivals");
  lane = lane_at(std::numeric_limits<double>::quiet_NaN());
  stays(lane, "not a number");
  ScalingSnapshot empty = at_size(8, lane_at(1));
  empty.lanes.clear();
  CHECK(policy->decide(empty, seen_state()).replicas == 8);

  // One lane that is known may ask for more, beside another that is not.
  ScalingSnapshot both = at_size(8, lane);
  both.lanes.push_back(lane_at(8000));
  CHECK(policy->decide(both, seen_state()).replicas > 8);
}

TEST_CASE("a shrink waits for the window, growth does not, and both say why") {
  const auto policy = policy_of();
  ScalingDecision decision = policy->decide(at_size(2, lane_at(2000)), {});
  CHECK(decision.replicas == 4);
  CHECK(decision.explain().find("0.1125 ms a token") != std::string::npos);
  CHECK(reason_of(decision, ScalingConditionType::able_to_scale) == "SucceededRescale");
  decision = policy->decide(at_size(4, lane_at(10), seconds(100)), std::move(decision.state));
  CHECK(decision.replicas == 4);
  CHECK(reason_of(decision, ScalingConditionType::able_to_scale) == "ScaleDownStabilized");
  decision = policy->decide(at_size(4, lane_at(10), seconds(301)), std::move(decision.state));
  CHECK(decision.replicas == 1);
}

TEST_CASE("a saved state holds a shrink back as the one it was saved from") {
  const auto policy = policy_of();
  ScalingDecision first = policy->decide(at_size(2, lane_at(2000), seconds(1000)), {});
  const auto loaded = ScalingState::load(first.state.save(TimePoint{seconds(1010)}), TimePoint{seconds(5010)});
  REQUIRE(loaded);
  for (const int later : {100, 280, 295, 320}) {
    const auto kept = policy->decide(at_size(4, lane_at(10), seconds(1000 + later)), first.state);
    const auto restored = policy->decide(at_size(4, lane_at(10), seconds(5000 + later)), *loaded);
    CHECK(kept.replicas == restored.replicas);
    CHECK(kept.replicas == (later < 300 ? 4 : 1));
  }
}

TEST_CASE("under 10 % of noise the size shrinks at most once in each stabilization window") {
  const auto policy = policy_of();
  std::mt19937 random(7);
  std::normal_distribution<double> noise(1, 0.1);
  ScalingState state;
  std::int32_t size = 1;
  int ups = 0;
  int downs = 0;
  for (int tick = 0; tick < 2000; ++tick) {
    LaneLoad lane = lane_at(3000 * std::max(0.0, noise(random)));
    lane.arrivals_60s = lane_at(3000 * (1 + (noise(random) - 1) / 3)).arrivals_60s;
    ScalingDecision decision = policy->decide(at_size(size, lane, seconds(2 * tick)), std::move(state));
    if (decision.replicas > size) ++ups;
    if (decision.replicas < size) ++downs;
    size = decision.replicas;
    state = std::move(decision.state);
  }
  // 4.82 replicas on average; the window keeps the largest wish of five minutes, and there are 13 windows.
  CHECK((size >= 5 && size <= 7));
  CHECK(downs <= 13);
  CHECK(ups <= downs + 6);
}

TEST_CASE("bounds hold, and wrong options are refused by name") {
  ServiceTimeOptions options;
  options.max_replicas = 3;
  CHECK(policy_of(options)->decide(at_size(2, lane_at(100'000)), seen_state()).replicas == 3);
  CHECK(policy_of(options)->decide(at_size(9, lane_at(1)), seen_state()).replicas == 3);
  const auto refused = [](auto change, const char* name) {
    ServiceTimeOptions wrong;
    change(wrong);
    const auto policy = make_service_time_policy(wrong);
    REQUIRE_FALSE(policy);
    CHECK(policy.error().code() == ErrorCode::invalid_argument);
    CHECK(policy.error().message().find(name) != std::string::npos);
  };
  refused([](auto& o) { o.min_replicas = 0; }, "min_replicas");
  refused([](auto& o) { o.max_replicas = 0; }, "max_replicas");
  refused([](auto& o) { o.max_replicas = 10'001; }, "max_replicas");
  refused([](auto& o) { o.target_utilization = 1; }, "target_utilization");
  refused([](auto& o) { o.target_utilization = std::numeric_limits<double>::quiet_NaN(); }, "target_utilization");
  refused([](auto& o) { o.slo = Duration{-1}; }, "slo");
  refused([](auto& o) { o.backlog_time = Duration{0}; }, "backlog_time");
  refused([](auto& o) { o.behavior.down.window = seconds(4000); }, "behavior.down.window");
}
