// Room in the queue: callers who wait for it, what is left of it, and who is told when it comes.
#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "engine/engine_rig.hpp"
#include "support/eventually.hpp"

using namespace tidegate;
using namespace tidegate::test;
using namespace std::chrono_literals;

namespace {

ModelOptions queue_of(std::uint32_t items, std::uint64_t tokens = 1000) {
  ModelOptions options;
  options.batching.max_batch_size = 1;
  options.batching.prediction = Prediction::off;
  options.admission.max_queued_items = items;
  options.admission.max_queued_tokens = tokens;
  options.admission.max_tenant_share = 100;
  return options;
}

RequestOptions until(TimePoint moment, Priority priority = Priority::interactive) {
  RequestOptions options;
  options.admit_until = moment;
  options.priority = priority;
  return options;
}

/// A request whose `infer` is in a thread of its own.
struct Caller {
  Caller(EngineRig& rig, std::string text, RequestOptions options, std::string model = {})
      : thread([this, &rig, text = std::move(text), options = std::move(options), model = std::move(model)] {
          accepted.emplace(rig.engine->infer({model, text, options}, answer.callback()));
        }) {}
  ~Caller() {
    if (thread.joinable()) thread.join();
  }
  Answer answer;
  std::optional<Result<RequestId>> accepted;
  std::thread thread;  // last: it uses the others
};

[[nodiscard]] bool wait_in_line(const EngineRig& rig, std::uint32_t callers, std::string_view model = {}) {
  return eventually([&] { return rig.engine->capacity(model)->waiting == callers; });
}

/// One request is with the workers, and one fills the queue of one.
void fill(EngineRig& rig, Answer (&answers)[2]) {
  REQUIRE(rig.engine->infer(rig.request("runs"), answers[0].callback()));
  REQUIRE(rig.engine->infer(rig.request("waits"), answers[1].callback()));
}

}  // namespace

TEST_CASE("engine: callers who wait for room are let in as it comes, in order of arrival") {
  EngineRig rig(queue_of(1));
  Answer first[2];
  fill(rig, first);
  std::vector<std::unique_ptr<Caller>> callers;
  for (const char* text : {"one", "two", "three"}) {
    callers.push_back(std::make_unique<Caller>(rig, text, until(kNoDeadline)));
    REQUIRE(wait_in_line(rig, static_cast<std::uint32_t>(callers.size())));
  }
  CHECK_FALSE(rig.engine->infer(rig.request("does not wait"), [](Result<Response>) {}));
  for (std::uint32_t left = 3; left > 0; --left) {
    rig.workers->run_one();
    REQUIRE(wait_in_line(rig, left - 1));
  }
  for (const auto& caller : callers) caller->thread.join();
  rig.settle();
  const std::vector<std::vector<std::string>> expected{{"runs"}, {"waits"}, {"one"}, {"two"}, {"three"}};
  CHECK(rig.log->batches == expected);
  for (const auto& caller : callers) {
    CHECK(*caller->accepted);
    CHECK(caller->answer.answered());
  }
}

TEST_CASE("engine: room belongs to those who wait for it and to higher classes") {
  EngineRig rig(queue_of(10, 10));
  REQUIRE(rig.engine->infer(rig.request("runs"), [](Result<Response>) {}));
  REQUIRE(rig.engine->infer(rig.request("8 tokens"), [](Result<Response>) {}));
  Caller large(rig, "large", until(kNoDeadline));
  REQUIRE(wait_in_line(rig, 1));
  CHECK_FALSE(rig.engine->capacity()->any());
  const auto small = rig.engine->infer(rig.request("s"), [](Result<Response>) {});
  REQUIRE_FALSE(small);
  CHECK(small.error().code() == ErrorCode::queue_full);
  CHECK(small.error().retry_after() > Duration::zero());
  RequestOptions critical;
  critical.priority = Priority::critical;
  CHECK(rig.engine->infer(rig.request("c", critical), [](Result<Response>) {}));
  Caller batch(rig, "b", until(kNoDeadline, Priority::batch));
  REQUIRE(wait_in_line(rig, 2));
  rig.workers->run_one();  // the critical one leaves the queue, which is not room enough
  REQUIRE(wait_in_line(rig, 2));
  rig.workers->run_one();
  CHECK(wait_in_line(rig, 0));
  large.thread.join();
  batch.thread.join();
  CHECK(*large.accepted);
  CHECK(*batch.accepted);
  rig.settle();
}

