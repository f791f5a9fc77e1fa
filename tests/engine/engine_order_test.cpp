// Completions in the order of acceptance, through the whole engine.
#include <atomic>
#include <mutex>
#include <thread>

#include "engine/engine_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

ModelOptions ordered(Ordering ordering) {
  ModelOptions options;
  options.batching.max_batch_size = 1;
  options.batching.ordering = ordering;
  return options;
}

RequestOptions of(std::string key, Deadline deadline = kNoDeadline) {
  RequestOptions options;
  options.ordering_key = std::move(key);
  options.deadline = deadline;
  return options;
}

/// Writes down who was called, in order.
struct Journal {
  std::vector<std::string> called;
  std::vector<ErrorCode> errors;
  Engine::Callback entry(std::string name) {
    return [this, name](Result<Response> result) {
      called.push_back(name);
      if (!result) errors.push_back(result.error().code());
    };
  }
};
using Names = std::vector<std::string>;

/// By a version that is a model of its own.
void replace(EngineRig& rig, ModelOptions options) {
  static int version = 0;
  auto runner = std::make_unique<FakeRunner>();
  runner->mutable_info().fingerprint[1] = static_cast<std::uint8_t>(++version);
  std::vector<Replica> set;
  set.push_back({std::move(runner), {}});
  REQUIRE(rig.engine->replace_model("fake", std::move(set), options));
}

}  // namespace

TEST_CASE("engine 4.13/13: completions of one key come in order of acceptance from whatever replica, others at once") {
  EngineRig rig(ordered(Ordering::per_key), {}, {}, 3);
  Journal journal;
  REQUIRE(rig.engine->infer(rig.request("one", of("k")), journal.entry("one")));
  REQUIRE(rig.engine->infer(rig.request("two", of("k")), journal.entry("two")));
  REQUIRE(rig.engine->infer(rig.request("free"), journal.entry("free")));
  rig.workers->run_at(2);
  rig.workers->run_at(1);
  rig.completions->run_all();
  CHECK(journal.called == Names{"free"});
  REQUIRE(rig.engine->infer(rig.request("free", of("k")), journal.entry("hit")));  // from the cache
  rig.completions->run_all();
  CHECK(journal.called == Names{"free"});
  rig.settle();
  CHECK(journal.called == Names{"free", "one", "two", "hit"});
}

TEST_CASE("engine 4.13/13: cancelled and expired requests complete at once, held with their answer or not") {
  EngineRig rig(ordered(Ordering::lane), {}, {}, 4);
  Journal journal;
  const auto first = rig.engine->infer(rig.request("first"), journal.entry("first"));
  REQUIRE(rig.engine->infer(rig.request("due", {.deadline = rig.clock->now() + std::chrono::milliseconds(5)}),
                            journal.entry("due")));
  const auto held = rig.engine->infer(rig.request("held"), journal.entry("held"));
  REQUIRE(rig.engine->infer(rig.request("last"), journal.entry("last")));
  for (int i = 3; i >= 1; --i) rig.workers->run_at(1);  // all but the first have their answers
  rig.completions->run_all();
  CHECK(journal.called.empty());
  CHECK(rig.engine->cancel(*held));
  CHECK_FALSE(rig.engine->cancel(*held));
  rig.completions->run_all();
  CHECK(journal.called == Names{"held"});
  rig.clock->advance(std::chrono::milliseconds(5));
  rig.completions->run_all();
  CHECK(journal.called == Names{"held", "due"});
  CHECK(journal.errors == std::vector{ErrorCode::cancelled, ErrorCode::deadline_exceeded});
  CHECK(rig.engine->cancel(*first));
  rig.completions->run_all();
  CHECK(journal.called == Names{"held", "due", "first", "last"});
  rig.settle();
}

