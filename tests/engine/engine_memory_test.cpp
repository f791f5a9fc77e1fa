// What throws on the way of a request: executors at every post, the clock at every
// alarm, memory at every allocation. Nothing hangs, and every accepted request
// completes exactly once.
#include <doctest/doctest.h>

#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <vector>

#include "engine/stream_rig.hpp"

namespace {

/// Allocations this thread may still make; counts down while armed, then stays at none.
thread_local long allowed = std::numeric_limits<long>::max();
thread_local long refused_allocations = 0;

void* allocate(std::size_t size) {
  if (allowed != std::numeric_limits<long>::max() && allowed-- <= 0) {
    allowed = 0;
    ++refused_allocations;
    throw std::bad_alloc();
  }
  if (void* const block = std::malloc(size == 0 ? 1 : size)) return block;
  throw std::bad_alloc();
}

}  // namespace

// Not inlined: where only one of a pair is, the compiler takes malloc and delete, or new
// and free, for a mismatch.
[[gnu::noinline]] void* operator new(std::size_t size) { return allocate(size); }
[[gnu::noinline]] void* operator new[](std::size_t size) { return allocate(size); }
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return allocate(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
[[gnu::noinline]] void operator delete(void* block) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete[](void* block) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::size_t) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete[](void* block, std::size_t) noexcept { std::free(block); }

using namespace tidegate;
using namespace tidegate::test;

namespace {

/// Throws on its k-th post and, if `on`, on all later ones.
class FailingExecutor final : public Executor {
 public:
  enum class After : std::uint8_t { once, for_ever };
  FailingExecutor(int k, After after) : left_(k), after_(after) {}

  void post(UniqueFunction<void()> task) override {
    if (left_ > 0 && --left_ == 0) {
      if (after_ == After::for_ever) left_ = 1;
      ++thrown;
      throw std::runtime_error("no");
    }
    tasks.post(std::move(task));
  }

  ManualExecutor tasks;
  int thrown = 0;

 private:
  int left_;
  const After after_;
};

/// A clock whose k-th alarm is refused.
class FailingClock final : public Clock {
 public:
  explicit FailingClock(int k) : left_(k) {}
  TimePoint now() const noexcept override { return clock.now(); }
  AlarmId call_at(TimePoint when, UniqueFunction<void()> alarm) override {
    if (left_ > 0 && --left_ == 0) throw std::runtime_error("no");
    return clock.call_at(when, std::move(alarm));
  }
  bool cancel(AlarmId id) override { return clock.cancel(id); }

  ManualClock clock;

 private:
  int left_;
};

struct Sent {
  bool accepted = false;
  bool asking = false;  ///< inside its own infer
  int calls = 0;
  std::optional<ErrorCode> error;
};

/// A dozen requests of all kinds, their ends, and a drain.
class Traffic {
 public:
  Traffic(std::shared_ptr<Executor> workers, std::shared_ptr<Executor> completions, std::shared_ptr<Clock> clock) {
    EngineOptions options;
    options.workers = std::move(workers);
    options.completions = std::move(completions);
    options.clock = std::move(clock);
    options.drain_timeout = Duration::zero();
    engine_.emplace(*Engine::create(std::move(options)));
    std::vector<Replica> set;
    set.push_back({std::make_unique<FakeRunner>(), {.concurrency = 2}});
    REQUIRE(engine_->add_model("fake", std::move(set), {.batching = {.max_batch_size = 2}}));
  }

  RequestId submit(const std::string& text, CacheMode mode, Deadline deadline) {
    Sent& sent = *sent_.emplace_back(std::make_unique<Sent>());
    Request request{"fake", text, {.deadline = deadline, .cache = mode}};
    Engine::Callback on_done = [&sent](Result<Response> result) {
      CHECK_FALSE(sent.asking);
      ++sent.calls;
      if (!result) sent.error = result.error().code();
    };
    sent.asking = true;
    const auto id = infer_(*engine_, std::move(request), std::move(on_done));
    sent.asking = false;
    sent.accepted = id.has_value();
    if (id) return *id;
    const ErrorCode code = id.error().code();
    CHECK((code == ErrorCode::out_of_memory || code == ErrorCode::host_failed || code == ErrorCode::shutting_down));
    return RequestId{};
  }

  /// `settle` runs what the executors hold.
  template <class Settle>
  void play(TimePoint now, Settle&& settle) {
    for (int round = 0; round < 2; ++round) {
      submit("a", CacheMode::use, kNoDeadline);
      submit("a", CacheMode::use, now + std::chrono::seconds(1));
      submit("bb", CacheMode::bypass, now + std::chrono::seconds(2));
      const RequestId last = submit("ccc", CacheMode::refresh, kNoDeadline);
      submit("dddd", CacheMode::use, now);  // too late already
      engine_->cancel(last);
      settle();
    }
    submit("late", CacheMode::bypass, kNoDeadline);
    submit("a", CacheMode::use, kNoDeadline);
  }

