// What the engine around the queue costs, over a model that costs nothing: per submit, per
// answered request, per wake-up, per allocation.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "benchmark_main.hpp"
#include "tidegate/engine.hpp"

namespace {

std::atomic<bool> counting{false};
std::atomic<std::uint64_t> allocations{0};

}  // namespace

[[gnu::noinline]] void* operator new(std::size_t size) {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* const memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

using namespace tidegate;

namespace {

using SteadyClock = std::chrono::steady_clock;

double ns_since(SteadyClock::time_point begin) {
  return std::chrono::duration<double, std::nano>(SteadyClock::now() - begin).count();
}

/// Answers every item with the same vector, which all share.
class NoOpRunner final : public ModelRunner {
 public:
  explicit NoOpRunner(Duration time = {}) : time_(time) {
    info_.kind = "no-op";
    info_.fingerprint[0] = 1;
    const float one[] = {1};
    answer_ = {Tensor::vector_of(one)};
  }
  const ModelInfo& info() const noexcept override { return info_; }
  Result<PreparedInput> prepare(Input input) override { return PreparedInput{std::move(input), {}, {1, 16, 0}}; }
  void run(std::span<BatchItem> batch) override {
    if (time_ > Duration(0)) std::this_thread::sleep_for(time_);
    for (BatchItem& item : batch) item.output = answer_;
  }

 private:
  ModelInfo info_;
  const Duration time_;
  std::vector<Tensor> answer_;
};

/// Runs what was posted when it is told to.
class HandExecutor final : public Executor {
 public:
  void post(UniqueFunction<void()> task) override { tasks_.push_back(std::move(task)); }
  void run_all() {
    for (std::size_t i = 0; i < tasks_.size(); ++i) {
      UniqueFunction<void()> task = std::move(tasks_[i]);
      task();
    }
    tasks_.clear();
  }

 private:
  std::vector<UniqueFunction<void()>> tasks_;
};

Engine make_engine(Duration batch_time = {}, std::shared_ptr<Executor> everything = {}) {
  EngineOptions engine_options{.cache = {.memory = {.capacity_bytes = 0}}};
  engine_options.workers = engine_options.completions = std::move(everything);
  Engine engine = *Engine::create(std::move(engine_options));
  std::vector<Replica> set;
  set.push_back({std::make_unique<NoOpRunner>(batch_time), {}});
  ModelOptions options;
  options.batching.max_batch_size = 100;
  if (!engine.add_model("m", std::move(set), options)) std::abort();
  return engine;
}

Request request() { return {"", std::string("x"), {.cache = CacheMode::bypass}}; }

void report(benchmark::State& state, std::vector<double> times, const char* p50, const char* p99) {
  std::sort(times.begin(), times.end());
  if (times.empty()) return;
  state.counters[p50] = times[times.size() / 2];
  state.counters[p99] = times[times.size() * 99 / 100];
}

/// What an empty interval measures: so much of every time below is the timing itself.
double timer_ns() {
  std::vector<double> times(10'000);
  for (double& time : times) time = ns_since(SteadyClock::now());
  std::nth_element(times.begin(), times.begin() + 5000, times.end());
  return times[5000];
}

enum class Keys : std::int64_t { none, own };

Request numbered(Keys keys, int producer, int i) {
  Request one = request();
  if (keys == Keys::none) return one;
  one.input = std::to_string(producer) + ' ' + std::to_string(i);
  one.options.cache = CacheMode::use;
  return one;
}

/// `Engine::infer` while the only slot is busy, up to 1000 requests waiting, no other thread at work.
void submit_uncontended(benchmark::State& state) {
  const auto keys = static_cast<Keys>(state.range(0));
  const auto hand = std::make_shared<HandExecutor>();
  Engine engine = make_engine({}, hand);
  std::vector<double> times;
  int answered = 0;
  for (auto _ : state) {
    for (int i = 0; i < 1000; ++i) {
      Request one = numbered(keys, 0, i);
      const auto begin = SteadyClock::now();
      const auto accepted = engine.infer(std::move(one), [&answered](Result<Response>) { ++answered; });
      if (accepted && i > 0) times.push_back(ns_since(begin));
    }
    hand->run_all();
  }
  engine.drain(std::chrono::seconds(1));
  if (answered != 1000 * static_cast<int>(state.iterations())) state.SkipWithError("a request failed");
  report(state, std::move(times), "p50_ns", "p99_ns");
  state.counters["timer_ns"] = timer_ns();
}
BENCHMARK(submit_uncontended)
    ->ArgName("keyed")
    ->Arg(static_cast<std::int64_t>(Keys::none))
    ->Arg(static_cast<std::int64_t>(Keys::own))
    ->Iterations(200)
    ->Unit(benchmark::kMicrosecond);

/// `each` requests of one producer, with at most 4096 of all in flight; the times of `infer` alone.
/// With keys of their own, the input is hashed and a flight to join is looked for.
std::vector<double> produce(Engine& engine, std::atomic<int>& in_flight, Keys keys, int producer, int each) {
  std::vector<double> times;
  times.reserve(static_cast<std::size_t>(each));
  for (int i = 0; i < each; ++i) {
    while (in_flight.load() > 4096) std::this_thread::yield();
    Request one = numbered(keys, producer, i);
    ++in_flight;
    const auto begin = SteadyClock::now();
    const auto accepted = engine.infer(std::move(one), [&in_flight](Result<Response>) { --in_flight; });
    const double took = ns_since(begin);
    accepted ? times.push_back(took) : void(--in_flight);
  }
  return times;
}

/// `Engine::infer` by so many producers at a time into an engine that is warm. The model takes
/// `model_us` a batch of 100; one that takes no time competes with the producers for lock and cores.
void submit(benchmark::State& state) {
  const auto producers = static_cast<int>(state.range(0));
  const auto keys = static_cast<Keys>(state.range(1));
  const auto model = std::chrono::microseconds(state.range(2));
  constexpr int kEach = 40'000;
  std::vector<double> times;
  Engine engine = make_engine(model);
  std::atomic<int> in_flight{0};
  benchmark::DoNotOptimize(produce(engine, in_flight, keys, -1, 20'000));
  for (auto _ : state) {
    std::mutex mutex;
    std::vector<std::thread> threads;
    for (int t = 0; t < producers; ++t) {
      threads.emplace_back([&, t] {
        const std::vector<double> mine = produce(engine, in_flight, keys, t, kEach);
        const std::scoped_lock lock(mutex);
        times.insert(times.end(), mine.begin(), mine.end());
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  engine.drain(std::chrono::seconds(10));
  report(state, std::move(times), "p50_ns", "p99_ns");
}
BENCHMARK(submit)
    ->ArgNames({"producers", "keyed", "model_us"})
    ->ArgsProduct({{1, 8}, {static_cast<std::int64_t>(Keys::none), static_cast<std::int64_t>(Keys::own)}, {0, 500}})
    ->Iterations(3)
    ->Unit(benchmark::kMillisecond);

/// One request after the other, whole way: with the caller's thread as the leader of the batch, or
/// through a worker and the completion thread.
void answered(benchmark::State& state) {
  Engine engine = make_engine();
  const bool leads = state.range(0) != 0;
  std::vector<double> times;
  times.reserve(static_cast<std::size_t>(state.max_iterations));
  for (auto _ : state) {
    const auto begin = SteadyClock::now();
    const auto answer = leads ? engine.infer_and_wait(request()) : engine.infer_future(request()).get();
    times.push_back(ns_since(begin));
    if (!answer) state.SkipWithError("a request failed");
  }
  report(state, std::move(times), "p50_ns", "p99_ns");
}
BENCHMARK(answered)->ArgName("leader")->Arg(1)->Arg(0)->Iterations(100'000);

/// Heap allocations of a request from `infer_and_wait` to its answer, once all is warm.
void allocations_per_request(benchmark::State& state) {
  Engine engine = make_engine();
  for (int i = 0; i < 2000; ++i) benchmark::DoNotOptimize(engine.infer_and_wait(request()));
  allocations = 0;
  counting = true;
  for (auto _ : state) benchmark::DoNotOptimize(engine.infer_and_wait(request()));
  counting = false;
  state.counters["allocations"] = static_cast<double>(allocations.load()) / static_cast<double>(state.iterations());
}
BENCHMARK(allocations_per_request)->Iterations(20'000);

/// Context switches that threads of this process, this one aside, have gone through.
std::uint64_t switches_of_others() {
  std::uint64_t sum = 0;
  const auto own = std::filesystem::read_symlink("/proc/thread-self").filename();
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    if (task.path().filename() == own) continue;
    std::ifstream status(task.path() / "status");
    for (std::string word; status >> word;) {
      std::uint64_t count = 0;
      if (word.ends_with("ctxt_switches:") && status >> count) sum += count;
    }
  }
  return sum;
}

/// An engine that has answered a thousand requests and then has nothing to do for a while.
void idle_wake_ups(benchmark::State& state) {
  Engine engine = make_engine();
  for (int i = 0; i < 1000; ++i) benchmark::DoNotOptimize(engine.infer_future(request()).get());
  std::this_thread::sleep_for(std::chrono::seconds(3));  // the watch of the last batch rings once more
  const auto seconds = std::chrono::seconds(state.range(0));
  for (auto _ : state) {
    const std::uint64_t before = switches_of_others();
    std::this_thread::sleep_for(seconds);
    state.counters["wake_ups"] = static_cast<double>(switches_of_others() - before);
  }
}
BENCHMARK(idle_wake_ups)->ArgName("seconds")->Arg(60)->Iterations(1)->UseRealTime()->Unit(benchmark::kSecond);

/// How long after its deadline a request ends while the only replica is inside a batch of 1 s.
void expiry_error(benchmark::State& state) {
  std::vector<double> errors;
  for (auto _ : state) {
    Engine engine = make_engine(std::chrono::seconds(1));
    std::mutex mutex;
    if (!engine.infer(request(), [](auto) {})) std::abort();
    const auto clock = make_steady_clock();
    for (int i = 0; i < 400; ++i) {
      Request one = request();
      const TimePoint deadline = clock->now() + std::chrono::milliseconds(50) + i * std::chrono::microseconds(2000);
      one.options.deadline = deadline;
      const auto accepted = engine.infer(std::move(one), [&, deadline](Result<Response> result) {
        if (result || result.error().code() != ErrorCode::deadline_exceeded) return;
        const std::scoped_lock lock(mutex);
        errors.push_back(std::chrono::duration<double, std::nano>(clock->now() - deadline).count());
      });
      if (!accepted) std::abort();
    }
    engine.drain(std::chrono::seconds(10));
  }
  state.counters["ended"] = static_cast<double>(errors.size());
  report(state, std::move(errors), "p50_ns", "p99_ns");
}
BENCHMARK(expiry_error)->Iterations(3)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace

int main(int count, char** arguments) { return tidegate::bench::run(count, arguments); }
