#include <doctest/doctest.h>

#include <stdexcept>
#include <thread>

#include "engine/engine_rig.hpp"
#include "support/eventually.hpp"

using namespace tidegate;
using namespace tidegate::test;

TEST_CASE("engine faults: a runner that throws fails its batch and nothing else") {
  int calls = 0;
  EngineRig rig({}, {}, [&](std::span<BatchItem> batch) {
    if (++calls == 1) throw std::runtime_error("out of paper");
    FakeRunner::answer(batch);
  });
  Answer bad, good;
  REQUIRE(rig.engine->infer(rig.request("bad"), bad.callback()));
  rig.settle();
  REQUIRE(bad.has(ErrorCode::backend_failed));
  CHECK(bad.result->error().message().find("out of paper") != std::string_view::npos);
  REQUIRE(rig.engine->infer(rig.request("bad"), good.callback()));
  rig.settle();
  CHECK(good.answered());
}

TEST_CASE("engine faults 4.13/57: something that is no exception class is caught too") {
  EngineRig rig({}, {}, [](std::span<BatchItem>) { throw 42; });
  Answer answer;
  REQUIRE(rig.engine->infer(rig.request("x"), answer.callback()));
  rig.settle();
  CHECK(answer.has(ErrorCode::backend_failed));
}

TEST_CASE("engine faults 4.13/58: an item the runner forgot is an error, its neighbours are not") {
  EngineRig rig({}, {}, [](std::span<BatchItem> batch) {
    FakeRunner::answer(batch.subspan(0, batch.size() > 1 ? batch.size() - 1 : 1));
  });
  Answer first, answers[3];
  REQUIRE(rig.engine->infer(rig.request("first"), first.callback()));
  for (int i = 0; i < 3; ++i) {
    REQUIRE(rig.engine->infer(rig.request("item" + std::to_string(i)), answers[i].callback()));
  }
  rig.settle();
  CHECK(answers[0].answered());
  CHECK(answers[1].answered());
  CHECK(answers[2].has(ErrorCode::internal));
}

TEST_CASE("engine faults: an error is never cached") {
  bool fail = true;
  EngineRig rig({}, {}, [&](std::span<BatchItem> batch) {
    if (fail)
      batch[0].output = Error(ErrorCode::backend_failed, "not today");
    else
      FakeRunner::answer(batch);
  });
  Answer first, second;
  REQUIRE(rig.engine->infer(rig.request("x"), first.callback()));
  rig.settle();
  CHECK(first.has(ErrorCode::backend_failed));
  fail = false;
  REQUIRE(rig.engine->infer(rig.request("x"), second.callback()));
  rig.settle();
  CHECK((*second.result)->source == AnswerSource::model);
}

TEST_CASE("engine faults 4.13/63: a completion callback that throws is counted and harms nobody") {
  EngineRig rig;
  Answer other;
  REQUIRE(rig.engine->infer(rig.request("x"), [](Result<Response>) { throw std::logic_error("host"); }));
  REQUIRE(rig.engine->infer(rig.request("y"), other.callback()));
  rig.settle();
  CHECK(other.answered());
  CHECK(rig.engine->metrics().value("tidegate_callback_exceptions_total") == 1);
}

TEST_CASE("engine faults: input of the wrong kind is refused at the door") {
  EngineRig rig;
  Answer answer;
  const float numbers[] = {1, 2};
  Request request{"", std::vector<Tensor>{Tensor::vector_of(numbers)}, {}};
  CHECK(rig.engine->infer(std::move(request), answer.callback()).error().code() == ErrorCode::invalid_argument);
  rig.settle();
  CHECK(answer.calls == 0);
}

TEST_CASE("engine faults: an item larger than a batch is refused, not queued for ever") {
  EngineRig rig({.batching = {.max_batch_tokens = 8}});
  Answer answer;
  const auto refused = rig.engine->infer(rig.request("longer than eight"), answer.callback());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::too_large);
  CHECK(answer.calls == 0);
}

TEST_CASE("engine faults: a refused callback is destroyed uncalled") {
  EngineRig rig({.batching = {.max_batch_tokens = 1}});
  auto held = std::make_shared<int>(0);
  CHECK_FALSE(rig.engine->infer(rig.request("too long"), [held](Result<Response>) { ++*held; }));
  CHECK(held.use_count() == 1);
  CHECK(*held == 0);
}

TEST_CASE("engine faults: models that cannot be served are refused") {
  EngineRig rig;
  const auto add = [&](std::string name, std::vector<Replica> set) {
    return rig.engine->add_model(std::move(name), std::move(set)).error().code();
  };
  CHECK(add("none", {}) == ErrorCode::invalid_argument);
  std::vector<Replica> empty(1);
  CHECK(add("empty", std::move(empty)) == ErrorCode::invalid_argument);
  std::vector<Replica> nameless;
  nameless.push_back({std::make_unique<FakeRunner>(), {}});
  CHECK(add("", std::move(nameless)) == ErrorCode::invalid_argument);
  std::vector<Replica> different;
  different.push_back({std::make_unique<FakeRunner>(), {}});
  auto other = std::make_unique<FakeRunner>();
  other->mutable_info().fingerprint[0] = 9;
  different.push_back({std::move(other), {}});
  CHECK(add("different", std::move(different)) == ErrorCode::invalid_argument);
}

