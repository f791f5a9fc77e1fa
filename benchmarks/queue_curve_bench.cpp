// Load curves of the scheduler core on virtual time: the default decision beside no window and windows of 5, 10 and
// 50 ms with prediction off, under the same Poisson arrivals of mixed lengths, drawn anew for each of 64 histories.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <random>
#include <string>
#include <utility>
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
constexpr std::uint64_t kHistories = 64;
constexpr double kStudent95 = 1.998;  // for the mean of that many

TimePoint at(double seconds) { return TimePoint(Duration(static_cast<std::int64_t>(seconds * 1e9))); }

/// Items per second in full batches.
double capacity() {
  const double mean_square = kMeanTokens * kMeanTokens * std::exp(kSigma * kSigma);
  return 1e9 * kMostItems / (kBaseNs + kMostItems * (kTokenNs * kMeanTokens + kSquareNs * mean_square));
}

struct Figures {
  double items_per_s, p50_ms, p99_ms, mean_batch;
};

class Curve {
 public:
  Curve(const BatchingOptions& batching, std::uint64_t history)
      : core_(batching, {1'000'000, 1ULL << 50, 1ULL << 50}, 1), random_(2 * history), noise_(2 * history + 1) {}

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

  [[nodiscard]] Figures figures() {
    std::sort(latencies_ms_.begin(), latencies_ms_.end());
    const auto answers = static_cast<double>(latencies_ms_.size());
    return {answers / (static_cast<double>(last_.time_since_epoch().count()) * 1e-9),
            latencies_ms_[latencies_ms_.size() / 2], latencies_ms_[latencies_ms_.size() * 99 / 100],
            answers / batches_};
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
  std::mt19937_64 random_;
  std::mt19937_64 noise_;
  std::deque<Item> items_;  ///< whose addresses the core keeps
  std::vector<double> latencies_ms_;
  BatchId running_{};
  TimePoint batch_end_ = kNoDeadline;
  TimePoint last_{};
  double batches_ = 0;
};

/// `window_ms` -1: the default; else prediction is off, and a free slot waits so long for company.
BatchingOptions batching_of(std::int64_t window_ms) {
  BatchingOptions batching;
  batching.max_batch_size = kMostItems;
  if (window_ms >= 0) {
    batching.prediction = Prediction::off;
    batching.max_queue_delay = std::chrono::milliseconds(window_ms);
  }
  return batching;
}

Figures play(std::int64_t window_ms, double load, std::uint64_t history) {
  Curve curve(batching_of(window_ms), history);
  curve.run(load, load < 1 ? 200 : 60);
  return curve.figures();
}

/// Geometric mean, and how far the true one may be from it (95 %), as a factor.
struct Mean {
  double value, factor;
};

Mean mean_of(const std::vector<double>& values) {
  const auto count = static_cast<double>(values.size());
  double sum = 0;
  double squares = 0;
  for (const double value : values) sum += std::log(value);
  for (const double value : values) squares += std::pow(std::log(value) - sum / count, 2);
  return {std::exp(sum / count), std::exp(kStudent95 * std::sqrt(squares / (count - 1) / count))};
}

/// Geometric means over the histories; and the default over the window, history by history.
void load_curve(benchmark::State& state) {
  const double load = static_cast<double>(state.range(1)) / 100;
  const std::int64_t window = state.range(0);
  constexpr std::array kNames{std::pair("items_per_s", &Figures::items_per_s), std::pair("p50_ms", &Figures::p50_ms),
                              std::pair("p99_ms", &Figures::p99_ms), std::pair("mean_batch", &Figures::mean_batch)};
  for (auto _ : state) {
    std::vector<Figures> own;
    std::vector<Figures> standard;
    for (std::uint64_t history = 1; history <= kHistories; ++history) {
      own.push_back(play(window, load, history));
      standard.push_back(window < 0 ? own.back() : play(-1, load, history));
    }
    for (const auto& [name, member] : kNames) {
      std::vector<double> values;
      std::vector<double> ratios;
      for (std::size_t i = 0; i < own.size(); ++i) {
        values.push_back(own[i].*member);
        ratios.push_back(standard[i].*member / (own[i].*member));
      }
      state.counters[name] = mean_of(values).value;
      if (window < 0) continue;
      const Mean ratio = mean_of(ratios);
      state.counters[std::string(name) + "_default_over_this"] = ratio.value;
      state.counters[std::string(name) + "_default_over_this_plus_minus"] = ratio.value * (ratio.factor - 1);
    }
  }
}
BENCHMARK(load_curve)
    ->ArgNames({"window_ms", "load_percent"})
    ->ArgsProduct({{-1, 0, 5, 10, 50}, {50, 70, 80, 90, 95, 100, 120}})
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

}  // namespace
