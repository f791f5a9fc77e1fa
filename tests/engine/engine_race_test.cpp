// Equal requests that race each other and the cache, shared failures, and programs that
// call the engine from wherever it calls them.
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <barrier>
#include <random>
#include <stdexcept>
#include <thread>

#include "engine/engine_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kThreads = 100;
#else
constexpr int kThreads = 1000;
#endif

/// A FakeRunner whose first `prepare` does something of the test's.
class Interrupted final : public ModelRunner {
 public:
  explicit Interrupted(std::function<void()> interrupt) : interrupt_(std::move(interrupt)) {}
  const ModelInfo& info() const noexcept override { return inner_.info(); }
  Result<PreparedInput> prepare(Input input) override {
    if (const auto interrupt = std::exchange(interrupt_, nullptr)) interrupt();
    return inner_.prepare(std::move(input));
  }
  void run(std::span<BatchItem> batch) override {
    runs += static_cast<int>(batch.size());
    inner_.run(batch);
  }

  int runs = 0;

 private:
  FakeRunner inner_;
  std::function<void()> interrupt_;
};

}  // namespace

TEST_CASE("engine race 4.13/56: an equal request that ran between look-up and enqueueing is answered from memory") {
  EngineRig rig;
  Answer first, second;
  auto runner = std::make_unique<Interrupted>([&] {
    REQUIRE(rig.engine->infer({"raced", std::string("text"), {}}, second.callback()));
    rig.settle();
  });
  const Interrupted& raced = *runner;
  std::vector<Replica> set;
  set.push_back({std::move(runner), {}});
  REQUIRE(rig.engine->add_model("raced", std::move(set)));
  REQUIRE(rig.engine->infer({"raced", std::string("text"), {}}, first.callback()));
  CHECK(first.calls == 0);
  rig.settle();
  CHECK(raced.runs == 1);
  REQUIRE(first.answered());
  CHECK((*first.result)->source == AnswerSource::cache);
  CHECK(second.answered());
}

