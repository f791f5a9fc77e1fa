// The core on virtual time over long traffic: bursts, retries, a day.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <random>
#include <vector>

#include "queue/scheduler_core.hpp"
#include "queue/scheduler_driver.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

constexpr Ticks kMilli = 1'000'000;
constexpr Ticks kSecond = 1'000 * kMilli;

/// Requests at a changing rate over a model that takes 2 ms a batch and 0.2 ms an item: at
/// most 16 items in 5.2 ms, 3077 a second.
class Traffic {
 public:
  static constexpr double kCapacity = 16 / 5.2e-3;

  struct Habits {
    Ticks patience = 0;    ///< of every request; 0 = no deadline
    bool retries = false;  ///< who is refused or late comes back, for as often as it takes
  };

  explicit Traffic(Habits habits, AdmissionOptions admission = {1'000'000, 1ULL << 40, 1ULL << 40})
      : habits_(habits), core_(batching(), admission, 1) {}

  /// Plays `length` of arrivals at `load` times the capacity; answers how many ended well.
  std::uint64_t play(double load, Ticks length) {
    const std::uint64_t before = in_time_;
    std::exponential_distribution<double> gap(load * kCapacity * 1e-9);
    const TimePoint end = now_ + Duration(length);
    const auto next_gap = [&] { return Duration(load > 0 ? static_cast<Ticks>(gap(random_)) + 1 : length + 1); };
    TimePoint arrival = now_ + next_gap();
    for (;;) {
      const TimePoint back = returning_.empty() ? kNoDeadline : returning_.front();
      now_ = std::max(now_, std::min({arrival, batch_end_, core_.next_wake(), back, end}));
      if (now_ >= end) return in_time_ - before;
      if (now_ >= batch_end_) {
        batch_end_ = kNoDeadline;
        core_.batch_done(now_, running_);
      } else if (now_ >= back) {
        returning_.pop_front();
        arrive();
      } else if (now_ >= arrival) {
        arrive();
        arrival = now_ + next_gap();
      } else {
        core_.advance(now_);
      }
      execute();
    }
  }

  [[nodiscard]] const SchedulerStats& stats() const { return core_.stats(); }
  [[nodiscard]] Duration worst_wait() const { return worst_wait_; }
  void forget_waits() { worst_wait_ = Duration(0); }
  [[nodiscard]] std::size_t memory() const { return records_.size() + returning_.size(); }

  /// Counters never fall, and together they tell where every request is.
  void check_counters() {
    const SchedulerStats& is = core_.stats();
    const std::vector<std::uint64_t> counters{is.accepted,     is.joined,        is.refused_full, is.refused_quota,
                                              is.refused_late, is.answered,      is.would_miss,   is.deadline_exceeded,
                                              is.batches,      is.batched_items, is.wasted_items, is.shed};
    for (std::size_t i = 0; i < counters_.size(); ++i) REQUIRE(counters[i] >= counters_[i]);
    counters_ = counters;
    REQUIRE(is.accepted == is.answered + is.would_miss + is.deadline_exceeded + is.shed + is.waiters);
  }

 private:
  struct Record {
    TimePoint arrival{};
  };

  static BatchingOptions batching() {
    BatchingOptions options;
    options.max_batch_size = 16;
    return options;
  }

  void arrive() {
    if (vacant_.empty()) {
      records_.emplace_back();
      vacant_.push_back(&records_.back());
    }
    Record& record = *vacant_.back();
    record.arrival = now_;
    Submission submission{&record, &record};
    submission.size.tokens = 1 + random_() % 60;
    if (habits_.patience > 0) submission.deadline = now_ + Duration(habits_.patience);
    if (core_.submit(now_, submission)) {
      vacant_.pop_back();
    } else {
      come_back();
    }
  }

  void come_back() {
    if (habits_.retries) returning_.push_back(now_ + Duration(20 * kMilli));
  }

  void execute() {
    const Commands commands = core_.take_commands();
    for (const Complete& one : commands.complete) {
      auto& record = *static_cast<Record*>(one.waiter);
      const Duration waited = now_ - record.arrival;
      const bool good = one.outcome == Outcome::answered;
      if (good) worst_wait_ = std::max(worst_wait_, waited);
      if (good) ++in_time_;
      if (!good) come_back();
      vacant_.push_back(&record);
    }
    for (const RunBatch& batch : commands.run) {
      std::normal_distribution<double> spread(1.0, 0.05);
      const double ns = (2e6 + 0.2e6 * static_cast<double>(batch.works.size())) * std::max(0.8, spread(random_));
      running_ = batch.id;
      batch_end_ = now_ + Duration(static_cast<Ticks>(ns));
    }
  }

