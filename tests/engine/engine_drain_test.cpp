#include <doctest/doctest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "engine/engine_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;

TEST_CASE("engine drain: refuses new requests and fails what cannot finish in time") {
  EngineRig rig;
  Answer running, waiting, refused;
  REQUIRE(rig.engine->infer(rig.request("a"), running.callback()));
  REQUIRE(rig.engine->infer(rig.request("b"), waiting.callback()));
  const DrainReport report = rig.engine->drain(Duration::zero());
  CHECK(report.failed == 2);
  CHECK(report.stuck_batches == 1);
  CHECK(rig.engine->infer(rig.request("c"), refused.callback()).error().code() == ErrorCode::shutting_down);
  rig.settle();
  CHECK(running.has(ErrorCode::shutting_down));
  CHECK(waiting.has(ErrorCode::shutting_down));
  CHECK(running.calls + waiting.calls + refused.calls == 2);
}

TEST_CASE("engine drain: a repeated drain reports how things stand then") {
  EngineRig rig;
  Answer running;
  REQUIRE(rig.engine->infer(rig.request("a"), running.callback()));
  const DrainReport first = rig.engine->drain(Duration::zero());
  CHECK(first.failed == 1);
  CHECK(first.stuck_batches == 1);
  const DrainReport still = rig.engine->drain(Duration::zero());
  CHECK(still.failed == 0);
  CHECK(still.stuck_batches == 1);
  rig.settle();
  const DrainReport after = rig.engine->drain(std::chrono::hours(1));
  CHECK(after.finished + after.failed + after.stuck_batches == 0);
  CHECK(running.calls == 1);
}

TEST_CASE("engine drain: without a drain timeout completions still run before the engine is gone") {
  constexpr int kRequests = 3000;
  std::atomic<int> completed{0};
  {
    EngineOptions options;
    options.drain_timeout = Duration::zero();
    auto engine = *Engine::create(std::move(options));
    std::vector<Replica> set;
    set.push_back({std::make_unique<FakeRunner>(), {}});
    REQUIRE(engine.add_model("fake", std::move(set)));
    for (int i = 0; i < kRequests; ++i) {
      REQUIRE(engine.infer({"", "text " + std::to_string(i), {}}, [&](Result<Response>) { ++completed; }));
    }
  }
  CHECK(completed == kRequests);
}

TEST_CASE("engine drain: lets accepted requests finish") {
  auto engine = *Engine::create();
  std::vector<Replica> set;
  set.push_back({std::make_unique<FakeRunner>(), {}});
  REQUIRE(engine.add_model("fake", std::move(set)));
  std::vector<std::future<Result<Response>>> answers;
  for (int i = 0; i < 200; ++i) answers.push_back(engine.infer_future({"", "text " + std::to_string(i), {}}));
  const DrainReport report = engine.drain(std::chrono::minutes(1));
  CHECK(report.failed == 0);
  CHECK(report.stuck_batches == 0);
  for (auto& answer : answers) CHECK(answer.get());
  CHECK(engine.infer_future({"", "late", {}}).get().error().code() == ErrorCode::shutting_down);
}

TEST_CASE("engine drain: an idle engine drains at once and an empty one too") {
  EngineRig rig;
  const DrainReport report = rig.engine->drain(std::chrono::hours(1));
  CHECK(report.finished + report.failed + report.stuck_batches == 0);
  auto empty = *Engine::create();
  CHECK(empty.drain(std::chrono::hours(1)).failed == 0);
}

TEST_CASE("engine drain: the bound holds against a runner that hangs, and so does destruction") {
  struct Gate {
    std::mutex mutex;
    std::condition_variable changed;
    bool entered = false, open = false, left = false;
  };
  auto gate = std::make_shared<Gate>();
  std::future<Result<Response>> stuck;
  {
    EngineOptions options;
    options.drain_timeout = std::chrono::milliseconds(20);
    auto engine = *Engine::create(std::move(options));
    std::vector<Replica> set;
    set.push_back({std::make_unique<FakeRunner>(nullptr,
                                                [gate](std::span<BatchItem>) {
                                                  std::unique_lock lock(gate->mutex);
                                                  gate->entered = true;
                                                  gate->changed.notify_all();
                                                  gate->changed.wait(lock, [&] { return gate->open; });
                                                  gate->left = true;
                                                  gate->changed.notify_all();
                                                }),
                   {}});
    REQUIRE(engine.add_model("hangs", std::move(set)));
    stuck = engine.infer_future({"", "x", {}});
    std::unique_lock lock(gate->mutex);
    gate->changed.wait(lock, [&] { return gate->entered; });
  }
  CHECK(stuck.get().error().code() == ErrorCode::shutting_down);
  // The thread left behind still owns everything it touches.
  std::unique_lock lock(gate->mutex);
  CHECK_FALSE(gate->left);
  gate->open = true;
  gate->changed.notify_all();
  gate->changed.wait(lock, [&] { return gate->left; });
}

TEST_CASE("engine drain: may be called from a completion and from several threads") {
  auto engine = *Engine::create();
  std::vector<Replica> set;
  set.push_back({std::make_unique<FakeRunner>(), {}});
  REQUIRE(engine.add_model("fake", std::move(set)));
  std::promise<DrainReport> inside;
  REQUIRE(
      engine.infer({"", "x", {}}, [&](Result<Response>) { inside.set_value(engine.drain(std::chrono::minutes(1))); }));
  std::thread other([&] { engine.drain(std::chrono::minutes(1)); });
  CHECK(inside.get_future().get().failed == 0);
  other.join();
}
