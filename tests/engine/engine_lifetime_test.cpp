// Things that go away while an engine works: replicas, and the engine itself.
#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <thread>

#include "engine/stream_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;
using namespace std::chrono_literals;

namespace {

/// Holds every batch until it is opened, and says how many are inside.
class Hold {
 public:
  void pass() {
    ++inside_;
    inside_.notify_all();
    opened_.wait(false);
  }
  void await(int count) {
    for (int seen = inside_.load(); seen < count; seen = inside_.load()) inside_.wait(seen);
  }
  void open() {
    opened_ = true;
    opened_.notify_all();
  }

 private:
  std::atomic<int> inside_{0};
  std::atomic<bool> opened_{false};
};

std::vector<Replica> replicas_of(std::uint32_t count, std::function<void(std::span<BatchItem>)> on_run,
                                 std::uint8_t version, std::shared_ptr<std::atomic<int>> alive = {}) {
  std::vector<Replica> set;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (alive) ++*alive;
    const std::shared_ptr<void> life(nullptr, [alive](void*) {
      if (alive) --*alive;
    });
    auto runner =
        std::make_unique<FakeRunner>(std::make_shared<FakeRunner::Log>(), [on_run, life](std::span<BatchItem> batch) {
          if (on_run) on_run(batch);
          FakeRunner::answer(batch);
        });
    runner->mutable_info().fingerprint[0] = version;
    runner->mutable_info().preparation[0] = 1;
    set.push_back({std::move(runner), {}});
  }
  return set;
}

std::vector<std::future<Result<Response>>> ask(Engine& engine, int count, const std::string& prefix) {
  std::vector<std::future<Result<Response>>> asked;
  for (int i = 0; i < count; ++i) asked.push_back(engine.infer_future({"m", prefix + std::to_string(i), {}}));
  return asked;
}

}  // namespace

TEST_CASE("engine queue 4.13/65: a replica that is taken away while it runs loses nothing, and is gone afterwards") {
  // Replicas are taken from a model by replacing it with fewer of the same.
  const auto alive = std::make_shared<std::atomic<int>>(0);
  Hold hold;
  auto engine = *Engine::create();
  ModelOptions options;
  options.batching.max_batch_size = 1;
  REQUIRE(engine.add_model("m",
                           replicas_of(
                               2, [&](auto) { hold.pass(); }, 1, alive),
                           options));
  auto running = ask(engine, 2, "running ");
  hold.await(2);
  auto waiting = ask(engine, 6, "waiting ");
  REQUIRE(engine.replace_model("m", replicas_of(1, {}, 1), options));
  // Those that wait are answered by the one that is left, though both others are inside their batches.
  for (auto& one : waiting) CHECK(one.get());
  CHECK(running[0].wait_for(0s) == std::future_status::timeout);
  CHECK(alive->load() == 2);
  hold.open();
  for (auto& one : running) CHECK(one.get());
  // Destroyed once they have nothing left to do.
  while (alive->load() > 0) std::this_thread::yield();
  for (auto& one : ask(engine, 3, "later ")) CHECK(one.get());
  CHECK(engine.metrics().value("tidegate_requests_in_flight", {{"model", "m"}}) == 0);
}

TEST_CASE("engine queue 4.13/65: replicas taken away and given again under load lose no request") {
  auto engine = *Engine::create();
  ModelOptions options;
  options.batching.max_batch_size = 2;
  REQUIRE(engine.add_model("m", replicas_of(2, {}, 1), options));
  std::atomic<bool> stop{false};
  std::atomic<int> answered{0};
  std::atomic<int> failed{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 2; ++t) {
    callers.emplace_back([&, t] {
      for (int i = 0; !stop.load(); ++i) {
        const auto answer = engine.infer_and_wait({"m", std::to_string(t) + " " + std::to_string(i), {}});
        ++(answer ? answered : failed);
      }
    });
  }
  for (std::uint32_t round = 0; round < 12; ++round) {
    const int before = answered.load();
    REQUIRE(engine.replace_model("m", replicas_of(1 + round % 3, {}, 1), options));
    while (answered.load() < before + 20 && failed.load() == 0) std::this_thread::yield();
  }
  stop = true;
  for (std::thread& caller : callers) caller.join();
  CHECK(failed.load() == 0);
}

