// Random schedules of an iterative model; the rig holds each command against the promises.
#include <doctest/doctest.h>

#include <random>

#include "queue/step_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint32_t kSchedules = 3'000;
#else
constexpr std::uint32_t kSchedules = 60'000;
#endif
constexpr int kEvents = 40;

class Draw {
 public:
  explicit Draw(std::uint32_t seed) : random_(seed) {}
  std::uint32_t operator()(std::uint32_t low, std::uint32_t high) { return low + random_() % (high - low + 1); }

  Setup setup() {
    Setup setup;
    setup.batching.max_batch_size = (*this)(1, 5);
    setup.batching.max_batch_tokens = (*this)(4, 20);
    setup.batching.max_batch_bytes = (*this)(4, 40);
    setup.batching.max_sequences = (*this)(0, 6);
    setup.batching.max_queue_delay = Duration((*this)(0, 2) == 0 ? (*this)(1, 8) : 0);
    setup.batching.prediction = (*this)(0, 1) == 0 ? Prediction::off : Prediction::learned;
    setup.batching.max_class_wait = Duration((*this)(1, 40));
    setup.admission.max_queued_items = (*this)(1, 10);
    setup.slots = (*this)(0, 3);
    return setup;
  }

  std::vector<ItemSize> plan(const BatchingOptions& caps) {
    std::vector<ItemSize> plan((*this)(1, 6));
    for (ItemSize& size : plan) {
      const bool large = (*this)(0, 3) == 0;
      size.tokens = (*this)(1, large ? static_cast<std::uint32_t>(caps.max_batch_tokens) : 2);
      size.rows = (*this)(0, 4) == 0 ? (*this)(1, caps.max_batch_size) : 1;
      size.bytes = (*this)(0, 4);
    }
    return plan;
  }

  Who who() { return {static_cast<Priority>((*this)(0, 2)), static_cast<std::uint8_t>((*this)(0, 2))}; }

 private:
  std::mt19937 random_;
};

class Schedule {
 public:
  explicit Schedule(std::uint32_t seed) : draw_(seed), rig_(draw_.setup()) {}

  void run() {
    for (int i = 0; i < kEvents; ++i) step();
    const std::uint32_t close = draw_(0, 3);
    if (close == 0) rig_.begin_drain();
    if (close == 1) rig_.fail_remaining();
    rig_.finish_all();
  }

  [[nodiscard]] const StepRig& rig() const { return rig_; }

 private:
  void step() {
    rig_.now += Duration(draw_(0, 3) == 0 ? draw_(1, 3) : 0);
    const std::uint32_t roll = draw_(0, 99);
    if (roll < 35) {
      const Deadline deadline =
          draw_(0, 3) == 0 ? rig_.now + Duration(static_cast<Ticks>(draw_(0, 24)) - 2) : kNoDeadline;
      const std::uint32_t item = rig_.submit(draw_.plan(rig_.setup.batching), deadline, draw_.who());
      if (draw_(0, 3) == 0) rig_.items[item].parks_after = draw_(1, 3);
    } else if (roll < 80) {
      if (const auto running = rig_.running(); !running.empty()) {
        const BatchEnd end = draw_(0, 9) == 0 ? BatchEnd::failed : BatchEnd::ran;
        rig_.done(running[draw_(0, static_cast<std::uint32_t>(running.size()) - 1)], end);
      }
    } else if (roll < 88) {
      if (const auto item = any()) rig_.unpark(*item);
    } else if (roll < 93) {
      if (const auto item = any()) rig_.cancel(*item);
    } else if (roll < 97) {
      rig_.advance(draw_(1, 10));
    } else {
      rig_.set_slots(draw_(0, 3));
    }
  }

  std::optional<std::uint32_t> any() {
    if (rig_.items.empty()) return std::nullopt;
    const std::uint32_t item = draw_(0, static_cast<std::uint32_t>(rig_.items.size()) - 1);
    if (!rig_.items[item].accepted) return std::nullopt;
    return item;
  }

  Draw draw_;
  StepRig rig_;
};

/// What ran with whom, without item 0.
std::vector<std::vector<std::uint32_t>> steps_of_others(const StepRig& rig) {
  std::vector<std::vector<std::uint32_t>> steps;
  for (const StepRig::Running& batch : rig.batches) {
    std::vector<std::uint32_t> others;
    for (const std::uint32_t item : batch.items) {
      if (item != 0) others.push_back(item);
    }
    if (!others.empty()) steps.push_back(std::move(others));
  }
  return steps;
}

enum class Item0 : std::uint8_t { falls_silent, ends };

/// Item 0 either is parked for ever after its first steps, or ends there.
std::vector<std::vector<std::uint32_t>> run_beside(std::uint32_t seed, Item0 fate) {
  Draw draw(seed);
  Setup setup = draw.setup();
  setup.batching.max_sequences = 1000;
  setup.admission.max_queued_items = 1000;
  setup.slots = draw(1, 2);
  StepRig rig(setup);
  std::vector<ItemSize> plan = draw.plan(setup.batching);
  const std::size_t steps = draw(1, 3);
  plan.resize(steps);
  if (fate == Item0::falls_silent) plan.resize(steps + 5);
  rig.submit(plan);
  if (fate == Item0::falls_silent) rig.items[0].parks_after = steps;
  for (int i = 0; i < 60; ++i) {
    rig.now += Duration(1);
    if (draw(0, 2) == 0) rig.submit(draw.plan(setup.batching), kNoDeadline, draw.who());
    // The slot is named, not the batch: who runs beside whom is what is compared.
    const std::uint32_t slot = draw(0, setup.slots - 1);
    for (const std::uint32_t batch : rig.running()) {
      if (rig.batches[batch].slot == slot) rig.done(batch);
    }
  }
  rig.finish_running();
  auto result = steps_of_others(rig);
  rig.fail_remaining();
  return result;
}

}  // namespace

TEST_CASE("streams 4.13: items end once and after all their steps, caps and slots hold, under random schedules") {
  std::uint64_t steps = 0, went_on = 0, answered = 0, parked = 0, expired = 0;
  for (std::uint32_t seed = 1; seed <= kSchedules; ++seed) {
    CAPTURE(seed);
    Schedule schedule(seed);
    schedule.run();
    steps += schedule.rig().batches.size();
    for (const StepRig::Item& item : schedule.rig().items) {
      went_on += item.taken > 1 ? 1 : 0;
      answered += item.outcome == Outcome::answered ? 1 : 0;
      expired += item.outcome == Outcome::deadline_exceeded && item.taken > 0 ? 1 : 0;
      parked += item.parks_after != SIZE_MAX ? 1 : 0;
    }
  }
  // The schedules reach what they are for.
  CHECK(steps > 5 * kSchedules);
  CHECK(went_on > kSchedules);
  CHECK(answered > kSchedules);
  CHECK(expired > kSchedules / 50);
  static_cast<void>(parked);
}

TEST_CASE("streams: the same schedule gives the same steps") {
  for (std::uint32_t seed = 1; seed <= 50; ++seed) {
    CHECK(run_beside(seed, Item0::ends) == run_beside(seed, Item0::ends));
  }
}

TEST_CASE("streams: beside a parked item the others take the same steps as without it") {
  std::size_t compared = 0;
  for (std::uint32_t seed = 1; seed <= kSchedules / 20; ++seed) {
    CAPTURE(seed);
    const auto beside = run_beside(seed, Item0::falls_silent);
    REQUIRE(beside == run_beside(seed, Item0::ends));
    compared += beside.size();
  }
  CHECK(compared > kSchedules / 4);
}
