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

namespace {

/// A caller of its own thread. Once it waits in the queue behind `waiting - 1` others, the
/// constructor returns.
class Caller {
 public:
  Caller(EngineRig& rig, std::string text, int waiting, Deadline deadline = kNoDeadline) {
    thread_ = std::thread([this, &rig, text = std::move(text), deadline] {
      answer_.emplace(rig.engine->infer_and_wait(rig.request(text, {.deadline = deadline})));
    });
    while (rig.engine->metrics().value("tidegate_queue_items") < waiting) std::this_thread::yield();
    id_ = thread_.get_id();
  }
  [[nodiscard]] std::thread::id id() const { return id_; }
  const Result<Response>& answer() {
    if (thread_.joinable()) thread_.join();
    return *answer_;
  }

 private:
  std::optional<Result<Response>> answer_{};
  std::thread::id id_{};
  std::thread thread_{};
};

}  // namespace

TEST_CASE(
    "engine leader: callers that wait hand leadership on to the one who waited longest, and no executor is asked") {
  std::vector<std::thread::id> ran_on;
  std::optional<Caller> second, third;
  EngineRig* all = nullptr;
  EngineRig rig({.batching = {.max_batch_size = 2}}, {}, [&](std::span<BatchItem> batch) {
    ran_on.push_back(std::this_thread::get_id());
    if (ran_on.size() == 1) {
      second.emplace(*all, "second", 1);
      third.emplace(*all, "third", 2);
    }
    FakeRunner::answer(batch);
  });
  all = &rig;
  REQUIRE(rig.engine->infer_and_wait(rig.request("first")));
  for (Caller* caller : {&*second, &*third}) {
    REQUIRE(caller->answer());
    CHECK(caller->answer()->timing.batch_size == 2);
  }
  CHECK(ran_on == std::vector<std::thread::id>{std::this_thread::get_id(), second->id()});
  CHECK(third->answer()->outputs.at(0).as<float>()[0] == 5);
  CHECK(rig.workers->size() == 0);
  CHECK(rig.completions->size() == 0);
  CHECK(rig.engine->metrics().value("tidegate_requests_total") == 3);
}

TEST_CASE("engine leader: a caller whose request ends while it sleeps is told by whoever ends it") {
  std::optional<Caller> late, drained;
  EngineRig* all = nullptr;
  EngineRig rig({}, {}, [&](std::span<BatchItem> batch) {
    if (!late) {
      late.emplace(*all, "late", 1, all->clock->now() + Duration(1'000'000));
      drained.emplace(*all, "drained", 2);
      all->clock->advance(Duration(2'000'000));
      CHECK(late->answer().error().code() == ErrorCode::deadline_exceeded);
      all->engine->drain(Duration::zero());
      CHECK(drained->answer().error().code() == ErrorCode::shutting_down);
    }
    FakeRunner::answer(batch);
  });
  all = &rig;
  const auto first = rig.engine->infer_and_wait(rig.request("first"));
  REQUIRE_FALSE(first);
  CHECK(first.error().code() == ErrorCode::shutting_down);
  CHECK(rig.completions->size() == 0);
  CHECK(rig.engine->metrics().value("tidegate_requests_in_flight") == 0);
}

TEST_CASE("engine leader: a model that throws under a leader leaves the next one his batch") {
  std::optional<Caller> second;
  EngineRig* all = nullptr;
  EngineRig rig({}, {}, [&](std::span<BatchItem> batch) {
    if (!second) {
      second.emplace(*all, "second", 1);
      throw std::runtime_error("no");
    }
    FakeRunner::answer(batch);
  });
  all = &rig;
  const auto first = rig.engine->infer_and_wait(rig.request("first"));
  REQUIRE_FALSE(first);
  CHECK(first.error().code() == ErrorCode::backend_failed);
  CHECK(second->answer());
  CHECK(rig.workers->size() == 0);
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