TEST_CASE("engine: a wait for room ends at its bound, or at the deadline, with the refusal of a full queue") {
  EngineRig rig(queue_of(1));
  Answer first[2];
  fill(rig, first);
  RequestOptions options = until(rig.clock->now() + 10ms);
  SUBCASE("bound") {}
  SUBCASE("deadline") {
    options.admit_until = kNoDeadline;
    options.deadline = rig.clock->now() + 10ms;
  }
  Caller caller(rig, "late", options);
  REQUIRE(wait_in_line(rig, 1));
  rig.clock->advance(9ms);
  CHECK(rig.engine->capacity()->waiting == 1);
  rig.clock->advance(1ms);
  caller.thread.join();
  REQUIRE_FALSE(*caller.accepted);
  CHECK(caller.accepted->error().code() == ErrorCode::queue_full);
  CHECK(caller.accepted->error().retry_after() > Duration::zero());
  CHECK(caller.answer.calls == 0);
  CHECK(rig.engine->capacity()->waiting == 0);
  rig.settle();
  CHECK(first[1].answered());
}

TEST_CASE("engine: a drain ends every wait for room") {
  EngineRig rig(queue_of(1));
  Answer first[2];
  fill(rig, first);
  Caller one(rig, "one", until(kNoDeadline));
  Caller two(rig, "two", until(rig.clock->now() + 1h));
  REQUIRE(wait_in_line(rig, 2));
  static_cast<void>(rig.engine->drain(Duration::zero()));
  for (Caller* caller : {&one, &two}) {
    caller->thread.join();
    REQUIRE_FALSE(*caller->accepted);
    CHECK(caller->accepted->error().code() == ErrorCode::shutting_down);
    CHECK(caller->answer.calls == 0);
  }
  rig.settle();
}

TEST_CASE("engine: a caller who waits when the model is replaced is let in, and answered once") {
  EngineRig rig(queue_of(1));
  Answer first[2];
  fill(rig, first);
  Caller caller(rig, "one", until(kNoDeadline));
  REQUIRE(wait_in_line(rig, 1));
  std::vector<Replica> newer;
  newer.push_back({std::make_unique<FakeRunner>(rig.log), {}});
  REQUIRE(rig.engine->replace_model("fake", std::move(newer), queue_of(1)));
  caller.thread.join();  // what waited has gone to the newer version, so there is room
  CHECK(*caller.accepted);
  rig.settle();
  CHECK(caller.answer.answered());
  CHECK(caller.answer.calls == 1);
}

TEST_CASE(
    "engine: what is refused for other reasons than room is refused at once, however long the caller would wait") {
  ModelOptions options = queue_of(4, 20);
  options.admission.tenants = {{"limited", 1, {.requests_per_minute = 1}}};
  EngineRig rig(options);
  const auto refused_as = [&](std::string text, RequestOptions how) {
    const auto refused = rig.engine->infer(rig.request(std::move(text), how), [](Result<Response>) {});
    return refused ? ErrorCode{} : refused.error().code();
  };
  RequestOptions limited = until(kNoDeadline);
  limited.tenant = "limited";
  REQUIRE(rig.engine->infer(rig.request("runs"), [](Result<Response>) {}));
  REQUIRE(rig.engine->infer(rig.request("the only", limited), [](Result<Response>) {}));
  for (int i = 0; i < 3; ++i) {
    REQUIRE(rig.engine->infer(rig.request(std::to_string(i)), [](Result<Response>) {}));
  }
  CHECK(refused_as("longer than the queue may hold", limited) == ErrorCode::too_large);
  CHECK(refused_as("second", limited) == ErrorCode::quota_exceeded);
  RequestOptions keyed = until(kNoDeadline);
  keyed.ordering_key = "k";
  CHECK(refused_as("no order here", keyed) == ErrorCode::invalid_argument);
  rig.settle();
}

