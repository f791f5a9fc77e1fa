// Random traffic with everything switched on: what holds for every batch, whatever decided it.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "queue/scheduler_driver.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint32_t kWorlds = 100;
#else
constexpr std::uint32_t kWorlds = 1'000;
#endif
constexpr int kEvents = 1'000;
constexpr Ticks kMilli = 1'000'000;

/// A model with a cost of its own, and traffic of classes, tenants, signatures and deadlines. The
/// driver holds every command against the promises; the world adds what the queue is by design.
class World {
 public:
  explicit World(std::uint32_t seed) : random_(seed), driver_(draw_setup()) {
    mixed_ = pick(0, 1) == 0;
    base_ = pick(0, 4) * kMilli;
    per_token_ = pick(1, 20) * 1'000;
    per_row_ = pick(0, 300) * 1'000;
    lengths_ = pick(0, 2);
    // Long enough for a queue to stand, in one world of sixteen.
    stands_ = seed % 16 == 0;
    events_ = stands_ ? 8 * kEvents : kEvents;
    mixed_ = mixed_ || stands_;
  }

  void run() {
    for (int i = 0; i < events_; ++i) {
      step();
      check();
    }
    driver_.finish_all();
  }

  [[nodiscard]] const SchedulerDriver& driver() const { return driver_; }

 private:
  std::uint32_t pick(std::uint32_t low, std::uint32_t high) { return low + random_() % (high - low + 1); }

  Setup draw_setup() {
    Setup setup;
    setup.batching.max_batch_size = pick(2, 16);
    setup.batching.max_batch_tokens = pick(300, 3000);
    setup.batching.max_batch_bytes = pick(0, 1) == 0 ? 1ULL << 30 : 3000;
    setup.batching.max_queue_delay = Duration(pick(0, 2) == 0 ? pick(1, 5) * kMilli : 0);
    if (pick(0, 2) == 0) {
      for (std::uint32_t size = pick(1, 3); size <= setup.batching.max_batch_size; size += pick(1, 6)) {
        setup.batching.allowed_batch_sizes.push_back(size);
      }
    }
    if (pick(0, 1) == 0) setup.admission.max_standing_delay = Duration(pick(1, 20) * kMilli);
    setup.admission.max_queued_items = pick(20, 300);
    setup.layout = pick(0, 2) == 0 ? BatchLayout::packed : BatchLayout::padded;
    setup.slots = pick(1, 3);
    return setup;
  }

  void step() {
    driver_.last = {};
    const std::uint32_t roll = pick(0, 99);
    if (roll < 84 || driver_.requests.empty()) {
      submit();
    } else if (roll < 87) {
      driver_.cancel(pick(0, static_cast<std::uint32_t>(driver_.requests.size()) - 1));
    } else {
      finish();
    }
  }

  void submit() {
    std::uint64_t length = pick(1, 60);
    if (lengths_ == 1) length = pick(0, 3) == 0 ? pick(100, 200) : pick(5, 20);
    if (lengths_ == 2) length = 30;
    const ItemSize size{pick(0, 9) == 0 ? 2U : 1U, length, pick(0, 500)};
    const Deadline deadline = !stands_ && pick(0, 2) == 0 ? driver_.now + Duration(pick(0, 60) * kMilli) : kNoDeadline;
    Who who{Priority::interactive, 0, pick(0, 19) == 0 ? 1U : 0U};
    if (mixed_) who = {static_cast<Priority>(pick(0, 2)), static_cast<std::uint8_t>(pick(0, 2)), who.signature};
    driver_.submit(size, deadline, {}, who);
  }

  /// Time passes until the oldest running batch is done, or what waits alone for company starts.
  void finish() {
    for (std::uint32_t i = 0; i < driver_.batches.size(); ++i) {
      if (driver_.batches[i].done) continue;
      std::uint64_t rows = 0;
      std::uint64_t tokens = 0;
      for (const std::uint32_t work : driver_.batches[i].works) {
        rows += driver_.works[work].size.rows;
        tokens += driver_.works[work].size.tokens;
      }
      driver_.now += Duration(base_ + per_token_ * static_cast<Ticks>(tokens) + per_row_ * static_cast<Ticks>(rows));
      driver_.done(i);
      return;
    }
    driver_.advance(pick(1, 5) * kMilli);
  }

  void check() {
    const SchedulerStats& stats = driver_.core.stats();
    const bool free = stats.running_batches < driver_.setup.slots;
    if (driver_.setup.batching.max_queue_delay == Duration(0) && free && stats.queued_items > 0) {
      FAIL("somebody waits though a slot is free");
    }
    if (!free) return;
    for (const SchedulerDriver::Work& work : driver_.works) {
      const bool waits = work.place == SchedulerDriver::Work::Place::queued;
      if (waits && driver_.now >= work.arrival + driver_.setup.batching.max_queue_delay) {
        FAIL("somebody has waited longer than max_queue_delay though a slot is free");
      }
    }
  }

  std::mt19937 random_;
  SchedulerDriver driver_;
  int events_ = 0;
  bool stands_ = false;  ///< nobody has a deadline, so that only CoDel keeps the queue short
  Ticks base_ = 0, per_token_ = 0, per_row_ = 0;
  std::uint32_t lengths_ = 0;
  bool mixed_ = false;  ///< classes and tenants
};

}  // namespace

TEST_CASE("queue 4.13/3, 4, 8, 9, 10, 14: random traffic with every rule on keeps what is promised of each batch") {
  std::uint64_t cut = 0;
  std::uint64_t filled_up = 0;
  std::uint64_t newest_first = 0;
  std::uint64_t would_miss = 0;
  std::uint64_t learned = 0;
  for (std::uint32_t seed = 1; seed <= kWorlds; ++seed) {
    CAPTURE(seed);
    World world(seed);
    world.run();
    for (const BatchDecision& one : world.driver().core.decisions()) {
      cut += one.cut_items > 0 ? 1 : 0;
      filled_up += one.filler_rows > 0 ? 1 : 0;
      newest_first += one.newest_first ? 1 : 0;
      learned += one.predicted > Duration(0) ? 1 : 0;
    }
    would_miss += world.driver().core.stats().would_miss;
  }
  // The traffic is worth its name only if each rule decides among it.
  for (const std::uint64_t count : {cut, filled_up, would_miss, learned}) CHECK(count > kWorlds / 10);
  CHECK(newest_first >= kWorlds / 1000);  // seldom: too few worlds under a sanitizer
}

TEST_CASE("queue 4.13/19: with every rule on, equal traffic gives equal batches") {
  for (std::uint32_t seed = 1; seed <= 40; ++seed) {
    World first(seed);
    World second(seed);
    first.run();
    second.run();
    REQUIRE(first.driver().batches.size() == second.driver().batches.size());
    for (std::size_t i = 0; i < first.driver().batches.size(); ++i) {
      REQUIRE(first.driver().batches[i].works == second.driver().batches[i].works);
    }
  }
}
