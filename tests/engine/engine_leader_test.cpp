// Callers that wait for their answers and run batches themselves.
#include <doctest/doctest.h>

#include <atomic>
#include <stdexcept>
#include <thread>

#include "engine/engine_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;

TEST_CASE("engine leader: a caller that waits runs its batch on its own thread, and no executor is asked") {
  std::thread::id ran_on;
  EngineRig rig({}, {}, [&](std::span<BatchItem> batch) {
    ran_on = std::this_thread::get_id();
    FakeRunner::answer(batch);
  });
  const auto answer = rig.engine->infer_and_wait(rig.request("text"));
  REQUIRE(answer);
  CHECK(answer->outputs.at(0).as<float>()[0] == 4);
  CHECK(answer->source == AnswerSource::model);
  CHECK(answer->timing.batch_size == 1);
  CHECK(answer->timing.replica == 0);
  CHECK(ran_on == std::this_thread::get_id());
  CHECK(rig.workers->size() == 0);
  CHECK(rig.completions->size() == 0);
  CHECK(rig.engine->metrics().value("tidegate_requests_total") == 1);
  CHECK(rig.engine->metrics().value("tidegate_requests_in_flight") == 0);
  CHECK(rig.engine->metrics().value("tidegate_running_batches") == 0);
}

TEST_CASE("engine leader: who comes while it computes joins it or gets the next batch, which a worker runs") {
  EngineRig* all = nullptr;
  Answer equal, other;
  int runs = 0;
  EngineRig rig({}, {}, [&](std::span<BatchItem> batch) {
    if (++runs == 1) {
      REQUIRE(all->engine->infer(all->request("text"), equal.callback()));
      REQUIRE(all->engine->infer(all->request("other"), other.callback()));
      CHECK(all->workers->size() == 0);
    }
    FakeRunner::answer(batch);
  });
  all = &rig;
  REQUIRE(rig.engine->infer_and_wait(rig.request("text")));
  CHECK(equal.calls == 0);  // told by the executor, not by the leader
  CHECK(rig.workers->size() == 1);
  rig.settle();
  REQUIRE(equal.answered());
  CHECK((*equal.result)->source == AnswerSource::joined);
  REQUIRE(other.answered());
  CHECK(runs == 2);
}

TEST_CASE("engine leader: refusals, memory, failures and deadlines are answers as everywhere") {
  bool fail = false;
  EngineRig rig({.batching = {.max_batch_tokens = 16}}, {}, [&](std::span<BatchItem> batch) {
    if (fail) throw std::runtime_error("no");
    FakeRunner::answer(batch);
  });
  const auto error = [&](std::string text, Deadline deadline = kNoDeadline) {
    const auto answer = rig.engine->infer_and_wait(rig.request(std::move(text), {.deadline = deadline}));
    return answer ? std::optional<ErrorCode>() : answer.error().code();
  };
  CHECK(error("longer than sixteen") == ErrorCode::too_large);
  CHECK(error("fine") == std::nullopt);
  fail = true;
  CHECK(error("fails") == ErrorCode::backend_failed);
  fail = false;
  rig.engine->drain(Duration::zero());
  CHECK(error("closed") == ErrorCode::shutting_down);
  const auto unknown = rig.engine->infer_and_wait({"nobody", std::string("x"), {}});
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().code() == ErrorCode::not_found);
}

TEST_CASE("engine leader: a deadline that passes inside the model ends the request once") {
  EngineOptions options;
  auto clock = std::make_shared<ManualClock>();
  options.clock = clock;
  auto engine = Engine::create(options);
  REQUIRE(engine);
  std::vector<Replica> set;
  set.push_back({std::make_unique<FakeRunner>(nullptr,
                                              [&](std::span<BatchItem> batch) {
                                                clock->advance(std::chrono::milliseconds(5));
                                                FakeRunner::answer(batch);
                                              }),
                 {}});
  REQUIRE(engine->add_model("fake", std::move(set)));
  const auto late = engine->infer_and_wait({"", std::string("x"), {.deadline = clock->now() + Duration(1'000'000)}});
  REQUIRE_FALSE(late);
  CHECK(late.error().code() == ErrorCode::deadline_exceeded);
  CHECK(engine->metrics().value("tidegate_requests_in_flight") == 0);
}

TEST_CASE("engine leader: many callers that wait on two replicas get their own answers") {
  auto engine = Engine::create({.cache = {.memory = {.capacity_bytes = 0}}});
  REQUIRE(engine);
  std::vector<Replica> set;
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  for (int i = 0; i < 2; ++i) {
    set.push_back({std::make_unique<FakeRunner>(nullptr,
                                                [&](std::span<BatchItem> batch) {
                                                  const int now = inside.fetch_add(1) + 1;
                                                  int seen = most.load();
                                                  while (now > seen && !most.compare_exchange_weak(seen, now)) continue;
                                                  FakeRunner::answer(batch);
                                                  inside.fetch_sub(1);
                                                }),
                   {}});
  }
  REQUIRE(engine->add_model("fake", std::move(set), {.batching = {.max_batch_size = 4}}));
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 8; ++t) {
    callers.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) {
        const std::string text(static_cast<std::size_t>(1 + (i * 7 + t) % 60), static_cast<char>('a' + t));
        const auto answer = engine->infer_and_wait({"", text, {}});
        const bool right = answer && answer->outputs.at(0).as<float>()[0] == static_cast<float>(text.size()) &&
                           answer->outputs.at(0).as<float>()[1] == static_cast<float>(text[0]);
        wrong += right ? 0 : 1;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == 0);
  CHECK(most <= 2);
  CHECK(engine->metrics().value("tidegate_requests_total") == 4000);
}