TEST_CASE("engine: at the bound of a drain those in front fail, and who was held gets the answer") {
  EngineRig rig(ordered(Ordering::lane), {}, {}, 2);
  Journal journal;
  REQUIRE(rig.engine->infer(rig.request("one"), journal.entry("one")));
  REQUIRE(rig.engine->infer(rig.request("two"), journal.entry("two")));
  rig.workers->run_at(1);
  CHECK(rig.engine->drain(Duration::zero()).failed == 1);
  rig.completions->run_all();
  CHECK(journal.called == Names{"one", "two"});
  CHECK(journal.errors == std::vector{ErrorCode::shutting_down});
  rig.settle();
}

TEST_CASE("engine 4.13/13, 70: completions of a newer version come after those of the former one") {
  for (const Ordering ordering : {Ordering::per_key, Ordering::lane}) {
    const std::string key = ordering == Ordering::per_key ? "k" : "";
    EngineRig rig(ordered(ordering));
    Journal journal;
    REQUIRE(rig.engine->infer(rig.request("former", of(key)), journal.entry("former")));
    const auto waits = rig.engine->infer(rig.request("waits", of(key)), journal.entry("waits"));
    replace(rig, ordered(ordering));
    REQUIRE(rig.engine->infer(rig.request("later", of(key)), journal.entry("later")));
    rig.workers->run_at(1);
    rig.completions->run_all();
    CHECK(journal.called.empty());
    CHECK_FALSE(rig.engine->try_cached(rig.request("later", of(key))));
    CHECK(rig.engine->cancel(*waits));
    rig.completions->run_all();
    CHECK(journal.called == Names{"waits"});
    rig.settle();
    CHECK(journal.called == Names{"waits", "former", "later"});
    REQUIRE(rig.engine->infer(rig.request("last", of(key)), journal.entry("last")));
    rig.settle();
    CHECK(journal.called == Names{"waits", "former", "later", "last"});
  }
}

TEST_CASE("engine 4.13/13, 70: of versions that follow each other each waits for the one before") {
  EngineRig rig(ordered(Ordering::lane));
  Journal journal;
  REQUIRE(rig.engine->infer(rig.request("1"), journal.entry("1")));
  for (const char* name : {"2", "3", "4"}) {
    replace(rig, ordered(Ordering::lane));
    REQUIRE(rig.engine->infer(rig.request(name), journal.entry(name)));
  }
  for (int i = 3; i >= 1; --i) rig.workers->run_at(static_cast<std::size_t>(i));
  rig.completions->run_all();
  CHECK(journal.called.empty());
  rig.settle();
  CHECK(journal.called == Names{"1", "2", "3", "4"});
}

TEST_CASE("engine: at the bound of a drain a newer version's answers follow the former's failures") {
  EngineRig rig(ordered(Ordering::lane));
  Journal journal;
  REQUIRE(rig.engine->infer(rig.request("former"), journal.entry("former")));
  replace(rig, ordered(Ordering::lane));
  REQUIRE(rig.engine->infer(rig.request("later"), journal.entry("later")));
  rig.workers->run_at(1);
  CHECK(rig.engine->drain(Duration::zero()).failed == 1);
  rig.completions->run_all();
  CHECK(journal.called == Names{"former", "later"});
  CHECK(journal.errors == std::vector{ErrorCode::shutting_down});
  rig.settle();
}

TEST_CASE("engine: an ordered model refuses priorities, keys where it has no order by key, and more than it may hold") {
  ModelOptions options = ordered(Ordering::per_key);
  options.admission.max_queued_items = 2;
  EngineRig rig(options, {}, {}, 4);
  Journal journal;
  RequestOptions urgent = of("k");
  urgent.priority = Priority::critical;
  const auto refused = rig.engine->infer(rig.request("x", urgent), journal.entry("x"));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::invalid_argument);
  REQUIRE(rig.engine->infer(rig.request("a", of("k")), journal.entry("a")));
  REQUIRE(rig.engine->infer(rig.request("b", of("k")), journal.entry("b")));
  const auto full = rig.engine->infer(rig.request("c", of("l")), journal.entry("c"));
  REQUIRE_FALSE(full);
  CHECK(full.error().code() == ErrorCode::queue_full);
  CHECK(full.error().retry_after() > Duration::zero());
  rig.settle();
  CHECK(rig.engine->infer(rig.request("c", of("l")), journal.entry("c")));
  rig.settle();
  CHECK(journal.called == Names{"a", "b", "c"});
  EngineRig plain;
  CHECK_FALSE(plain.engine->infer(plain.request("x", of("k")), Answer().callback()));
}

