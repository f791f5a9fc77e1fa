// StepRig: drives a SchedulerCore of an iterative model and holds every command against
// its promises, from its own books.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "queue/scheduler_core.hpp"
#include "queue/scheduler_driver.hpp"

namespace tidegate::test {

/// Fails the running test case at the first broken promise.
class StepRig {
 public:
  struct Item {
    std::vector<ItemSize> plan;          ///< of its steps
    std::size_t taken = 0;               ///< steps that have run
    std::size_t parks_after = SIZE_MAX;  ///< steps, after which its consumer is silent until `unpark`
    WaiterId id{};
    Deadline deadline = kNoDeadline;
    std::optional<std::uint32_t> slot{};  ///< of its first step
    bool accepted = false, running = false, parked = false, retired = false;
    bool failed = false;  ///< it was in a step that failed as a whole
    std::optional<Outcome> outcome{};
    /// What the core knows of its size.
    [[nodiscard]] const ItemSize& next() const { return plan[taken]; }
  };
  struct Running {
    BatchId id{};
    std::uint32_t slot = 0;
    std::vector<std::uint32_t> items;
    std::vector<StepResult> steps;
    bool done = false;
  };

  explicit StepRig(const Setup& setup);

  // Every event returns after its commands were taken and checked.
  std::uint32_t submit(std::vector<ItemSize> plan, Deadline deadline = kNoDeadline, Who who = {});
  /// So many steps of these tokens.
  std::uint32_t submit(std::size_t steps, std::uint64_t tokens = 1, Deadline deadline = kNoDeadline, Who who = {}) {
    return submit(std::vector<ItemSize>(steps, ItemSize{1, tokens, 1}), deadline, who);
  }
  void unpark(std::uint32_t item);
  bool cancel(std::uint32_t item);
  void advance(Ticks step);
  void done(std::uint32_t batch, BatchEnd end = BatchEnd::ran);
  void set_slots(std::uint32_t slots);
  void begin_drain();
  void fail_remaining();

  /// Ends running batches, the oldest first, until none runs.
  void finish_running();
  /// Unparks everybody, finishes everything and expects empty books.
  void finish_all();

  [[nodiscard]] std::vector<std::uint32_t> running() const;  ///< batches
  [[nodiscard]] const std::vector<std::uint32_t>& last_items() const { return batches.back().items; }
  [[nodiscard]] bool ended(std::uint32_t item, Outcome outcome) const { return items[item].outcome == outcome; }

  Setup setup;
  SchedulerCore core;
  TimePoint now = at(1000);
  std::vector<Item> items;
  std::vector<Running> batches;

 private:
  void absorb();
  void take_batch(const RunBatch& run);
  void check_books() const;
  [[nodiscard]] std::uint32_t most_kept() const;
};

}  // namespace tidegate::test