namespace {

/// A tier that answers when the test says so.
class SlowTier final : public CacheTier {
 public:
  std::string_view name() const noexcept override { return "slow"; }
  void get_many(std::span<const CacheKey> keys, Deadline, Lookup done) override {
    waiting.push_back([count = keys.size(), done = std::move(done)]() mutable {
      done(std::vector<std::optional<CacheEntry>>(count));
    });
  }
  void put_many(std::span<const CacheEntry>) override {}
  void erase_many(std::span<const CacheKey>) override {}

  std::vector<UniqueFunction<void()>> waiting;
};

}  // namespace

TEST_CASE("engine faults: a further tier that never answers costs its budget and no more") {
  auto tier = std::make_shared<SlowTier>();
  CacheOptions cache;
  cache.tiers = {tier};
  cache.lookup_budget = std::chrono::milliseconds(5);
  EngineRig rig({}, cache);
  Answer answer;
  REQUIRE(rig.engine->infer(rig.request("x"), answer.callback()));
  rig.settle();
  CHECK(answer.calls == 0);
  rig.clock->advance(std::chrono::milliseconds(5));
  rig.settle();
  CHECK(answer.answered());
  for (auto& late : tier->waiting) late();
  rig.settle();
  CHECK(answer.calls == 1);
}

TEST_CASE("engine faults: a request can be cancelled while a further tier is asked") {
  auto tier = std::make_shared<SlowTier>();
  CacheOptions cache;
  cache.tiers = {tier};
  EngineRig rig({}, cache);
  Answer answer;
  const auto id = rig.engine->infer(rig.request("x"), answer.callback());
  CHECK(rig.engine->cancel(*id));
  for (auto& late : tier->waiting) late();
  rig.settle();
  CHECK(answer.has(ErrorCode::cancelled));
  CHECK(answer.calls == 1);
  CHECK(rig.log->batches.empty());
}

TEST_CASE("engine faults: a drain dispatches what lingers as soon as nobody is in a look-up") {
  auto tier = std::make_shared<SlowTier>();
  CacheOptions cache;
  cache.tiers = {tier};
  EngineRig rig({.batching = {.max_queue_delay = std::chrono::seconds(10), .prediction = Prediction::off}}, cache);
  Answer lingering, looked_up;
  REQUIRE(rig.engine->infer(rig.request("lingering", {.cache = CacheMode::bypass}), lingering.callback()));
  REQUIRE(rig.engine->infer(rig.request("looked up"), looked_up.callback()));
  rig.settle();
  CHECK(lingering.calls == 0);
  DrainReport report;
  std::thread drain([&] { report = rig.engine->drain(std::chrono::hours(1)); });
  const auto is_closed = [&] {
    const RequestOptions late{.deadline = rig.clock->now(), .cache = CacheMode::bypass};
    const auto refused = rig.engine->infer(rig.request("late", late), [](Result<Response>) {});
    return !refused && refused.error().code() == ErrorCode::shutting_down;
  };
  CHECK(eventually(is_closed));
  for (auto& answer : tier->waiting) answer();
  CHECK(eventually([&] {
    rig.settle();
    return lingering.answered() && looked_up.answered();
  }));
  rig.clock->advance(std::chrono::hours(1));
  drain.join();
  CHECK(report.failed == 0);
  CHECK(report.finished == 2);
  rig.settle();
}

TEST_CASE("engine faults: a queue that fills up during a look-up ends the request with queue_full") {
  auto tier = std::make_shared<SlowTier>();
  CacheOptions cache;
  cache.tiers = {tier};
  EngineRig rig({.batching = {}, .admission = {.max_queued_items = 1}}, cache);
  Answer late, running, queued;
  REQUIRE(rig.engine->infer(rig.request("late"), late.callback()));
  REQUIRE(rig.engine->infer(rig.request("a", {.cache = CacheMode::bypass}), running.callback()));
  REQUIRE(rig.engine->infer(rig.request("b", {.cache = CacheMode::bypass}), queued.callback()));
  for (auto& answer : tier->waiting) answer();
  rig.settle();
  CHECK(late.has(ErrorCode::queue_full));
  CHECK(running.answered());
  CHECK(queued.answered());
}

namespace {

/// Throws for every batch that holds the text "poison".
void refuse_poison(std::span<BatchItem> batch) {
  for (const BatchItem& item : batch) {
    if (std::get<std::string>(item.input->input) == "poison") throw std::runtime_error("poisoned");
  }
  FakeRunner::answer(batch);
}

}  // namespace

