// The queue and a scaling policy together in virtual time.
#include <doctest/doctest.h>

#include <random>

#include "tidegate/simulator.hpp"

using namespace tidegate;
using namespace std::chrono_literals;

namespace {

/// So many requests a second from `from` to `to`, with random gaps and lengths of 5 to 15 tokens.
void add_arrivals(std::vector<QueueArrival>& trace, double per_second, Duration from, Duration to) {
  std::mt19937 random(static_cast<std::uint32_t>(trace.size() + 1));
  std::exponential_distribution<double> gap(per_second / 1e9);
  for (double at = static_cast<double>(from.count()); at < static_cast<double>(to.count()); at += gap(random)) {
    QueueArrival arrival;
    arrival.at = Duration(static_cast<std::int64_t>(at));
    arrival.tokens = 5 + random() % 11;
    trace.push_back(arrival);
  }
}

/// A minute of 30/s, ten of 400/s, twenty of 30/s again.
std::vector<QueueArrival> step_trace() {
  std::vector<QueueArrival> trace;
  add_arrivals(trace, 30, 0s, 60s);
  add_arrivals(trace, 400, 60s, 660s);
  add_arrivals(trace, 30, 660s, 1860s);
  return trace;
}

QueueReplayOptions replay_options() {
  QueueReplayOptions options;
  options.batching.max_batch_size = 8;
  options.service.base_ns = 2e6;       // 2 ms a batch
  options.service.per_token_ns = 1e6;  // and 10 ms an item of ten tokens
  options.service.tail95 = 1.2;
  options.service.tail99 = 1.4;
  options.seed = 3;
  options.slo = 100ms;
  return options;
}

std::shared_ptr<const ScalingPolicy> policy() {
  auto made = make_service_time_policy({});
  REQUIRE(made);
  return *std::move(made);
}

}  // namespace

TEST_CASE("replicas follow a step of the load and leave after the window") {
  const std::vector<QueueArrival> trace = step_trace();
  QueueReplayOptions options = replay_options();
  options.scaling = policy();
  const auto scaled = replay_queue(trace, options);
  REQUIRE(scaled);
  CHECK(scaled->answered == trace.size());
  // 400 items of about 10.5 ms, by 0.7: six replicas, and no more than twice that for what waited meanwhile.
  CHECK(scaled->most_replicas >= 6);
  CHECK(scaled->most_replicas <= 16);
  REQUIRE_FALSE(scaled->changes.empty());
  std::int32_t after_step = 0;
  for (const ReplicaChange& change : scaled->changes) {
    if (change.at <= 60s) CHECK(change.to <= 2);
    if (change.at <= 75s) after_step = change.to;
  }
  CHECK(after_step >= 6);
  CHECK(scaled->changes.back().to <= 2);
  CHECK(scaled->changes.back().at < 1300s);
  for (const ReplicaChange& change : scaled->changes) CHECK(change.why.find("lane trace") != std::string::npos);
  const double share = static_cast<double>(scaled->within_slo) / static_cast<double>(trace.size());
  CHECK(share > 0.95);

  // One replica drowns; as many all the time cost more.
  options.scaling = nullptr;
  const auto alone = replay_queue(trace, options);
  REQUIRE(alone);
  CHECK(static_cast<double>(alone->within_slo) < 0.5 * static_cast<double>(trace.size()));
  CHECK(alone->replica_seconds == doctest::Approx(std::chrono::duration<double>(alone->span).count()));
  const double most = std::chrono::duration<double>(scaled->span).count() * scaled->most_replicas;
  CHECK(scaled->replica_seconds < 0.7 * most);
}

TEST_CASE("replicas that take half a minute to start are asked for at once and used when ready") {
  const std::vector<QueueArrival> trace = step_trace();
  QueueReplayOptions options = replay_options();
  options.scaling = policy();
  const auto quick = replay_queue(trace, options);
  options.replica_start = 30s;
  const auto slow = replay_queue(trace, options);
  REQUIRE((quick && slow));
  CHECK(slow->within_slo < quick->within_slo);
  CHECK(slow->answered == trace.size());
  CHECK(slow->most_replicas >= quick->most_replicas);
}

TEST_CASE("a scaled replay is the same each time, and a fixed size is one change") {
  const std::vector<QueueArrival> trace = step_trace();
  QueueReplayOptions options = replay_options();
  options.scaling = policy();
  const auto first = replay_queue(trace, options);
  const auto second = replay_queue(trace, options);
  REQUIRE((first && second));
  CHECK(first->replica_seconds == second->replica_seconds);
  CHECK(first->within_slo == second->within_slo);
  CHECK(first->changes.size() == second->changes.size());

  auto fixed = make_fixed_policy(8);
  REQUIRE(fixed);
  options.scaling = *std::move(fixed);
  const auto held = replay_queue(trace, options);
  REQUIRE(held);
  CHECK(held->changes.size() == 1);
  CHECK(held->most_replicas == 8);
}

TEST_CASE("a policy that wants no replica at all leaves one") {
  std::vector<QueueArrival> trace;
  add_arrivals(trace, 10, 0s, 60s);
  QueueReplayOptions options = replay_options();
  auto none = make_fixed_policy(0);
  REQUIRE(none);
  options.scaling = *std::move(none);
  const auto replay = replay_queue(trace, options);
  REQUIRE(replay);
  CHECK(replay->answered == trace.size());
  CHECK(replay->changes.empty());
}

TEST_CASE("a replay's scaling options are checked") {
  QueueReplayOptions options = replay_options();
  options.scaling_interval = 0s;
  CHECK(replay_queue({}, options).error().message().find("scaling_interval") != std::string::npos);
  options = replay_options();
  options.replica_start = -1s;
  CHECK(replay_queue({}, options).error().message().find("replica_start") != std::string::npos);
  options = replay_options();
  options.slo = -1s;
  CHECK(replay_queue({}, options).error().message().find("slo") != std::string::npos);
}