  void end() { engine_->drain(Duration::zero()); }

  void verify() {
    for (const auto& sent : sent_) CHECK(sent->calls == (sent->accepted ? 1 : 0));
    const MetricsSnapshot metrics = engine_->metrics();
    for (const char* gauge : {"tidegate_queue_items", "tidegate_running_batches", "tidegate_requests_in_flight"}) {
      CHECK(metrics.value(gauge) == 0);
    }
  }

  [[nodiscard]] std::size_t accepted() const {
    std::size_t count = 0;
    for (const auto& sent : sent_) count += sent->accepted ? 1 : 0;
    return count;
  }
  [[nodiscard]] std::size_t failed_with(ErrorCode code) const {
    std::size_t count = 0;
    for (const auto& sent : sent_) count += sent->error == code ? 1 : 0;
    return count;
  }
  [[nodiscard]] std::size_t sent() const { return sent_.size(); }

  /// How a request is handed in; a test may surround it.
  std::function<Result<RequestId>(Engine&, Request, Engine::Callback)> infer_ = [](Engine& engine, Request request,
                                                                                   Engine::Callback on_done) {
    return engine.infer(std::move(request), std::move(on_done));
  };

 private:
  std::vector<std::unique_ptr<Sent>> sent_;
  std::optional<Engine> engine_;
};

using After = FailingExecutor::After;

/// Plays the traffic over executors that fail from their k-th post on; answers how
/// often they threw.
int play_over(int workers_k, int completions_k, After after, std::size_t* host_failed = nullptr) {
  auto workers = std::make_shared<FailingExecutor>(workers_k, after);
  auto completions = std::make_shared<FailingExecutor>(completions_k, after);
  auto clock = std::make_shared<ManualClock>();
  Traffic traffic(workers, completions, clock);
  const auto settle = [&] {
    while (workers->tasks.run_all() + completions->tasks.run_all() > 0) {
    }
  };
  traffic.play(clock->now(), settle);
  traffic.end();
  settle();
  traffic.verify();
  if (host_failed != nullptr) *host_failed = traffic.failed_with(ErrorCode::host_failed);
  return workers->thrown + completions->thrown;
}

}  // namespace

TEST_CASE("engine memory 4.13/66: an executor that throws costs nobody an answer's end") {
  CHECK(play_over(0, 0, After::once) == 0);
  for (const After after : {After::once, After::for_ever}) {
    for (int k = 1; k <= 8; ++k) {
      CAPTURE(k);
      std::size_t host_failed = 0;
      play_over(k, 0, after, &host_failed);
      if (k == 1) CHECK(host_failed > 0);  // its batch was refused
      play_over(0, k, after);
      play_over(k, k, after);
    }
  }
  CHECK(play_over(1, 1, After::for_ever) > 10);
}

TEST_CASE("engine memory 4.13/66: a clock that refuses an alarm refuses the request it was for") {
  for (int k = 2; k <= 8; ++k) {  // the first alarm is the engine's own
    CAPTURE(k);
    auto executor = std::make_shared<ManualExecutor>();
    auto clock = std::make_shared<FailingClock>(k);
    Traffic traffic(executor, executor, clock);
    traffic.play(clock->now(), [&] { executor->run_all(); });
    traffic.end();
    executor->run_all();
    traffic.verify();
  }
}

TEST_CASE("engine memory 4.13/66: infer that runs out of memory at any allocation refuses or completes, and goes on") {
  long failures = 0;
  bool more = true;
  for (long n = 0; more; ++n) {
    CAPTURE(n);
    REQUIRE(n < 2000);
    auto executor = std::make_shared<ManualExecutor>();
    auto clock = std::make_shared<ManualClock>();
    Traffic traffic(executor, executor, clock);
    const long before = refused_allocations;
    traffic.infer_ = [n](Engine& engine, Request request, Engine::Callback on_done) {
      allowed = n;
      auto id = engine.infer(std::move(request), std::move(on_done));
      allowed = std::numeric_limits<long>::max();
      return id;
    };
    traffic.play(clock->now(), [&] { executor->run_all(); });
    traffic.end();
    executor->run_all();
    traffic.verify();
    more = refused_allocations > before;
    if (more) ++failures;
    if (!more) CHECK(traffic.accepted() == traffic.sent());
  }
  CHECK(failures > 5);
}