TEST_CASE("engine: a completion callback and a model never wait for room") {
  EngineRig* running = nullptr;
  std::vector<ErrorCode> refusals;
  const auto ask = [&] {
    const auto refused = running->engine->infer(running->request("inner", until(kNoDeadline)), [](Result<Response>) {});
    refusals.push_back(refused ? ErrorCode{} : refused.error().code());
  };
  EngineRig rig(queue_of(1), {}, [&](std::span<BatchItem> items) {
    if (refusals.empty()) ask();
    FakeRunner::answer(items);
  });
  running = &rig;
  REQUIRE(rig.engine->infer(rig.request("runs"), [&](Result<Response>) { ask(); }));
  REQUIRE(rig.engine->infer(rig.request("waits"), [](Result<Response>) {}));
  rig.workers->run_one();
  REQUIRE(rig.engine->infer(rig.request("fills"), [](Result<Response>) {}));
  rig.completions->run_all();
  CHECK(refusals == std::vector<ErrorCode>(2, ErrorCode::queue_full));
  rig.settle();
}

TEST_CASE("engine: a caller who waits for his answer too waits for room first, and leads his batch") {
  EngineRig rig(queue_of(1));
  Answer first[2];
  fill(rig, first);
  std::optional<Result<Response>> answer;
  std::thread caller([&] { answer.emplace(rig.engine->infer_and_wait(rig.request("one", until(kNoDeadline)))); });
  REQUIRE(wait_in_line(rig, 1));
  rig.workers->run_one();
  REQUIRE(wait_in_line(rig, 0));
  rig.workers->run_one();
  caller.join();
  REQUIRE(*answer);
  CHECK((*answer)->source == AnswerSource::model);
  rig.settle();
}

TEST_CASE("engine: capacity tells what a model would take in, within the caps of all models") {
  EngineRig rig(queue_of(3, 100));
  CHECK(rig.engine->capacity()->items == 3);
  CHECK(rig.engine->capacity()->tokens == 100);
  CHECK(rig.engine->capacity()->bytes == 256ULL << 20);
  CHECK(rig.engine->capacity()->retry_after == Duration::zero());
  Answer first[2];
  fill(rig, first);
  const auto room = rig.engine->capacity("fake");
  REQUIRE(room);
  CHECK(room->items == 2);
  CHECK(room->tokens == 95);
  CHECK(rig.engine->capacity("no such model").error().code() == ErrorCode::not_found);
  rig.settle();
  CHECK(rig.engine->capacity()->items == 3);
  static_cast<void>(rig.engine->drain(Duration::zero()));
  CHECK(rig.engine->capacity().error().code() == ErrorCode::shutting_down);
}

TEST_CASE("engine: on_ready tells once that there is room, on the completion executor and never inside a call") {
  EngineRig rig(queue_of(1));
  std::vector<std::uint64_t> told;
  const auto note = [&](Result<QueueRoom> room) { told.push_back(room ? room->items : 99); };
  REQUIRE(rig.engine->on_ready(note));
  CHECK(told.empty());
  rig.completions->run_all();
  CHECK(told == std::vector<std::uint64_t>{1});  // there was room already
  Answer first[2];
  fill(rig, first);
  REQUIRE(rig.engine->on_ready(note));
  REQUIRE(rig.engine->on_ready(note));
  rig.completions->run_all();
  CHECK(told.size() == 1);
  rig.workers->run_one();
  CHECK(told.size() == 1);
  rig.completions->run_all();
  CHECK(told == std::vector<std::uint64_t>{1, 1, 1});
  rig.settle();
  CHECK(told.size() == 3);
  CHECK(rig.engine->on_ready(note, "no such model").error().code() == ErrorCode::not_found);
}

