// What the engine tells a scaling policy of a model's load.
#include <doctest/doctest.h>

#include "engine/engine_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;
using namespace std::chrono_literals;

namespace {

/// 10 ms a batch, on the rig's clock.
struct BusyRig {
  std::shared_ptr<ManualClock> clock;
  EngineRig rig;

  explicit BusyRig(const ModelOptions& model, std::uint32_t replicas)
      : rig(
            model, no_cache(),
            [this](std::span<BatchItem> batch) {
              clock->advance(10ms);
              FakeRunner::answer(batch);
            },
            replicas) {
    clock = rig.clock;
  }
  static CacheOptions no_cache() {
    CacheOptions cache;
    cache.memory.capacity_bytes = 0;
    return cache;
  }
  /// One text of ten bytes each `pause`, each answered before the next.
  void serve(int requests, Duration pause) {
    for (int i = 0; i < requests; ++i) {
      RequestOptions options;
      options.cache = CacheMode::bypass;
      REQUIRE(rig.engine->infer(rig.request(std::string(10, 'a'), options), [](const Result<Response>&) {}));
      rig.settle();
      clock->advance(pause - 10ms);
    }
  }
};

}  // namespace

TEST_CASE("a model's snapshot holds its replicas, service times, arrivals and SLO") {
  ModelOptions model;
  model.slo = 30ms;
  model.batching.max_batch_size = 8;
  BusyRig busy(model, 2);
  busy.serve(200, 100ms);
  const auto snapshot = busy.rig.engine->scaling_snapshot("fake");
  REQUIRE(snapshot);
  CHECK(snapshot->spec_replicas == 2);
  REQUIRE(snapshot->lanes.size() == 1);
  const LaneLoad& lane = snapshot->lanes.front();
  CHECK(lane.model == "fake");
  CHECK(lane.slots == 2);
  CHECK(lane.slots_per_replica == 1);
  CHECK(lane.slo == 30ms);
  CHECK(lane.max_batch_size == 8);
  CHECK(lane.arrivals_10s.items == doctest::Approx(10).epsilon(0.05));
  CHECK(lane.arrivals_10s.tokens == doctest::Approx(100).epsilon(0.05));
  CHECK(lane.utilization_10s == doctest::Approx(0.05).epsilon(0.1));
  CHECK(lane.service.source == LatencySource::learned);
  CHECK(lane.service.predict(1, 10, 100).mean > 9ms);
  CHECK(busy.rig.engine->scaling_snapshot("other").error().code() == ErrorCode::not_found);
}

TEST_CASE("a policy decides by the snapshot of a running model") {
  ModelOptions model;
  model.batching.max_batch_size = 1;
  BusyRig busy(model, 1);
  ServiceTimeOptions options;
  options.target_utilization = 0.5;
  const auto policy = make_service_time_policy(options);
  REQUIRE(policy);
  // Before the first request nothing is known, and the size stays.
  CHECK((*policy)->decide(*busy.rig.engine->scaling_snapshot(), {}).replicas == 1);
  // 80 a second of 10 ms each: 0.8 of a slot, so two replicas at half of their time.
  busy.serve(2000, 12500us);
  const ScalingDecision decision = (*policy)->decide(*busy.rig.engine->scaling_snapshot(), {});
  CHECK(decision.replicas == 2);
  CHECK(decision.explain().find("lane fake") != std::string::npos);
}
