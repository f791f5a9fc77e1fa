// How good the refusals of doomed deadlines are, told on a trace: precision and recall.
#include <doctest/doctest.h>

#include <algorithm>
#include <deque>
#include <random>

#include "queue/scheduler_core.hpp"
#include "queue/scheduler_driver.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

constexpr Ticks kMilli = 1'000'000;
/// The class target of interactive requests: with it, one without a deadline stands where one
/// with a deadline would.
constexpr Duration kPatience = std::chrono::milliseconds(100);

/// Poisson arrivals whose rate changes every quarter second, over a model that takes 2 ms a batch and
/// 0.2 ms an item, give or take a twentieth. Of those refused every twentieth is let in all the
/// same, without a deadline, to see when it would have been answered.
class Trace {
 public:
  struct Verdicts {
    std::vector<double> of_patience;  ///< what those took that were refused and let in, over the patience
    int refused = 0;
    int late = 0;  ///< accepted, and not answered in time
    int in_time = 0;
  };

  Verdicts play(Duration length) {
    TimePoint arrival = at(0);
    while (arrival < at(0) + length) {
      now_ = std::max(now_, std::min({arrival, batch_end_, core_.next_wake()}));
      if (now_ >= batch_end_) {
        batch_end_ = kNoDeadline;
        core_.batch_done(now_, running_);
      } else if (now_ >= arrival) {
        arrive(arrival);
        arrival += next_gap(arrival);
      } else {
        core_.advance(now_);
      }
      execute();
    }
    return verdicts_;
  }

 private:
  struct Record {
    TimePoint arrival{};
    bool probe = false;
  };

  Duration next_gap(TimePoint now) {
    const double loads[] = {0.5, 0.9, 1.6, 1.1, 0.3, 2.5, 0.8};
    const auto quarter = static_cast<std::size_t>(now.time_since_epoch() / std::chrono::milliseconds(250));
    const double capacity = 16 / 5.2e6;
    std::exponential_distribution<double> gap(loads[quarter % std::size(loads)] * capacity);
    return Duration(static_cast<Ticks>(gap(random_)) + 1);
  }

  void arrive(TimePoint now) {
    records_.push_back({now, false});
    Submission submission{&records_.back(), &records_.back()};
    submission.size.tokens = 1 + random_() % 60;
    submission.deadline = now + kPatience;
    if (core_.submit(now_, submission)) return;
    if (++verdicts_.refused % 20 != 0) return;
    records_.back().probe = true;
    submission.deadline = kNoDeadline;
    REQUIRE(core_.submit(now_, submission));
  }

  void execute() {
    const Commands commands = core_.take_commands();
    for (const Complete& one : commands.complete) {
      const auto& record = *static_cast<Record*>(one.waiter);
      const bool late = one.outcome != Outcome::answered || now_ - record.arrival > kPatience;
      if (record.probe) {
        verdicts_.of_patience.push_back(std::chrono::duration<double>(now_ - record.arrival) / kPatience);
      } else {
        ++(late ? verdicts_.late : verdicts_.in_time);
      }
    }
    for (const RunBatch& batch : commands.run) {
      std::normal_distribution<double> spread(1.0, 0.05);
      const double ns = (2e6 + 0.2e6 * static_cast<double>(batch.works.size())) * std::max(0.8, spread(random_));
      running_ = batch.id;
      batch_end_ = now_ + Duration(static_cast<Ticks>(ns));
    }
  }

  static BatchingOptions batching() {
    BatchingOptions options;
    options.max_batch_size = 16;
    return options;
  }

  SchedulerCore core_{batching(), {100'000, 1ULL << 40, 1ULL << 40}, 1};
  std::mt19937_64 random_{42};
  std::deque<Record> records_;
  TimePoint now_ = at(0);
  BatchId running_{};
  TimePoint batch_end_ = kNoDeadline;
  Verdicts verdicts_;
};

}  // namespace

TEST_CASE("queue 4.13/42: on a trace nearly all who would be late are refused, and nobody with much time to spare") {
  const Trace::Verdicts verdicts = Trace().play(std::chrono::seconds(60));
  REQUIRE(verdicts.refused > 5'000);
  REQUIRE(verdicts.of_patience.size() > 200);
  REQUIRE(verdicts.in_time > 50'000);
  const double recall = static_cast<double>(verdicts.refused) / (verdicts.refused + verdicts.late);
  CHECK(recall > 0.98);
  // Refusals hold the queue where a newcomer would take just his patience. The time that one
  // batch in twenty takes longer, and a tenth against flapping, are held back on purpose.
  const auto precise =
      std::count_if(verdicts.of_patience.begin(), verdicts.of_patience.end(), [](double took) { return took > 0.85; });
  // Precision in the strict sense, of refused ones let in alone: 4.4 % of them really miss, for a queue
  // that refusals hold just below the patience answers one more just in time. What the others come to is told
  // by the 98 % above 0.85 of it. The figure is held here, so that a change of the margins shows.
  const auto missed =
      std::count_if(verdicts.of_patience.begin(), verdicts.of_patience.end(), [](double took) { return took > 1; });
  const double precision = static_cast<double>(missed) / static_cast<double>(verdicts.of_patience.size());
  CHECK(precision > 0.02);
  CHECK(precision < 0.10);
  CHECK(static_cast<double>(precise) > 0.98 * static_cast<double>(verdicts.of_patience.size()));
}