TEST_CASE("engine race 4.13/56: a thousand threads that ask the same thing make the model run once") {
  constexpr int kKeys = 20;
  EngineOptions options;
  options.cache.bypass = CacheBypass::never;  // a model as fast as this one is not worth caching
  auto engine = Engine::create(options);
  REQUIRE(engine);
  std::array<std::atomic<int>, kKeys> runs{};
  std::vector<Replica> set;
  for (int i = 0; i < 2; ++i) {
    set.push_back({std::make_unique<FakeRunner>(nullptr,
                                                [&](std::span<BatchItem> batch) {
                                                  for (const BatchItem& item : batch) {
                                                    const auto& text = std::get<std::string>(item.input->input);
                                                    ++runs[text.size() - 1];
                                                  }
                                                  FakeRunner::answer(batch);
                                                }),
                   {}});
  }
  REQUIRE(engine->add_model("fake", std::move(set)));
  std::barrier start(kThreads);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      start.arrive_and_wait();
      for (int key = 0; key < kKeys; ++key) {
        Request request{"", std::string(static_cast<std::size_t>(key) + 1, 'k'), {}};
        const auto answer =
            t % 2 == 0 ? engine->infer_and_wait(std::move(request)) : engine->infer_future(std::move(request)).get();
        if (!answer || answer->outputs.at(0).as<float>()[0] != static_cast<float>(key + 1)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  for (const auto& count : runs) CHECK(count == 1);
}

TEST_CASE("engine race 4.13/54: an error of the model is shared by all who joined, and the next one runs anew") {
  bool fail = true;
  EngineRig rig({}, {}, [&](std::span<BatchItem> batch) {
    FakeRunner::answer(batch);
    if (fail) batch[0].output = Error(ErrorCode::backend_failed, "not today");
  });
  Answer leader, followers[3], late;
  REQUIRE(rig.engine->infer(rig.request("x"), leader.callback()));
  for (Answer& follower : followers) REQUIRE(rig.engine->infer(rig.request("x"), follower.callback()));
  rig.settle();
  CHECK(leader.has(ErrorCode::backend_failed));
  for (const Answer& follower : followers) {
    CHECK(follower.calls == 1);
    REQUIRE(follower.has(ErrorCode::backend_failed));
    CHECK(follower.result->error().message() == "not today");
  }
  fail = false;
  REQUIRE(rig.engine->infer(rig.request("x"), late.callback()));
  rig.settle();
  REQUIRE(late.answered());
  CHECK((*late.result)->source == AnswerSource::model);
}

TEST_CASE("engine race 4.13/59: an item that fails by itself leaves its neighbours their answers") {
  EngineRig rig({}, {}, [](std::span<BatchItem> batch) {
    FakeRunner::answer(batch);
    for (BatchItem& item : batch) {
      if (std::get<std::string>(item.input->input) == "bad") item.output = Error(ErrorCode::backend_failed, "bad");
    }
  });
  Answer first, good, bad, fine;
  REQUIRE(rig.engine->infer(rig.request("first"), first.callback()));
  REQUIRE(rig.engine->infer(rig.request("good"), good.callback()));
  REQUIRE(rig.engine->infer(rig.request("bad"), bad.callback()));
  REQUIRE(rig.engine->infer(rig.request("fine"), fine.callback()));
  rig.settle();
  CHECK(good.answered());
  CHECK(bad.has(ErrorCode::backend_failed));
  CHECK(fine.answered());
  CHECK(rig.log->batches.size() == 2);
}

TEST_CASE("engine race 4.13/62: an input whose size cannot be taken is refused, and nobody else notices") {
  EngineRig rig;
  auto runner = std::make_unique<Interrupted>([] { throw std::runtime_error("no size"); });
  std::vector<Replica> set;
  set.push_back({std::move(runner), {}});
  REQUIRE(rig.engine->add_model("sized", std::move(set)));
  Answer refused, next;
  const auto answer = rig.engine->infer({"sized", std::string("x"), {}}, refused.callback());
  REQUIRE_FALSE(answer);
  CHECK(answer.error().code() == ErrorCode::backend_failed);
  CHECK(refused.calls == 0);
  CHECK(rig.engine->metrics().value("tidegate_requests_in_flight") == 0);
  REQUIRE(rig.engine->infer({"sized", std::string("x"), {}}, next.callback()));
  rig.settle();
  CHECK(next.answered());
}

TEST_CASE("engine race 4.13/18: a completion may call every function of the engine") {
  auto engine = Engine::create();
  REQUIRE(engine);
  std::vector<Replica> set;
  set.push_back({std::make_unique<FakeRunner>(), {}});
  REQUIRE(engine->add_model("fake", std::move(set)));
  std::promise<int> done;
  std::atomic<int> left{20};
  std::function<void(int)> next = [&](int depth) {
    const auto accepted = engine->infer({"", "text " + std::to_string(depth), {}}, [&](Result<Response> result) {
      const int now = --left;
      if (!result || now == 0) return done.set_value(now);
      static_cast<void>(engine->metrics());
      static_cast<void>(engine->cache_stats());
      static_cast<void>(engine->explain());
      static_cast<void>(engine->latency_profile());
      static_cast<void>(engine->model_info());
      static_cast<void>(engine->announce());
      static_cast<void>(engine->try_cached({"", std::string("text 20"), {}}));
      const auto other = engine->infer({"", std::string("cancelled"), {.cache = CacheMode::bypass}}, [](auto) {});
      if (other) engine->cancel(*other);
      next(now);
    });
    if (!accepted) done.set_value(-1);
  };
  next(left);
  CHECK(done.get_future().get() == 0);
  engine->drain(std::chrono::seconds(5));
}

TEST_CASE("engine race 4.13/5: answers belong to their inputs however a batch is merged, joined and split again") {
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    CAPTURE(round);
    const std::size_t most = 1 + random() % 8;  // what the model's memory holds
    EngineRig rig({.batching = {.max_batch_size = 32}}, {.memory = {.capacity_bytes = 0}},
                  [&](std::span<BatchItem> batch) {
                    if (batch.size() > most) throw std::bad_alloc();
                    FakeRunner::answer(batch);
                  });
    std::vector<std::string> texts;
    std::vector<std::unique_ptr<Answer>> answers;
    for (int i = 0; i < 40; ++i) {
      texts.push_back(std::string(1 + random() % 20, static_cast<char>('a' + random() % 3)));
      answers.push_back(std::make_unique<Answer>());
      REQUIRE(rig.engine->infer(rig.request(texts.back()), answers.back()->callback()));
    }
    rig.settle();
    for (std::size_t i = 0; i < texts.size(); ++i) {
      REQUIRE(answers[i]->answered());
      CHECK(answers[i]->calls == 1);
      const auto values = (*answers[i]->result)->outputs.at(0).as<float>();
      CHECK(values[0] == static_cast<float>(texts[i].size()));
      CHECK(values[1] == static_cast<float>(texts[i][0]));
    }
  }
}

TEST_CASE("engine race 4.13/71: two engines of a process know nothing of each other") {
  EngineRig one, two;
  Answer mine, theirs;
  REQUIRE(one.engine->infer(one.request("x"), mine.callback()));
  REQUIRE(two.engine->infer(two.request("x"), theirs.callback()));
  one.settle();
  CHECK(mine.answered());
  CHECK(theirs.calls == 0);
  one.engine.reset();
  two.settle();
  REQUIRE(theirs.answered());
  CHECK((*theirs.result)->source == AnswerSource::model);
}
