// What the scheduler core costs: per request, and per decision with a long queue.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <random>
#include <vector>

#include "queue/latency_model.hpp"
#include "queue/scheduler_core.hpp"

using namespace tidegate;

namespace {

TimePoint at(std::int64_t ticks) { return TimePoint(Duration(ticks)); }

Digest key_of(std::uint64_t n) {
  Digest key{};
  n *= 0x9E3779B97F4A7C15ULL;
  for (std::size_t i = 0; i < 8; ++i) key[i] = static_cast<std::uint8_t>(n >> (8 * i));
  return key;
}

enum class Load : std::int64_t { plain, deadlines, keys };

/// Submit `batch` requests, run them together, complete them: items/s over all of it.
void submit_dispatch_complete(benchmark::State& state) {
  const auto batch = static_cast<std::uint32_t>(state.range(0));
  const auto load = static_cast<Load>(state.range(1));
  SchedulerCore core({batch, 1'000'000, Duration(0)}, {}, 1);
  int record = 0;
  std::uint64_t serial = 0;
  std::int64_t ticks = 0;
  BatchId running{};
  for (auto _ : state) {
    for (std::uint32_t i = 0; i < batch; ++i) {
      Submission submission{&record, &record};
      if (load == Load::deadlines) submission.deadline = at(ticks + 1'000'000'000);
      if (load == Load::keys) submission.key = key_of(++serial);
      benchmark::DoNotOptimize(core.submit(at(++ticks), submission));
    }
    core.batch_done(at(++ticks), running);
    Commands commands = core.take_commands();
    running = commands.run.empty() ? running : commands.run.back().id;
    benchmark::DoNotOptimize(commands);
  }
  state.SetItemsProcessed(state.iterations() * batch);
}
BENCHMARK(submit_dispatch_complete)
    ->ArgNames({"batch", "load"})
    ->ArgsProduct({{1, 100},
                   {static_cast<std::int64_t>(Load::plain), static_cast<std::int64_t>(Load::deadlines),
                    static_cast<std::int64_t>(Load::keys)}});

enum class Sizes : std::int64_t { equal, mixed };

/// One slot frees while `queued` requests wait: time to end a batch of 32 and form the next.
void decide_with_queue(benchmark::State& state) {
  const auto queued = static_cast<std::uint32_t>(state.range(0));
  const bool mixed = static_cast<Sizes>(state.range(1)) == Sizes::mixed;
  SchedulerCore core({32, 16'384, Duration(0)}, {queued + 64, 1ULL << 40, 1ULL << 40}, 1);
  int record = 0;
  std::uint32_t random = 1;
  const auto submit = [&] {
    Submission submission{&record, &record};
    random = random * 1664525 + 1013904223;
    submission.size.tokens = mixed ? 1 + (random >> 16) % 4096 : 64;
    submission.deadline = at(1'000'000'000'000'000 + (random >> 8));
    benchmark::DoNotOptimize(core.submit(at(1), submission));
  };
  while (core.stats().queued_items < queued) submit();
  BatchId running = core.take_commands().run.back().id;
  for (auto _ : state) {
    core.batch_done(at(2), running);
    Commands commands = core.take_commands();
    running = commands.run.back().id;
    benchmark::DoNotOptimize(commands);
    state.PauseTiming();
    while (core.stats().queued_items < queued) submit();
    state.ResumeTiming();
  }
}
BENCHMARK(decide_with_queue)
    ->ArgNames({"queued", "mixed"})
    ->ArgsProduct({{100, 10'000}, {static_cast<std::int64_t>(Sizes::equal), static_cast<std::int64_t>(Sizes::mixed)}});

/// The same decision, each timed by itself, for its tail.
void decision_tail(benchmark::State& state) {
  const auto queued = static_cast<std::uint32_t>(state.range(0));
  const bool mixed = static_cast<Sizes>(state.range(1)) == Sizes::mixed;
  SchedulerCore core({32, 16'384, Duration(0)}, {queued + 64, 1ULL << 40, 1ULL << 40}, 1);
  int record = 0;
  std::uint32_t random = 1;
  std::int64_t now = 1;
  BatchId running{};
  std::vector<double> times;
  for (auto _ : state) {
    while (core.stats().queued_items < queued) {
      Submission submission{&record, &record};
      random = random * 1664525 + 1013904223;
      submission.size.tokens = mixed ? 1 + (random >> 16) % 500 : 64;
      submission.deadline = at(1'000'000'000'000'000 + (random >> 8));
      benchmark::DoNotOptimize(core.submit(at(now), submission));
    }
    if (Commands commands = core.take_commands(); !commands.run.empty()) running = commands.run.back().id;
    now += 5'000'000;
    const auto begin = std::chrono::steady_clock::now();
    core.batch_done(at(now), running);
    Commands commands = core.take_commands();
    times.push_back(std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begin).count());
    running = commands.run.back().id;
  }
  std::sort(times.begin(), times.end());
  state.counters["p50_ns"] = times[times.size() / 2];
  state.counters["p99_ns"] = times[times.size() * 99 / 100];
}
BENCHMARK(decision_tail)
    ->ArgNames({"queued", "mixed"})
    ->ArgsProduct({{10'000}, {static_cast<std::int64_t>(Sizes::equal), static_cast<std::int64_t>(Sizes::mixed)}})
    ->Iterations(20'000);

/// One producer's submit into a core whose slots are all busy, each timed by itself.
void submit_tail(benchmark::State& state) {
  SchedulerCore core({32, 16'384, Duration(0)}, {}, 1);
  int record = 0;
  std::int64_t now = 1;
  std::vector<double> times;
  for (auto _ : state) {
    if (core.stats().queued_items >= 1000) {
      core.set_slots(at(++now), 1000);
      for (const RunBatch& batch : core.take_commands().run) core.batch_done(at(++now), batch.id);
      core.set_slots(at(++now), 0);
      benchmark::DoNotOptimize(core.take_commands());
    }
    const auto begin = std::chrono::steady_clock::now();
    benchmark::DoNotOptimize(core.submit(at(++now), {&record, &record}));
    times.push_back(std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begin).count());
  }
  std::sort(times.begin(), times.end());
  state.counters["p50_ns"] = times[times.size() / 2];
  state.counters["p99_ns"] = times[times.size() * 99 / 100];
}
BENCHMARK(submit_tail)->Iterations(200'000);

/// The price of saying no, and of a cancel in the middle of 10 000.
void refuse_when_full(benchmark::State& state) {
  SchedulerCore core({}, {}, 0);
  int record = 0;
  while (core.submit(at(1), {&record, &record})) continue;
  for (auto _ : state) benchmark::DoNotOptimize(core.submit(at(2), {&record, &record}));
}
BENCHMARK(refuse_when_full);

void cancel_and_resubmit_in_full_queue(benchmark::State& state) {
  SchedulerCore core({}, {}, 0);
  int record = 0;
  Submission submission{&record, &record};
  submission.deadline = at(1'000'000'000);
  std::vector<WaiterId> ids;
  for (;;) {
    const auto accepted = core.submit(at(1), submission);
    if (!accepted) break;
    ids.push_back(accepted->id);
  }
  std::size_t next = 0;
  for (auto _ : state) {
    next = (next + 7919) % ids.size();
    core.cancel(at(2), ids[next]);
    ids[next] = core.submit(at(2), submission)->id;
    benchmark::DoNotOptimize(core.take_commands());
  }
}
BENCHMARK(cancel_and_resubmit_in_full_queue);

enum class Policy : std::int64_t { learned, first_in_first_out };

/// A model on virtual time under Poisson arrivals that all want an answer within 50 ms.
/// A batch takes 2 ms and 0.2 ms an item, with a spread of a tenth: 3077 items/s at most.
class Overload {
 public:
  static constexpr double kCapacity = 16 / 5.2e-3;
  static constexpr Duration kPatience = std::chrono::milliseconds(50);

  explicit Overload(Policy policy) : policy_(policy), core_(batching(policy), {100'000, 1ULL << 40, 1ULL << 40}, 1) {}

  /// Answers within their deadline over what the model could have answered.
  double run(double load, Duration length) {
    std::exponential_distribution<double> gap(load * kCapacity * 1e-9);
    TimePoint arrival = at(0);
    while (arrival < at(0) + length) {
      const TimePoint now = std::min({arrival, batch_end_, core_.next_wake()});
      if (now == batch_end_) {
        batch_end_ = kNoDeadline;
        core_.batch_done(now, running_);
      } else if (now == arrival) {
        arrived_.push_back(arrival);
        Submission submission{&arrived_.back(), &arrived_.back()};
        if (policy_ == Policy::learned) submission.deadline = now + kPatience;
        benchmark::DoNotOptimize(core_.submit(now, submission));
        arrival += Duration(static_cast<std::int64_t>(gap(random_)) + 1);
      } else {
        core_.advance(now);
      }
      execute(now);
    }
    return static_cast<double>(in_time_) / (kCapacity * std::chrono::duration<double>(length).count());
  }

 private:
  static BatchingOptions batching(Policy policy) {
    BatchingOptions options;
    options.max_batch_size = 16;
    if (policy == Policy::first_in_first_out) options.prediction = Prediction::off;
    return options;
  }

  void execute(TimePoint now) {
    const Commands commands = core_.take_commands();
    for (const Complete& one : commands.complete) {
      const TimePoint arrived = *static_cast<TimePoint*>(one.waiter);
      in_time_ += one.outcome == Outcome::answered && now - arrived <= kPatience ? 1 : 0;
    }
    for (const RunBatch& batch : commands.run) {
      std::normal_distribution<double> spread(1.0, 0.1);
      const double ns = (2e6 + 0.2e6 * static_cast<double>(batch.works.size())) * std::max(0.5, spread(random_));
      running_ = batch.id;
      batch_end_ = now + Duration(static_cast<std::int64_t>(ns));
    }
  }

  Policy policy_;
  SchedulerCore core_;
  std::mt19937_64 random_{11};
  std::deque<TimePoint> arrived_;
  BatchId running_{};
  TimePoint batch_end_ = kNoDeadline;
  std::uint64_t in_time_ = 0;
};

void goodput_under_overload(benchmark::State& state) {
  const double load = static_cast<double>(state.range(1)) / 100;
  double goodput = 0;
  for (auto _ : state) {
    Overload overload(static_cast<Policy>(state.range(0)));
    goodput = overload.run(load, std::chrono::seconds(20));
  }
  state.counters["goodput_of_capacity"] = goodput;
}
BENCHMARK(goodput_under_overload)
    ->ArgNames({"fifo", "load_percent"})
    ->ArgsProduct({{static_cast<std::int64_t>(Policy::learned), static_cast<std::int64_t>(Policy::first_in_first_out)},
                   {80, 100, 150}})
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

/// What one prediction costs, with everything learned.
void predict(benchmark::State& state) {
  LatencyModel model(BatchLayout::packed);
  BatchShape shape;
  for (std::uint64_t i = 0; i < 200; ++i) {
    shape.add({1, 1 + i % 60, 0});
    model.learn(1, shape, Duration(static_cast<std::int64_t>(100'000 + 9000 * shape.tokens)));
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(model.mean(1, shape));
    benchmark::ClobberMemory();
  }
}
BENCHMARK(predict);

void learn(benchmark::State& state) {
  LatencyModel model(BatchLayout::packed);
  std::uint64_t i = 0;
  for (auto _ : state) {
    const BatchShape shape = BatchShape::of({1 + static_cast<std::uint32_t>(++i % 32), 32 + i % 999, 0});
    model.learn(1, shape, Duration(static_cast<std::int64_t>(100'000 + 9000 * shape.tokens)));
  }
}
BENCHMARK(learn);

}  // namespace

BENCHMARK_MAIN();