TEST_CASE("engine faults 4.13/61: one poisonous item among 31 good ones fails alone, and is refused for a minute") {
  EngineRig rig({}, {}, refuse_poison);
  Answer first;
  Answer answers[32];
  REQUIRE(rig.engine->infer(rig.request("first"), first.callback()));
  for (int i = 0; i < 32; ++i) {
    REQUIRE(rig.engine->infer(rig.request(i == 17 ? "poison" : "good " + std::to_string(i)), answers[i].callback()));
  }
  rig.settle();
  for (int i = 0; i < 32; ++i) {
    CHECK(answers[i].calls == 1);
    CHECK(answers[i].answered() == (i != 17));
  }
  CHECK(answers[17].has(ErrorCode::backend_failed));
  // One for the first, one for all, two for each of five levels.
  CHECK(rig.log->batches.size() == 1 + 1 + 2 * 5);

  Answer again;
  const auto refused = rig.engine->infer(rig.request("poison"), again.callback());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::backend_failed);
  CHECK(refused.error().retry_after() > std::chrono::seconds(59));
  rig.clock->advance(std::chrono::seconds(61));
  CHECK(rig.engine->infer(rig.request("poison"), again.callback()));
  rig.settle();
  CHECK(again.has(ErrorCode::backend_failed));
}

TEST_CASE("engine faults 4.13/57: a model that always throws fails every item, and none is held against it") {
  EngineRig rig({}, {}, [](std::span<BatchItem>) { throw std::runtime_error("broken"); });
  Answer first;
  Answer answers[8];
  REQUIRE(rig.engine->infer(rig.request("first"), first.callback()));
  for (int i = 0; i < 8; ++i) {
    REQUIRE(rig.engine->infer(rig.request("text " + std::to_string(i)), answers[i].callback()));
  }
  rig.settle();
  for (const Answer& answer : answers) CHECK(answer.has(ErrorCode::backend_failed));
  CHECK(rig.log->batches.size() == 1 + 15);
  Answer again;
  CHECK(rig.engine->infer(rig.request("text 0"), again.callback()));
  rig.settle();
}

TEST_CASE("engine faults 4.13/60: a batch that is too large for memory is run in parts that are not") {
  EngineRig rig({}, {}, [](std::span<BatchItem> batch) {
    if (batch.size() > 4) throw std::bad_alloc();
    FakeRunner::answer(batch);
  });
  Answer first;
  Answer answers[16];
  REQUIRE(rig.engine->infer(rig.request("first"), first.callback()));
  for (int i = 0; i < 16; ++i) {
    REQUIRE(rig.engine->infer(rig.request("text " + std::to_string(i)), answers[i].callback()));
  }
  rig.settle();
  for (int i = 0; i < 16; ++i) {
    REQUIRE(answers[i].answered());
    const auto& tensor = (*answers[i].result)->outputs.at(0);
    CHECK(tensor.bytes().size() == FakeRunner::answer_to("x").bytes().size());
  }
  CHECK(rig.log->batches.size() == 1 + 1 + 2 + 4);
}

TEST_CASE("engine faults: a model that is not deterministic is never run twice for one request") {
  const auto log = std::make_shared<FakeRunner::Log>();
  auto runner = std::make_unique<FakeRunner>(log, [](std::span<BatchItem>) { throw std::runtime_error("broken"); });
  runner->mutable_info().deterministic = false;
  EngineRig rig;
  std::vector<Replica> set;
  set.push_back({std::move(runner), {}});
  REQUIRE(rig.engine->add_model("dice", std::move(set)));
  Answer answers[5];
  for (int i = 0; i < 5; ++i) {
    REQUIRE(rig.engine->infer({"dice", "text " + std::to_string(i), {}}, answers[i].callback()));
  }
  rig.settle();
  for (const Answer& answer : answers) CHECK(answer.has(ErrorCode::backend_failed));
  CHECK(log->batches.size() == 2);
}

TEST_CASE("engine faults 4.13/60: after a batch that was too large for memory the next ones have fewer tokens") {
  std::vector<std::size_t> sizes;
  EngineRig rig({.batching = {.max_batch_size = 64, .prediction = Prediction::off}}, {},
                [&](std::span<BatchItem> batch) {
                  sizes.push_back(batch.size());
                  if (batch.size() > 7) throw std::bad_alloc();
                  FakeRunner::answer(batch);
                });
  std::vector<Answer> answers(41);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    // Ten tokens each. The first starts alone, ten more wait for it, and the others for those.
    const std::string text = "text " + std::to_string(10000 + i);
    if (i == 11) {
      REQUIRE(rig.workers->run_one());
    }
    REQUIRE(rig.engine->infer(rig.request(text), answers[i].callback()));
  }
  rig.settle();
  for (const Answer& answer : answers) CHECK(answer.answered());
  // 1; 10 fail as one, their halves do not; then 7 items at most are as many as 0.7 * 100 tokens.
  REQUIRE(sizes.size() > 4);
  CHECK(sizes[1] == 10);
  CHECK(sizes[2] == 5);
  CHECK(sizes[3] == 5);
  for (std::size_t i = 4; i < sizes.size(); ++i) CHECK(sizes[i] <= 7);
  CHECK(sizes[4] == 7);
}
