// Random schedules: the core against the reference model, event by event.
#include <doctest/doctest.h>

#include <cstdlib>
#include <random>

#include "queue/reference_model.hpp"
#include "queue/scheduler_driver.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint32_t kSchedules = 6'000;
#else
constexpr std::uint32_t kSchedules = 120'000;
#endif
constexpr int kEvents = 30;

/// TIDEGATE_SCHEDULES in the environment asks for a longer run.
std::uint32_t schedules() {
  const char* const asked = std::getenv("TIDEGATE_SCHEDULES");
  return asked != nullptr ? static_cast<std::uint32_t>(std::strtoul(asked, nullptr, 10)) : kSchedules;
}

using Answer = ReferenceModel::Answer;

class Schedule {
 public:
  explicit Schedule(std::uint32_t seed) : random_(seed), setup_(draw_setup()), driver_(setup_), model_(setup_) {}

  void run() {
    for (int i = 0; i < kEvents; ++i) step();
    if (pick(0, 2) == 0) {
      model_.fail_remaining(driver_.now);
      driver_.fail_remaining();
      compare();
    }
    const std::uint64_t wasted_before = driver_.core.stats().wasted_items;
    if (wasted_before != model_.wasted) FAIL("wasted_items differs from the model");
    driver_.finish_all();
  }

  [[nodiscard]] const std::vector<SchedulerDriver::Running>& batches() const { return driver_.batches; }
  [[nodiscard]] const SchedulerStats& stats() const { return driver_.core.stats(); }

 private:
  std::uint32_t pick(std::uint32_t low, std::uint32_t high) { return low + random_() % (high - low + 1); }

  Setup draw_setup() {
    Setup setup;
    setup.batching.max_batch_size = pick(1, 6);
    setup.batching.max_batch_tokens = pick(1, 12);
    setup.batching.max_queue_delay = Duration(pick(0, 1) == 0 ? 0 : pick(1, 8));
    setup.admission.max_queued_items = pick(1, 8);
    setup.admission.max_queued_tokens = pick(4, 40);
    setup.admission.max_queued_bytes = pick(4, 40);
    setup.batching.prediction = Prediction::off;
    setup.batching.interactive_floor = pick(0, 2) * 25;
    setup.batching.batch_floor = pick(0, 2) * 10;
    setup.batching.max_class_wait = Duration(pick(1, 20));
    setup.admission.max_tenant_share = 100;
    setup.slots = pick(0, 3);
    return setup;
  }

  Deadline draw_deadline() {
    if (pick(0, 2) == 0) return kNoDeadline;
    return driver_.now + Duration(static_cast<Ticks>(pick(0, 14)) - 2);
  }

  Who draw_who() {
    if (pick(0, 1) == 0) return {};
    return {static_cast<Priority>(pick(0, 2)), static_cast<std::uint8_t>(pick(0, 2))};
  }

  void step() {
    driver_.last = {};
    driver_.now += Duration(pick(0, 3) == 0 ? pick(1, 3) : 0);
    const std::uint32_t roll = pick(0, 99);
    if (roll < 45) {
      submit();
    } else if (roll < 52) {
      const auto key = static_cast<std::uint8_t>(pick(0, 3));
      const Deadline deadline = draw_deadline();
      const Priority priority = draw_who().priority;
      const bool joined = driver_.join(key, deadline, priority);
      if (joined != model_.join(driver_.now, key, deadline, priority)) FAIL("join differs");
    } else if (roll < 64) {
      if (!driver_.requests.empty()) cancel();
    } else if (roll < 74) {
      driver_.advance(pick(0, 5));
      model_.advance(driver_.now);
    } else if (roll < 92) {
      if (!driver_.batches.empty()) finish_batch();
    } else if (roll < 97) {
      const std::uint32_t slots = pick(0, 3);
      driver_.set_slots(slots);
      model_.set_slots(driver_.now, slots);
    } else if (roll < 99) {
      if (pick(0, 3) != 0) return;
      driver_.begin_drain();
      model_.begin_drain(driver_.now);
    } else {
      if (pick(0, 3) != 0) return;
      driver_.fail_remaining();
      model_.fail_remaining(driver_.now);
    }
    compare();
  }