TEST_CASE("engine queue 4.13/69: an engine may go before what it has handed out") {
  // Futures, announcements, streams and ids of requests that are queued, running and done.
  std::vector<std::future<Result<Response>>> futures;
  Announcement announced;
  std::optional<Stream> stream;
  const auto alive = std::make_shared<std::atomic<int>>(0);
  Hold hold;
  {
    EngineOptions engine_options;
    engine_options.drain_timeout = 0s;
    auto engine = *Engine::create(engine_options);
    ModelOptions options;
    options.batching.max_batch_size = 1;
    options.batching.max_queue_delay = 1ms;
    options.batching.linger = Linger::announced;
    REQUIRE(engine.add_model("m",
                             replicas_of(
                                 1,
                                 [&](std::span<BatchItem> batch) {
                                   if (std::get<std::string>(batch[0].input->input) == "held 0") hold.pass();
                                 },
                                 1, alive),
                             options));
    std::vector<Replica> steps;
    steps.push_back({std::make_unique<StepRunner>(), {}});
    REQUIRE(engine.add_model("step", std::move(steps)));
    futures = ask(engine, 1, "done ");
    futures[0].wait();
    for (auto& one : ask(engine, 1, "held ")) futures.push_back(std::move(one));
    hold.await(1);
    for (auto& one : ask(engine, 3, "queued ")) futures.push_back(std::move(one));
    announced = *engine.announce("m");
    stream.emplace(*engine.stream({"step", std::string("a 100"), {}}, {.buffer_chunks = 2}));
    REQUIRE(stream->wait_ready(1h));
    std::thread opener([&] {
      // The batch ends while the engine goes, so that both orders are met over the runs.
      hold.open();
    });
    opener.join();
  }
  CHECK(futures[0].get());
  for (std::size_t i = 1; i < futures.size(); ++i) {
    const auto end = futures[i].get();
    CHECK((end || end.error().code() == ErrorCode::shutting_down));
  }
  Taken taken;
  taken.take_from(*stream);
  CHECK(taken.ended_with(ErrorCode::shutting_down));
  CHECK(taken.chunks >= 1);
  stream->cancel();
  CHECK_FALSE(stream->try_next());
  announced.reset();
  stream.reset();
  // The thread of the batch may still come out of it.
  while (alive->load() > 0) std::this_thread::yield();
}

TEST_CASE("engine queue 4.13/69: an engine with a stuck model goes within its bound, and the model outlives it") {
  const auto alive = std::make_shared<std::atomic<int>>(0);
  Hold hold;
  std::vector<std::future<Result<Response>>> futures;
  {
    EngineOptions engine_options;
    engine_options.drain_timeout = 1ms;
    auto engine = *Engine::create(engine_options);
    ModelOptions options;
    options.batching.max_batch_size = 1;
    REQUIRE(engine.add_model("m",
                             replicas_of(
                                 1, [&](auto) { hold.pass(); }, 1, alive),
                             options));
    futures = ask(engine, 4, "x ");
    hold.await(1);
  }
  for (auto& one : futures) CHECK(one.get().error().code() == ErrorCode::shutting_down);
  CHECK(alive->load() == 1);
  hold.open();
  while (alive->load() > 0) std::this_thread::yield();
}

TEST_CASE("engine facts: an engine that goes answers what is pending first, the last of it too") {
  Hold hold;
  std::vector<std::future<Result<Response>>> futures;
  std::thread opener;
  {
    EngineOptions engine_options;
    engine_options.drain_timeout = 1h;
    auto engine = *Engine::create(engine_options);
    ModelOptions options;
    options.batching.max_batch_size = 1;
    REQUIRE(engine.add_model("m",
                             replicas_of(
                                 1, [&](auto) { hold.pass(); }, 1),
                             options));
    futures = ask(engine, 3, "pending ");
    hold.await(1);
    opener = std::thread([&] { hold.open(); });
  }
  for (auto& one : futures) {
    REQUIRE(one.wait_for(0s) == std::future_status::ready);
    CHECK(one.get());
  }
  opener.join();
}
