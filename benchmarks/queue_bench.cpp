// What the scheduler core costs: per request, and per decision with a long queue.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

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

}  // namespace

BENCHMARK_MAIN();
