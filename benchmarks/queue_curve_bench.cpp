// Load curves of the scheduler core on virtual time: the default decision beside no window and windows of 5, 10 and
// 50 ms with prediction off, under the same Poisson arrivals of mixed lengths.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <random>
#include <vector>

#include "queue/scheduler_core.hpp"

using namespace tidegate;

namespace {

constexpr double kBaseNs = 0.2e6;     // of a batch; these three are near MiniLM's at int8 on two cores
constexpr double kTokenNs = 0.032e6;  // of a token
constexpr double kSquareNs = 15;      // of a squared length
constexpr double kSpread = 0.05;      // of a batch's time
constexpr double kMeanTokens = 54;
constexpr double kSigma = 0.7;  // of the logarithm of the length
constexpr std::uint32_t kMostItems = 32;

TimePoint at(double seconds) { return TimePoint(Duration(static_cast<std::int64_t>(seconds * 1e9))); }

/// Items per second in full batches.
double capacity() {
  const double mean_square = kMeanTokens * kMeanTokens * std::exp(kSigma * kSigma);
  return 1e9 * kMostItems / (kBaseNs + kMostItems * (kTokenNs * kMeanTokens + kSquareNs * mean_square));
}

class Curve {
 public:
  explicit Curve(const BatchingOptions& batching) : core_(batching, {1'000'000, 1ULL << 50, 1ULL << 50}, 1) {}

  /// Plays arrivals of so many seconds until the last is answered.
  void run(double load, double seconds) {
    std::exponential_distribution<double> gap(load * capacity());
    double arrival = gap(random_);
    for (;;) {
      const TimePoint next = arrival < seconds ? at(arrival) : kNoDeadline;
      const TimePoint now = std::min({next, batch_end_, core_.next_wake()});
      if (now == kNoDeadline) return;
      if (now == batch_end_) {
        batch_end_ = kNoDeadline;
        core_.batch_done(now, running_);
      } else if (now == next) {
        submit(now);
        arrival += gap(random_);
      } else {
        core_.advance(now);
      }
      execute(now);
    }
  }

  void report(benchmark::State& state) {
    std::sort(latencies_ms_.begin(), latencies_ms_.end());
    const auto answers = static_cast<double>(latencies_ms_.size());
    state.counters["items_per_s"] = answers / (static_cast<double>(last_.time_since_epoch().count()) * 1e-9);
    state.counters["p50_ms"] = latencies_ms_[latencies_ms_.size() / 2];
    state.counters["p99_ms"] = latencies_ms_[latencies_ms_.size() * 99 / 100];
    state.counters["mean_batch"] = answers / batches_;
  }

 private:
  struct Item {
    TimePoint due;
    std::uint64_t tokens = 0;
  };

  void submit(TimePoint now) {
    std::lognormal_distribution<double> length(std::log(kMeanTokens) - kSigma * kSigma / 2, kSigma);
    items_.push_back({now, static_cast<std::uint64_t>(std::clamp(length(random_), 4.0, 250.0))});
    Submission submission{&items_.back(), &items_.back()};
    submission.size = {1, items_.back().tokens, 0};
    if (!core_.submit(now, submission)) std::abort();
  }

  void execute(TimePoint now) {
    const Commands commands = core_.take_commands();
    for (const Complete& one : commands.complete) {
      const Duration latency = now - static_cast<Item*>(one.waiter)->due;
      latencies_ms_.push_back(static_cast<double>(latency.count()) * 1e-6);
      last_ = now;
    }
    for (const RunBatch& batch : commands.run) {
      double ns = kBaseNs;
      for (void* const work : batch.works) {
        const auto tokens = static_cast<double>(static_cast<Item*>(work)->tokens);
        ns += kTokenNs * tokens + kSquareNs * tokens * tokens;
      }
      std::normal_distribution<double> spread(1.0, kSpread);
      running_ = batch.id;
      batch_end_ = now + Duration(static_cast<std::int64_t>(ns * std::max(0.5, spread(noise_))));
      ++batches_;
    }
  }

  SchedulerCore core_;
  std::mt19937_64 random_{1};
  std::mt19937_64 noise_{2};
  std::deque<Item> items_;  ///< whose addresses the core keeps
  std::vector<double> latencies_ms_;
  BatchId running_{};
  TimePoint batch_end_ = kNoDeadline;
  TimePoint last_{};
  double batches_ = 0;
};

/// `window_ms` -1: the default; else prediction is off, and a free slot waits so long for company.
void load_curve(benchmark::State& state) {
  BatchingOptions batching;
  batching.max_batch_size = kMostItems;
  if (state.range(0) >= 0) {
    batching.prediction = Prediction::off;
    batching.max_queue_delay = std::chrono::milliseconds(state.range(0));
  }
  const double load = static_cast<double>(state.range(1)) / 100;
  for (auto _ : state) {
    Curve curve(batching);
    curve.run(load, load < 1 ? 200 : 60);
    curve.report(state);
  }
}
BENCHMARK(load_curve)
    ->ArgNames({"window_ms", "load_percent"})
    ->ArgsProduct({{-1, 0, 5, 10, 50}, {50, 70, 80, 90, 95, 100, 120}})
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

}  // namespace