TEST_CASE("engine: who waits to be told of room is told of a shutdown, and of a newer version's room") {
  EngineRig rig(queue_of(1));
  Answer first[2];
  fill(rig, first);
  std::vector<std::optional<ErrorCode>> told;
  const auto note = [&](Result<QueueRoom> room) {
    told.push_back(room ? std::nullopt : std::optional(room.error().code()));
  };
  REQUIRE(rig.engine->on_ready(note));
  SUBCASE("shutdown") {
    static_cast<void>(rig.engine->drain(Duration::zero()));
    rig.completions->run_all();
    CHECK(told == std::vector<std::optional<ErrorCode>>{ErrorCode::shutting_down});
    CHECK(rig.engine->on_ready(note).error().code() == ErrorCode::shutting_down);
  }
  SUBCASE("replaced") {
    auto other = std::make_unique<FakeRunner>(rig.log);
    other->mutable_info().fingerprint[0] = 2;  // so that nothing that waits moves there
    std::vector<Replica> newer;
    newer.push_back({std::move(other), {}});
    REQUIRE(rig.engine->replace_model("fake", std::move(newer), queue_of(1)));
    rig.completions->run_all();
    CHECK(told == std::vector<std::optional<ErrorCode>>{std::nullopt});
  }
  rig.settle();
  CHECK(told.size() == 1);
}

namespace {

/// Two models under caps of all models together.
struct TwoModels : EngineRig {
  explicit TwoModels(EngineQueueOptions caps) {
    engine.reset();
    EngineOptions options;
    options.queue = caps;
    options.clock = clock;
    options.workers = workers;
    options.completions = completions;
    options.drain_timeout = Duration::zero();
    engine.emplace(*Engine::create(std::move(options)));
    for (const char* name : {"a", "b"}) {
      std::vector<Replica> set;
      set.push_back({std::make_unique<FakeRunner>(log), {}});
      REQUIRE(engine->add_model(name, std::move(set), queue_of(10)));
    }
  }
  [[nodiscard]] Result<RequestId> send(const char* model, std::string text) {
    return engine->infer({model, std::move(text), {}}, [](Result<Response>) {});
  }
  [[nodiscard]] double metric(std::string_view name) const {
    for (const MetricSample& sample : engine->metrics().samples) {
      if (sample.name == name) return sample.value;
    }
    return -1;
  }
};

}  // namespace

TEST_CASE("engine 4.13/40, 17: caps of all models refuse by their keys, count, and leave nothing behind") {
  TwoModels rig({.max_queued_items = 2});
  REQUIRE(rig.send("a", "runs"));
  REQUIRE(rig.send("b", "runs"));
  REQUIRE(rig.send("a", "waits"));
  REQUIRE(rig.send("b", "waits"));
  const auto refused = rig.send("a", "third");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::queue_full);
  CHECK(refused.error().message().find("queue.max_queued_items") != std::string::npos);
  CHECK(refused.error().limit() == 2);
  CHECK(refused.error().retry_after() > Duration::zero());
  CHECK(rig.engine->capacity("a")->items == 0);
  CHECK(rig.metric("tidegate_engine_queue_items") == 2);
  CHECK(rig.metric("tidegate_engine_queue_tokens") == 10);
  CHECK(rig.metric("tidegate_engine_queue_refused_total") == 1);
  rig.settle();
  CHECK(rig.metric("tidegate_engine_queue_items") == 0);
  CHECK(rig.metric("tidegate_engine_queue_bytes") == 0);
  CHECK(rig.engine->capacity("a")->items == 2);
}

