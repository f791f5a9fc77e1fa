// What the scheduler core costs: per request, and per decision with a long queue.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <random>
#include <vector>

#include "benchmark_main.hpp"
#include "queue/batch_shape.hpp"
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

enum class Decision : std::int64_t { equal_lengths, mixed_lengths, mixed_lengths_padded };

/// The same decision, each timed by itself, for its tail. The model takes 2 ms a batch and 9 us
/// a computed token.
void decision_tail(benchmark::State& state) {
  const auto queued = static_cast<std::uint32_t>(state.range(0));
  const auto kind = static_cast<Decision>(state.range(1));
  const auto layout = kind == Decision::mixed_lengths_padded ? BatchLayout::padded : BatchLayout::packed;
  SchedulerCore core({32, 16'384, Duration(0)}, {queued + 64, 1ULL << 40, 1ULL << 40}, 1, layout);
  std::deque<ItemSize> sizes;
  std::uint32_t random = 1;
  std::int64_t now = 1;
  RunBatch running;
  std::vector<double> times;
  for (auto _ : state) {
    while (core.stats().queued_items < queued) {
      random = random * 1664525 + 1013904223;
      sizes.push_back({1, kind == Decision::equal_lengths ? 64 : 1 + (random >> 16) % 500, 0});
      Submission submission{&sizes.back(), &sizes.back(), sizes.back()};
      submission.deadline = at(1'000'000'000'000'000 + (random >> 8));
      benchmark::DoNotOptimize(core.submit(at(now), submission));
    }
    if (Commands commands = core.take_commands(); !commands.run.empty()) running = std::move(commands.run.back());
    BatchShape shape;
    for (void* one : running.works) shape.add(*static_cast<ItemSize*>(one));
    now += 2'000'000 + static_cast<std::int64_t>(9e3 * shape.computed_tokens(layout));
    const auto begin = std::chrono::steady_clock::now();
    core.batch_done(at(now), running.id);
    Commands commands = core.take_commands();
    times.push_back(std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begin).count());
    running = std::move(commands.run.back());
  }
  std::sort(times.begin(), times.end());
  state.counters["p50_ns"] = times[times.size() / 2];
  state.counters["p99_ns"] = times[times.size() * 99 / 100];
  const auto decisions = core.decisions();
  const auto cut = std::count_if(decisions.begin(), decisions.end(), [](const auto& one) { return one.cut_items > 0; });
  state.counters["cut_percent"] = 100 * static_cast<double>(cut) / static_cast<double>(decisions.size());
}
BENCHMARK(decision_tail)
    ->ArgNames({"queued", "kind"})
    ->ArgsProduct({{10'000},
                   {static_cast<std::int64_t>(Decision::equal_lengths),
                    static_cast<std::int64_t>(Decision::mixed_lengths),
                    static_cast<std::int64_t>(Decision::mixed_lengths_padded)}})
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

/// A model on virtual time that always has so many requests waiting, of lengths as a search
/// engine's: seven of ten are queries, the others passages. Per batch `base_ns`, per
/// computed token 9 us, per computed square 12 ns, per row 15 us.
class Mixture {
 public:
  Mixture(BatchLayout layout, Grouping grouping, std::uint32_t waiting, double base_ns)
      : layout_(layout),
        waiting_(waiting),
        base_ns_(base_ns),
        core_(batching(grouping), {200'000, 1ULL << 40, 1ULL << 40}, 1, layout) {}

  /// Milliseconds of the model for 1000 requests.
  double run(std::uint32_t requests) {
    work(20'000);
    busy_ns_ = 0;
    const std::uint64_t before = core_.stats().answered;
    work(requests);
    return busy_ns_ / 1e6 / static_cast<double>(core_.stats().answered - before) * 1000;
  }
  /// Of the batches remembered, those that were cut by length.
  [[nodiscard]] double share_cut() const {
    const auto decisions = core_.decisions();
    const auto cut =
        std::count_if(decisions.begin(), decisions.end(), [](const auto& one) { return one.cut_items > 0; });
    return static_cast<double>(cut) / static_cast<double>(decisions.size());
  }

 private:
  static BatchingOptions batching(Grouping grouping) {
    BatchingOptions options;
    options.grouping = grouping;
    return options;
  }

  std::uint64_t draw_tokens() {
    std::lognormal_distribution<double> query(2.5, 0.5);
    std::lognormal_distribution<double> passage(4.9, 0.6);
    const double tokens = random_() % 10 < 7 ? query(random_) : passage(random_);
    return static_cast<std::uint64_t>(std::clamp(tokens, 3.0, 512.0));
  }

  void work(std::uint32_t requests) {
    const std::uint64_t until = core_.stats().answered + requests;
    while (core_.stats().answered < until) {
      while (core_.stats().queued_items < waiting_) {
        sizes_.push_back({1, draw_tokens(), 0});
        benchmark::DoNotOptimize(core_.submit(now_, {&sizes_.back(), &sizes_.back(), sizes_.back()}));
      }
      Commands commands = core_.take_commands();
      if (!commands.run.empty()) running_ = std::move(commands.run.back());
      BatchShape shape;
      for (void* one : running_.works) shape.add(*static_cast<ItemSize*>(one));
      const double ns = base_ns_ + 9e3 * shape.computed_tokens(layout_) + 12 * shape.computed_squares(layout_) +
                        15e3 * static_cast<double>(shape.rows);
      busy_ns_ += ns;
      now_ += Duration(static_cast<std::int64_t>(ns));
      core_.batch_done(now_, running_.id);
    }
  }

  BatchLayout layout_;
  std::uint32_t waiting_;
  double base_ns_;
  SchedulerCore core_;
  std::mt19937_64 random_{5};
  std::deque<ItemSize> sizes_;
  RunBatch running_;
  TimePoint now_ = at(0);
  double busy_ns_ = 0;
};

void length_mixture(benchmark::State& state) {
  const auto layout = static_cast<BatchLayout>(state.range(0));
  const auto waiting = static_cast<std::uint32_t>(state.range(1));
  const double base_ns = static_cast<double>(state.range(2)) * 1e3;
  double nearest = 0;
  double cut = 0;
  double share = 0;
  for (auto _ : state) {
    nearest = Mixture(layout, Grouping::nearest, waiting, base_ns).run(100'000);
    Mixture by_length(layout, Grouping::by_length, waiting, base_ns);
    cut = by_length.run(100'000);
    share = by_length.share_cut();
  }
  state.counters["ms_nearest"] = nearest;
  state.counters["ms_by_length"] = cut;
  state.counters["saved_percent"] = 100 * (1 - cut / nearest);
  state.counters["cut_percent"] = 100 * share;
}
BENCHMARK(length_mixture)
    ->ArgNames({"padded", "waiting", "base_us"})
    ->ArgsProduct({{static_cast<std::int64_t>(BatchLayout::packed), static_cast<std::int64_t>(BatchLayout::padded)},
                   {100, 1000},
                   {200, 2000, 5000}})
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

int main(int count, char** arguments) { return tidegate::bench::run(count, arguments); }