  void submit() {
    const ItemSize size{pick(0, 3) != 0 ? 1 : pick(1, 7), pick(1, 7), pick(0, 9)};
    std::optional<std::uint8_t> key;
    if (pick(0, 1) == 0) key = static_cast<std::uint8_t>(pick(0, 3));
    const Deadline deadline = draw_deadline();
    const Who who = draw_who();
    const bool accepted = driver_.submit(size, deadline, key, who);
    Answer answer = Answer::accepted;
    if (accepted && driver_.requests.back().joined) answer = Answer::joined;
    if (!accepted) {
      switch (driver_.refusal->code()) {
        case ErrorCode::too_large: answer = Answer::too_large; break;
        case ErrorCode::queue_full: answer = Answer::queue_full; break;
        case ErrorCode::shutting_down: answer = Answer::shutting_down; break;
        default: FAIL("a refusal has one of three codes");
      }
    }
    if (model_.submit(driver_.now, size, deadline, key, who) != answer) FAIL("submit differs");
  }

  void cancel() {
    const std::uint32_t request = pick(0, static_cast<std::uint32_t>(driver_.requests.size()) - 1);
    if (driver_.cancel(request) != model_.cancel(driver_.now, request)) FAIL("cancel differs");
  }

  void finish_batch() {
    const auto count = static_cast<std::uint32_t>(driver_.batches.size());
    // Mostly a recent one; now and then one that may have been done long ago.
    const std::uint32_t batch = pick(0, 4) == 0 ? pick(0, count - 1) : count - 1 - pick(0, std::min(count - 1, 2u));
    driver_.done(batch);
    model_.done(driver_.now, batch);
  }

  void compare() { expect_equal(driver_.last, model_.take()); }

  std::mt19937 random_;
  Setup setup_;
  SchedulerDriver driver_;
  ReferenceModel model_;
};

}  // namespace

TEST_CASE("queue 4.13/1-3, 14, 16, 17: random schedules have exactly the effects of the reference model") {
  SchedulerStats sum;
  const std::uint32_t count = schedules();
  for (std::uint32_t seed = 1; seed <= count; ++seed) {
    CAPTURE(seed);
    Schedule schedule(seed);
    schedule.run();
    const SchedulerStats& stats = schedule.stats();
    sum.joined += stats.joined;
    sum.answered += stats.answered;
    sum.deadline_exceeded += stats.deadline_exceeded;
    sum.cancelled += stats.cancelled;
    sum.shut_down += stats.shut_down;
    sum.preempted += stats.preempted;
    sum.refused_full += stats.refused_full;
    sum.refused_too_large += stats.refused_too_large;
    sum.refused_draining += stats.refused_draining;
    sum.wasted_items += stats.wasted_items;
    sum.batches += stats.batches;
    sum.batched_items += stats.batched_items;
  }
  // The schedules are worth their name only if every ending is common among them.
  for (const std::uint64_t endings :
       {sum.joined, sum.preempted, sum.answered, sum.deadline_exceeded, sum.cancelled, sum.shut_down, sum.refused_full,
        sum.refused_too_large, sum.refused_draining, sum.wasted_items, sum.batched_items - sum.batches}) {
    CHECK(endings > count / 10);
  }
}

TEST_CASE("queue 4.13/19: equal events give equal batches") {
  for (std::uint32_t seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    Schedule first(seed);
    Schedule second(seed);
    first.run();
    second.run();
    REQUIRE(first.batches().size() == second.batches().size());
    for (std::size_t i = 0; i < first.batches().size(); ++i) {
      REQUIRE(first.batches()[i].works == second.batches()[i].works);
    }
  }
}