TEST_CASE("engine: room that one model frees under the caps of all lets in who waits at another, and tells of it") {
  TwoModels rig({.max_queued_items = 1});
  REQUIRE(rig.send("a", "runs"));
  REQUIRE(rig.send("b", "runs"));
  REQUIRE(rig.send("a", "waits"));
  Caller caller(rig, "other", until(kNoDeadline), "b");
  REQUIRE(wait_in_line(rig, 1, "b"));
  CHECK_FALSE(rig.send("a", "does not wait"));
  int told = 0;
  REQUIRE(rig.engine->on_ready([&](Result<QueueRoom> room) { told += room ? 1 : 100; }, "a"));
  rig.completions->run_all();
  CHECK(told == 0);
  rig.workers->run_one();  // of a: what waited there runs
  caller.thread.join();
  CHECK(*caller.accepted);
  CHECK_FALSE(rig.send("a", "the room is taken"));
  rig.settle();
  CHECK(told == 1);
  CHECK(caller.answer.answered());
}

TEST_CASE("engine: a replica that becomes free takes who waits for room at once, however full other models are") {
  TwoModels rig({.max_queued_items = 1});
  REQUIRE(rig.send("b", "runs"));
  REQUIRE(rig.send("a", "runs"));
  REQUIRE(rig.send("a", "waits"));
  Caller caller(rig, "other", until(kNoDeadline), "b");
  REQUIRE(wait_in_line(rig, 1, "b"));
  rig.workers->run_one();  // of b: no room is freed, but its replica is
  caller.thread.join();
  CHECK(*caller.accepted);
  CHECK(rig.metric("tidegate_engine_queue_items") == 1);
  rig.settle();
}

TEST_CASE("engine: a text that no queue of the engine could hold is refused with the model, by the key") {
  TwoModels rig({.max_queued_tokens = 8});
  auto runner = std::make_unique<FakeRunner>();
  runner->mutable_info().max_tokens = 9;
  std::vector<Replica> set;
  set.push_back({std::move(runner), {}});
  const auto refused = rig.engine->add_model("long", std::move(set));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message().find("queue.max_queued_tokens is 8") != std::string::npos);
}

TEST_CASE(
    "engine 4.13/1, 2, 16: of many callers who wait under small caps all are let in, and answered or displaced once") {
  constexpr int kThreads = 6;
  constexpr int kRequests = 150;
  EngineOptions options;
  options.queue = {.max_queued_items = 3, .max_queued_tokens = 12};
  auto engine = Engine::create(std::move(options));
  REQUIRE(engine);
  for (const char* name : {"a", "b"}) {
    std::vector<Replica> set;
    set.push_back({std::make_unique<FakeRunner>(), {}});
    REQUIRE(engine->add_model(name, std::move(set), queue_of(2)));
  }
  std::atomic<int> answered{0};
  std::atomic<int> preempted{0};
  std::atomic<int> refused{0};
  std::atomic<int> above{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kRequests; ++i) {
        RequestOptions how = until(kNoDeadline);
        how.cache = CacheMode::bypass;
        if (i % 3 == 0) how.priority = Priority::batch;
        const char* const model = t % 2 == 0 ? "a" : "b";
        const auto told = [&](Result<Response> answer) {
          const bool gave_way = !answer && answer.error().code() == ErrorCode::preempted;
          ++(answer ? answered : gave_way ? preempted : refused);
        };
        if (!engine->infer({model, std::string(1 + static_cast<std::size_t>(i) % 5, 'x'), how}, told)) ++refused;
        const auto room = engine->capacity(model);
        if (!room || room->items > 2) ++above;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const DrainReport report = engine->drain(std::chrono::minutes(1));
  CHECK(report.failed == 0);
  CHECK(eventually([&] { return answered + preempted + refused >= kThreads * kRequests; }));
  CHECK(answered + preempted == kThreads * kRequests);
  CHECK(refused == 0);
  CHECK(above == 0);
  for (const MetricSample& sample : engine->metrics().samples) {
    if (sample.name == "tidegate_engine_queue_items" || sample.name == "tidegate_engine_queue_tokens") {
      CHECK(sample.value == 0);
    }
  }
}