TEST_CASE("engine memory 4.13/66: batches, completions and the drain survive running out of memory at any allocation") {
  bool more = true;
  long failures = 0;
  for (long n = 0; more; ++n) {
    CAPTURE(n);
    REQUIRE(n < 5000);
    auto executor = std::make_shared<ManualExecutor>();
    auto clock = std::make_shared<ManualClock>();
    Traffic traffic(executor, executor, clock);
    const long before = refused_allocations;
    const auto starved = [n](auto&& action) {
      allowed = n;
      action();
      allowed = std::numeric_limits<long>::max();
    };
    traffic.play(clock->now(), [&] {
      for (int i = 0; i < 3; ++i) starved([&] { executor->run_one(); });
      starved([&] { clock->advance(std::chrono::milliseconds(1500)); });
      executor->run_all();
    });
    starved([&] { traffic.end(); });
    executor->run_all();
    traffic.verify();
    more = refused_allocations > before;
    if (more) ++failures;
  }
  CHECK(failures > 5);
}

TEST_CASE("engine memory 4.13/66: a caller that waits and runs out of memory at any allocation gets an end") {
  auto engine = Engine::create({.cache = {.memory = {.capacity_bytes = 0}}});
  REQUIRE(engine);
  std::vector<Replica> set;
  set.push_back({std::make_unique<FakeRunner>(), {}});
  REQUIRE(engine->add_model("fake", std::move(set)));
  bool more = true;
  long failures = 0;
  for (long n = 0; more; ++n) {
    CAPTURE(n);
    REQUIRE(n < 2000);
    Request request{"fake", std::string("text"), {.cache = CacheMode::bypass}};
    const long before = refused_allocations;
    allowed = n;
    const Result<Response> answer = engine->infer_and_wait(std::move(request));
    allowed = std::numeric_limits<long>::max();
    more = refused_allocations > before;
    if (!answer) CHECK(answer.error().code() == ErrorCode::out_of_memory);
    if (!answer) ++failures;
    if (!more) CHECK(answer.has_value());
    REQUIRE(engine->infer_and_wait({"fake", std::string("next"), {}}));
  }
  CHECK(failures > 3);
  const MetricsSnapshot metrics = engine->metrics();
  for (const char* gauge : {"tidegate_queue_items", "tidegate_running_batches", "tidegate_requests_in_flight"}) {
    CHECK(metrics.value(gauge) == 0);
  }
}

TEST_CASE("engine memory 4.13/66: streams that run out of memory at any allocation end once, after their chunks") {
  bool more = true;
  long failures = 0;
  for (long n = 0; more; ++n) {
    CAPTURE(n);
    REQUIRE(n < 5000);
    auto executor = std::make_shared<ManualExecutor>();
    auto clock = std::make_shared<ManualClock>();
    auto engine = *Engine::create(
        {.completions = executor, .workers = executor, .clock = clock, .drain_timeout = Duration::zero()});
    std::vector<Replica> set;
    set.push_back({std::make_unique<StepRunner>(), {}});
    REQUIRE(engine.add_model("step", std::move(set)));
    const long before = refused_allocations;
    const auto starved = [n](auto&& action) {
      allowed = n;
      action();
      allowed = std::numeric_limits<long>::max();
    };
    std::vector<Stream> streams;
    for (int i = 0; i < 2; ++i) {
      Request request{"step", std::string("a 6"), {.deadline = clock->now() + std::chrono::hours(1)}};
      starved([&] {
        auto stream = engine.stream(std::move(request), {.buffer_chunks = 2});
        allowed = std::numeric_limits<long>::max();
        if (stream) streams.push_back(*std::move(stream));
      });
    }
    std::vector<Taken> taken(streams.size());
    for (int round = 0; round < 12; ++round) {
      for (std::size_t i = 0; i < streams.size(); ++i) {
        std::optional<StreamEvent> event;
        starved([&] { event = streams[i].try_next(); });
        if (event) taken[i].add(*std::move(event));
      }
      starved([&] { executor->run_one(); });
      starved([&] { clock->advance(std::chrono::milliseconds(1)); });
    }
    executor->run_all();
    starved([&] { engine.drain(Duration::zero()); });
    executor->run_all();
    for (std::size_t i = 0; i < streams.size(); ++i) {
      taken[i].take_from(streams[i]);
      CHECK(taken[i].end);
    }
    CHECK(engine.metrics().value("tidegate_requests_in_flight") == 0);
    CHECK(engine.metrics().value("tidegate_kept_items") == 0);
    more = refused_allocations > before;
    if (more) ++failures;
  }
  CHECK(failures > 5);
}