  Habits habits_;
  SchedulerCore core_;
  std::mt19937_64 random_{47};
  TimePoint now_ = at(kSecond);
  std::deque<Record> records_;
  std::vector<Record*> vacant_;
  std::deque<TimePoint> returning_;
  BatchId running_{};
  TimePoint batch_end_ = kNoDeadline;
  std::uint64_t in_time_ = 0;
  Duration worst_wait_{0};
  std::vector<std::uint64_t> counters_;
};

}  // namespace

TEST_CASE("queue 4.13/46: after a burst of ten times the load the backlog is gone as soon as the model can") {
  Traffic traffic({});
  traffic.play(0.5, 2 * kSecond);
  traffic.play(5.0, kSecond);
  const double backlog = traffic.stats().queued_items;
  CHECK(backlog > 3 * Traffic::kCapacity);
  // At half load half the capacity is left for the backlog.
  const auto needed = static_cast<Ticks>(1.1 * backlog / (0.5 * Traffic::kCapacity) * 1e9);
  traffic.play(0.5, needed);
  CHECK(traffic.stats().queued_items <= 16);
  traffic.play(0.5, kSecond);
  traffic.forget_waits();
  traffic.play(0.5, 2 * kSecond);
  CHECK(traffic.worst_wait() < Duration(100 * kMilli));
}

TEST_CASE("queue 4.13/47: a storm of retries ends with its cause") {
  Traffic traffic({.patience = 50 * kMilli, .retries = true});
  const auto calm = static_cast<double>(traffic.play(0.7, 4 * kSecond));
  CHECK(calm > 0.95 * 0.7 * Traffic::kCapacity * 4);
  // While everybody who fails comes back twenty milliseconds later, the model stays useful.
  const auto storm = static_cast<double>(traffic.play(3.0, kSecond));
  CHECK(storm > 0.75 * Traffic::kCapacity);
  // Two seconds' worth of work has piled up among those who come back; at 0.7 of the capacity
  // it takes the rest of it to be worked off.
  traffic.play(0.7, 12 * kSecond);
  const auto after = static_cast<double>(traffic.play(0.7, 4 * kSecond));
  CHECK(after > 0.95 * calm);
  CHECK(after < 1.05 * calm);
}

TEST_CASE("queue 4.13/15, 78: through a day of traffic counters only grow, answers keep coming and memory stays") {
  Traffic traffic({.patience = 200 * kMilli});
  constexpr int kHours = 24;
  std::vector<double> answered;
  std::size_t memory = 0;
  for (int hour = 0; hour < kHours; ++hour) {
    std::uint64_t good = 0;
    // The hour stands for twelve seconds of each of five loads, one of them above capacity.
    for (const double load : {0.1, 0.6, 0.9, 1.3, 0.3}) {
      good += traffic.play(load, 12 * kSecond / 5);
      traffic.check_counters();
    }
    answered.push_back(static_cast<double>(good));
    if (hour == 3) memory = traffic.memory();
  }
  const auto mean_of = [&](int first, int last) {
    double sum = 0;
    for (int i = first; i < last; ++i) sum += answered[static_cast<std::size_t>(i)];
    return sum / (last - first);
  };
  CHECK(mean_of(16, 24) > 0.99 * mean_of(0, 8));
  CHECK(traffic.memory() <= memory + memory / 4);
}

TEST_CASE("queue 4.13/65: a slot that goes away while its batch runs loses nothing") {
  SchedulerCore core({.max_batch_size = 1}, {}, 2);
  int records[4] = {};
  for (int& record : records) REQUIRE(core.submit(at(1), {&record, &record}));
  Commands commands = core.take_commands();
  REQUIRE(commands.run.size() == 2);
  core.set_slots(at(2), 1);
  core.batch_done(at(3), commands.run[0].id);
  Commands next = core.take_commands();
  CHECK(next.complete.size() == 1);
  CHECK(next.run.empty());
  core.set_slots(at(4), 0);
  core.batch_done(at(5), commands.run[1].id);
  next = core.take_commands();
  CHECK(next.complete.size() == 1);
  CHECK(next.run.empty());
  core.set_slots(at(6), 1);
  for (int i = 0; i < 2; ++i) {
    next = core.take_commands();
    REQUIRE(next.run.size() == 1);
    core.batch_done(at(7), next.run[0].id);
  }
  CHECK(core.take_commands().complete.size() == 1);
  CHECK(core.stats().answered == 4);
  CHECK(core.stats().waiters == 0);
}
