// Models that share execution slots.
#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "engine/engine_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;
using namespace std::chrono_literals;

namespace {

ModelOptions in_pool(std::uint32_t slots, double weight = 1) {
  ModelOptions options;
  options.batching.max_batch_size = 1;
  options.pool = {"cores", slots, weight};
  return options;
}

struct TwoModels : EngineRig {
  std::vector<std::string> ran;  ///< model of each batch, in order

  TwoModels(std::uint32_t slots, double weight_b, std::uint32_t concurrency = 4) {
    for (const char* name : {"a", "b"}) {
      auto runner = std::make_unique<FakeRunner>(nullptr, [this, name](std::span<BatchItem> batch) {
        ran.emplace_back(name);
        clock->advance(1ms);
        FakeRunner::answer(batch);
      });
      runner->mutable_info().fingerprint[0] = static_cast<std::uint8_t>(name[0]);
      std::vector<Replica> replicas;
      replicas.push_back({std::move(runner), {.concurrency = concurrency}});
      REQUIRE(engine->add_model(name, std::move(replicas), in_pool(slots, name[0] == 'b' ? weight_b : 1)));
    }
  }
  void ask(const char* model, int requests) {
    for (int i = 0; i < requests; ++i) {
      RequestOptions options;
      options.cache = CacheMode::bypass;
      REQUIRE(engine->infer({model, std::string("t"), options}, [this](const Result<Response>& result) {
        CHECK(result);
        ++answers;
      }));
    }
  }
  int answers = 0;
};

}  // namespace

TEST_CASE("shared pool: one slot, a backlog of one model and one request of another - that one runs second") {
  TwoModels rig(1, 1);
  rig.ask("a", 6);
  rig.ask("b", 1);
  CHECK(rig.workers->size() == 1);
  rig.settle();
  CHECK(rig.ran == std::vector<std::string>{"a", "b", "a", "a", "a", "a", "a"});
  CHECK(rig.answers == 7);
}

TEST_CASE("shared pool: no more batches run at a time than the pool has slots") {
  TwoModels rig(3, 1);
  rig.ask("a", 5);
  rig.ask("b", 5);
  CHECK(rig.workers->size() == 3);
  while (rig.workers->run_one()) CHECK(rig.workers->size() <= 3);
  rig.settle();
  CHECK(rig.answers == 10);
}

TEST_CASE("shared pool: a model of double weight runs twice the batches") {
  TwoModels rig(1, 2);
  rig.ask("a", 300);
  rig.ask("b", 300);
  for (int i = 0; i < 300; ++i) rig.workers->run_one();
  const auto b = std::count(rig.ran.begin(), rig.ran.end(), "b");
  CHECK(b > 190);
  CHECK(b < 210);
  rig.settle();
  CHECK(rig.answers == 600);
}

TEST_CASE("shared pool: a request that was offered a slot and is cancelled leaves it to the other model") {
  TwoModels rig(1, 1);
  rig.ask("a", 1);
  Answer cancelled;
  RequestOptions options;
  options.cache = CacheMode::bypass;
  const auto id = rig.engine->infer({"b", std::string("t"), options}, cancelled.callback());
  REQUIRE(id);
  CHECK(rig.engine->cancel(*id));
  rig.ask("a", 2);
  rig.settle();
  CHECK(rig.ran.size() == 3);
  CHECK(cancelled.has(ErrorCode::cancelled));
}

TEST_CASE("shared pool: a model that is replaced leaves its place, and a drain empties the pool") {
  TwoModels rig(1, 1);
  rig.ask("a", 3);
  rig.ask("b", 3);
  std::vector<Replica> replicas;
  replicas.push_back({std::make_unique<FakeRunner>(), {}});
  REQUIRE(rig.engine->replace_model("a", std::move(replicas), in_pool(1)));
  rig.ask("a", 3);
  rig.settle();
  CHECK(rig.answers == 9);
  int failed = 0;
  for (const char* name : {"a", "a", "b", "b"}) {
    RequestOptions options;
    options.cache = CacheMode::bypass;
    REQUIRE(rig.engine->infer({name, std::string("t"), options},
                              [&failed](const Result<Response>& result) { failed += result ? 0 : 1; }));
  }
  CHECK(rig.engine->drain(0ns).failed == 4);
  rig.settle();  // a batch or completion on its way keeps its model until it has been run
  CHECK(failed == 4);
}

TEST_CASE("shared pool: models that disagree about the slots, or linger, are refused by name") {
  TwoModels rig(2, 1);
  const auto add = [&](const ModelOptions& options) {
    std::vector<Replica> replicas;
    replicas.push_back({std::make_unique<FakeRunner>(), {}});
    return rig.engine->add_model("c", std::move(replicas), options);
  };
  CHECK(add(in_pool(3)).error().message().find("pool.slots") != std::string::npos);
  ModelOptions lingers = in_pool(2);
  lingers.batching.max_queue_delay = 1ms;
  CHECK(add(lingers).error().message().find("max_queue_delay") != std::string::npos);
  CHECK(add(in_pool(2, 0)).error().message().find("pool.weight") != std::string::npos);
  CHECK(add(in_pool(0)).error().message().find("pool.slots") != std::string::npos);
  CHECK(add(in_pool(2)));
}

TEST_CASE("shared pool: threads of three models keep to its slots and every request is answered") {
  auto created = Engine::create({});
  REQUIRE(created);
  Engine engine = std::move(*created);
  std::atomic<int> inside{0}, most{0}, answered{0}, failed{0};
  for (const char* name : {"a", "b", "c"}) {
    auto runner = std::make_unique<FakeRunner>(nullptr, [&](std::span<BatchItem> batch) {
      const int now = ++inside;
      for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
      }
      std::this_thread::yield();
      FakeRunner::answer(batch);
      --inside;
    });
    runner->mutable_info().fingerprint[0] = static_cast<std::uint8_t>(name[0]);
    std::vector<Replica> replicas;
    replicas.push_back({std::move(runner), {.concurrency = 2}});
    REQUIRE(engine.add_model(name, std::move(replicas), in_pool(2)));
  }
  constexpr int kEach = 2000;
  std::vector<std::thread> clients;
  for (const char* name : {"a", "b", "c"}) {
    clients.emplace_back([&, name] {
      for (int i = 0; i < kEach; ++i) {
        RequestOptions options;
        options.cache = CacheMode::bypass;
        if (i % 3 == 0) {
          if (!engine.infer_and_wait({name, std::string("t"), options})) ++failed;
          ++answered;
        } else if (!engine.infer({name, std::string("t"), options}, [&](const Result<Response>& result) {
                     if (!result) ++failed;
                     ++answered;
                   })) {
          ++failed;
        }
      }
    });
  }
  for (std::thread& client : clients) client.join();
  engine.drain(60s);
  while (answered < 3 * kEach) std::this_thread::yield();  // the last callbacks may still be on their way
  CHECK(answered == 3 * kEach);
  CHECK(failed == 0);
  CHECK(most <= 2);
}