TEST_CASE("engine: a cached answer is not handed back at once while others of its key are in flight") {
  EngineRig rig(ordered(Ordering::per_key));
  Answer warm, busy;
  REQUIRE(rig.engine->infer(rig.request("known"), warm.callback()));
  rig.settle();
  CHECK(rig.engine->try_cached(rig.request("known", of("k"))));
  REQUIRE(rig.engine->infer(rig.request("busy", of("k")), busy.callback()));
  CHECK_FALSE(rig.engine->try_cached(rig.request("known", of("k"))));
  CHECK(rig.engine->try_cached(rig.request("known", of("other"))));
  rig.workers->run_all();
  CHECK_FALSE(rig.engine->try_cached(rig.request("known", of("k"))));  // decided, but not told
  rig.settle();
  CHECK(rig.engine->try_cached(rig.request("known", of("k"))));
}

namespace {

/// Three keys, asked for by threads; counts what is told out of order.
struct OrderedTraffic {
  struct Key {
    std::mutex mutex;  // makes accepting and counting one step
    int accepted = 0;
    std::atomic<int> last{-1};
    std::atomic<bool> inside{false};
  };
  static constexpr int kRequests = 400;

  void told(Key& key, int number, const Result<Response>& result) {
    ++ended;
    const bool in_turn = result.has_value() || result.error().code() == ErrorCode::backend_failed;
    if (!in_turn) return;
    ++answered;
    if (key.inside.exchange(true)) ++wrong;
    if (key.last.exchange(number) >= number) ++wrong;
    key.inside = false;
  }

  void ask(Engine& engine, Key& key, Request request, bool cancels) {
    std::optional<RequestId> id;
    {
      const std::lock_guard lock(key.mutex);
      auto taken = engine.infer(std::move(request), [this, &key, number = key.accepted](Result<Response> result) {
        told(key, number, result);
      });
      if (taken) {
        id = *taken;
        ++key.accepted;
        ++accepted;
      }
    }
    if (id && cancels) engine.cancel(*id);
  }

  void run_thread(Engine& engine, int thread) {
    for (int i = 0; i < kRequests; ++i) {
      const auto which = static_cast<std::size_t>(i + thread) % keys.size();
      RequestOptions wish = of(std::string(which + 1, 'k'));
      if (i % 5 == 0) wish.deadline = std::chrono::steady_clock::now() + std::chrono::microseconds(i % 100);
      Request request{"fake", "text " + std::to_string(i % 50), wish};
      if (i % 11 == 0) {
        static_cast<void>(engine.infer_and_wait(std::move(request)));
      } else {
        ask(engine, keys[which], std::move(request), i % 7 == 0);
      }
    }
  }

  std::array<Key, 3> keys;
  std::atomic<int> wrong{0}, ended{0}, answered{0}, accepted{0};
};

}  // namespace

TEST_CASE("engine 4.13/13: with threads, callers that wait, cancels and deadlines no key is answered out of order") {
  OrderedTraffic traffic;
  {
    Engine engine = *Engine::create();
    std::vector<Replica> set;
    for (int i = 0; i < 3; ++i) set.push_back({std::make_unique<FakeRunner>(), {}});
    ModelOptions options = ordered(Ordering::per_key);
    options.batching.max_batch_size = 3;
    REQUIRE(engine.add_model("fake", std::move(set), options));
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread) {
      threads.emplace_back([&, thread] { traffic.run_thread(engine, thread); });
    }
    for (std::thread& thread : threads) thread.join();
    engine.drain(std::chrono::seconds(60));
  }
  CHECK(traffic.wrong == 0);
  CHECK(traffic.ended == traffic.accepted);
  CHECK(traffic.answered > 100);
}
