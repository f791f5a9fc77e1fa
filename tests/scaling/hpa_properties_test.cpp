// Properties of the hpa policy over random snapshots (seeds are fixed; the sample
// size is the loop bound).
#include <doctest/doctest.h>

#include <algorithm>

#include "scaling_fixtures.hpp"

using namespace tidegate;
using namespace tidegate::test;
using std::chrono::seconds;

namespace {

constexpr HpaMetricKind kKinds[] = {
    HpaMetricKind::utilization,     HpaMetricKind::resource_average, HpaMetricKind::pods,
    HpaMetricKind::object_value,    HpaMetricKind::object_average,   HpaMetricKind::external_value,
    HpaMetricKind::external_average};

int between(std::mt19937_64& random, int low, int high) {
  return low + static_cast<int>(random() % static_cast<std::uint64_t>(high - low + 1));
}

HpaOptions random_options(std::mt19937_64& random, HpaMetricKind kind) {
  HpaOptions options = options_for(kind, between(random, 20, 300));
  options.min_replicas = between(random, 1, 3);
  options.downscale_window = seconds(between(random, 0, 120));
  if (random() % 2 == 0) return options;
  HpaBehavior& behavior = options.behavior.emplace();
  behavior.up.window = seconds(between(random, 0, 60));
  behavior.down.window = seconds(between(random, 0, 120));
  if (random() % 2 == 0) behavior.up.rates = {{HpaRateUnit::pods, between(random, 1, 5), seconds(60)}};
  if (random() % 2 == 0) behavior.down.rates = {{HpaRateUnit::percent, between(random, 5, 100), seconds(60)}};
  if (random() % 4 == 0) behavior.down.select = HpaSelect::disabled;
  return options;
}

MetricReading random_reading(std::mt19937_64& random, int pods, int most) {
  std::vector<std::int64_t> usages;
  for (int i = 0; i < pods; ++i) usages.push_back(between(random, 0, most));
  MetricReading reading = readings_of(usages);
  reading.values_milli = {between(random, 0, most * pods)};
  return reading;
}

ScalingDecision decide(const HpaOptions& options, const ScalingSnapshot& snapshot, const ScalingState& state) {
  const auto policy = make_hpa_policy(options);
  REQUIRE(policy.has_value());
  return (*policy)->decide(snapshot, state);
}

}  // namespace

TEST_CASE("hpa property: where a metric failed the size never falls") {
  std::mt19937_64 random(21);
  for (int round = 0; round < 4000; ++round) {
    HpaOptions options = random_options(random, kKinds[random() % 7]);
    options.metrics.push_back(options_for(kKinds[random() % 7], 100).metrics[0]);
    const int size = between(random, options.min_replicas, 20);
    ScalingSnapshot snapshot = snapshot_of(size, random_reading(random, size, 1000));
    snapshot.readings.push_back(failed_reading());
    if (random() % 2 == 0) std::swap(snapshot.readings[0], snapshot.readings[1]);
    REQUIRE(decide(options, snapshot, seen_state()).replicas >= size);
  }
}

TEST_CASE("hpa property: hiding samples never shrinks below both the present size and the full answer") {
  // Usage up to the request (utilization) or the target (averages) is what a missing
  // pod is assumed to use at most; within that bound hiding one cannot shrink further.
  std::mt19937_64 random(22);
  int hidden_mattered = 0;
  for (int round = 0; round < 20000; ++round) {
    HpaOptions options = random_options(random, kKinds[random() % 3]);
    options.min_replicas = 1;
    const int size = between(random, 2, 12);
    const bool utilization = options.metrics[0].kind == HpaMetricKind::utilization;
    const int most = utilization ? 1000 : static_cast<int>(options.metrics[0].target);
    ScalingSnapshot snapshot = snapshot_of(size, random_reading(random, size, most));
    const auto full = decide(options, snapshot, seen_state()).replicas;
    for (PodReading& reading : snapshot.readings[0].pods) {
      if (random() % 3 == 0) reading.usage_milli.reset();
    }
    const auto partial = decide(options, snapshot, seen_state()).replicas;
    REQUIRE(partial >= std::min(size, full));
    hidden_mattered += partial != full ? 1 : 0;
  }
  CHECK(hidden_mattered > 500);
}

TEST_CASE("hpa property: more load never asks for fewer replicas") {
  std::mt19937_64 random(23);
  for (int round = 0; round < 6000; ++round) {
    const HpaOptions options = random_options(random, kKinds[random() % 7]);
    const int size = between(random, options.min_replicas, 20);
    const ScalingSnapshot snapshot = snapshot_of(size, random_reading(random, size, 1000));
    ScalingSnapshot heavier = snapshot;
    for (PodReading& reading : heavier.readings[0].pods) *reading.usage_milli += between(random, 0, 300);
    for (std::int64_t& value : heavier.readings[0].values_milli) value += between(random, 0, 3000);
    REQUIRE(decide(options, snapshot, seen_state()).replicas <= decide(options, heavier, seen_state()).replicas);
  }
}

TEST_CASE("hpa property: a decision stays inside the bounds, or where it was") {
  std::mt19937_64 random(24);
  for (int round = 0; round < 6000; ++round) {
    HpaOptions options = random_options(random, kKinds[random() % 7]);
    options.max_replicas = between(random, options.min_replicas, 15);
    const int size = between(random, 0, 30);
    const auto replicas = decide(options, snapshot_of(size, random_reading(random, size, 2000)), seen_state()).replicas;
    const bool inside = replicas >= options.min_replicas && replicas <= options.max_replicas;
    REQUIRE((inside || (replicas == size && size == 0)));
  }
}

TEST_CASE("hpa property: a constant load changes the size a bounded number of times, then never") {
  std::mt19937_64 random(25);
  for (int round = 0; round < 300; ++round) {
    const HpaOptions options = options_for(HpaMetricKind::external_average, between(random, 500, 1500));
    const auto load = between(random, 0, 60000);
    std::int32_t size = between(random, 1, 60);
    ScalingState state;
    int late_changes = 0;
    for (int tick = 0; tick < 80; ++tick) {
      auto decision = decide(options, snapshot_of(size, value_of(load), seconds(15) * tick), state);
      if (tick >= 40 && decision.replicas != size) ++late_changes;
      size = decision.replicas;
      state = std::move(decision.state);
    }
    REQUIRE(late_changes == 0);
  }
}

TEST_CASE("hpa property: saving and loading the state at any moment changes nothing") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    std::mt19937_64 random(seed);
    const HpaOptions options = random_options(random, HpaMetricKind::external_average);
    std::int32_t size = between(random, options.min_replicas, 10);
    ScalingState straight;
    ScalingState reloaded;
    for (int tick = 0; tick < 60; ++tick) {
      const TimePoint now{seconds(7) * tick};
      const auto snapshot = snapshot_of(size, value_of(between(random, 0, 4000)),
                                        std::chrono::duration_cast<Duration>(seconds(7) * tick));
      auto loaded = ScalingState::load(reloaded.save(now), now);
      REQUIRE(loaded.has_value());
      REQUIRE(*loaded == reloaded);
      const auto a = decide(options, snapshot, straight);
      const auto b = decide(options, snapshot, *loaded);
      REQUIRE(a.replicas == b.replicas);
      REQUIRE(a.state == b.state);
      REQUIRE(a.explain() == b.explain());
      straight = a.state;
      reloaded = b.state;
      size = a.replicas;
    }
  }
}
