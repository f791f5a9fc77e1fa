// The state of a SchedulerCore, and the steps its events are made of.
#pragma once

#include <algorithm>
#include <utility>

#include "queue/admission.hpp"
#include "queue/batch_former.hpp"
#include "queue/deadline_heap.hpp"
#include "queue/decision_log.hpp"
#include "queue/latency_model.hpp"
#include "queue/load_meter.hpp"
#include "queue/quarantine.hpp"
#include "queue/room.hpp"
#include "queue/scheduler_core.hpp"
#include "queue/single_flight.hpp"
#include "queue/slot_lender.hpp"
#include "queue/standing_queue.hpp"
#include "queue/step_slots.hpp"
#include "queue/tenant.hpp"

namespace tidegate {

/// The flights that run in one slot.
struct Batch : SlabNode {
  FlightList flights;
  TimePoint formed{};
  BatchShape shape{};
  std::uint32_t level = 1;     ///< batches that ran when it started, itself included
  double expected_end = 0;     ///< as State::expected_ends
  std::uint64_t decision = 0;  ///< its number in the log
  Duration charged{0};         ///< to the lender of its slot
  TimePoint stuck_at = kNoDeadline;
  bool stuck = false;
  std::uint32_t slot = 0;  ///< iterative models only
};

/// Nanoseconds since the clock's start.
[[nodiscard]] inline double ns_of(TimePoint time) noexcept {
  return static_cast<double>(time.time_since_epoch().count());
}

/// Every event has the same three steps: begin (time passes, due waiters end), its
/// own change, settle (whoever became due ends, free slots take batches).
///
/// Memory is asked for where a request can still be refused: whoever is accepted has
/// room for everything its end needs. Only a batch needs more; without memory it
/// starts later.
struct SchedulerCore::State {
  State(const BatchingOptions& batching, const AdmissionOptions& caps, std::uint32_t slot_count, BatchLayout layout,
        Stepping steps_taken)
      : admission(batching, caps),
        former(batching, layout),
        model(layout),
        tenants(caps),
        standing(caps.max_standing_delay),
        stuck_after(batching.stuck_after),
        predicts(batching.prediction == Prediction::learned),
        stepping(steps_taken == Stepping::iterative),
        slots(0),
        steps(batching.max_sequences > 0 ? batching.max_sequences : kSequencesPerPlace * batching.max_batch_size) {
    spare_works.reserve(kMostSpareLists);
    commands.complete.reserve(kFirstRoom);
    commands.retire.reserve(kFirstRoom);
    commands.run.reserve(kFirstRoom);
    use_slots(slot_count);
  }

  void begin(TimePoint event_time) noexcept;
  void settle() noexcept;
  [[nodiscard]] Outlook outlook() const noexcept;
  [[nodiscard]] bool may_start_batch() noexcept;
  [[nodiscard]] TimePoint linger_end() const noexcept;
  void end_hopeless() noexcept;
  [[nodiscard]] bool end_late(Flight& flight, const Outlook& ahead) noexcept;
  [[nodiscard]] Trigger trigger() const noexcept;
  void start_batch(StepSlot* slot = nullptr);  ///< a slot: the next step there
  void start_lent_batch();
  void log(Batch& batch, const FormedBatch& formed, Trigger trigger) noexcept;

  void make_room_for_waiter(Deadline deadline);
  Result<Accepted> accept(const Submission& submission);
  [[nodiscard]] Error no_place_for_tenant() noexcept;
  void count_arrival(const Submission& submission) noexcept;
  Result<void> check_deadline(const Submission& submission, const ItemSize& size) noexcept;
  [[nodiscard]] double estimated_time(TimePoint from, const ItemSize& size,
                                      const Submission& submission) const noexcept;
  void displace(const ItemSize& size, std::uint32_t items, const QueueAmount& missing) noexcept;
  // The room that is shared with other queues.
  Result<void> check_without_room(const Submission& submission, const ItemSize& size, std::uint32_t items);
  [[nodiscard]] Error behind_others(const Submission& submission, const ItemSize& size, std::uint32_t items);
  [[nodiscard]] bool starts_at_once() noexcept;
  void make_room_for_batch();
  [[nodiscard]] Result<QueueAmount> take_shared(const Submission& submission, const ItemSize& size,
                                                std::uint32_t items);
  void give_back_shared() noexcept;
  [[nodiscard]] Flight* joinable(const Digest& key) const noexcept;
  Flight& open_flight(const Submission& submission, Tenant& tenant) noexcept;
  Result<void> check_size(const Submission& submission, const ItemSize& size) const noexcept;
  WaiterId attach(Flight& flight, Deadline deadline, Priority priority, void* record) noexcept;

  void end_waiter(Waiter& waiter, Outcome outcome) noexcept;
  void forget_waiter(Waiter& waiter) noexcept;
  void lose_urgency(Flight& flight) noexcept;
  void end_all_waiters(Flight& flight, Outcome outcome) noexcept;
  void end_undated(Flight& flight, Outcome outcome) noexcept;
  void drop_if_abandoned(Flight& flight) noexcept;
  void retire(Flight& flight) noexcept;
  void finish(Batch& batch, BatchEnd end, std::span<const StepResult> results) noexcept;
  void watch(Batch& batch, const FormedBatch& formed) noexcept;

  // Computations in parts (split_flight.cpp).
  void open_parts(Flight& whole, std::span<const SubmittedPart> parts) noexcept;
  void hurry(Flight& flight, Priority priority, Deadline urgent) noexcept;
  void leave_whole(Flight& part) noexcept;
  void drop_parts(Flight& whole) noexcept;
  void finish_part(Flight& part) noexcept;
  [[nodiscard]] bool fail_part(Flight& part) noexcept;
  void find_stuck() noexcept;

  // Iterative models (scheduler_steps.cpp).
  void use_slots(std::uint32_t count);
  [[nodiscard]] bool has_free_slot() noexcept;
  void start_steps();
  [[nodiscard]] FormedBatch form_step(StepSlot& slot) noexcept;
  void end_late_steps(StepSlot& slot) noexcept;
  [[nodiscard]] bool stays(Flight& flight, const Batch& batch, const StepResult& step) noexcept;
  void make_ready(Flight& flight) noexcept;
  void leave_slot(Flight& flight) noexcept;
  void end_kept(StepSlot& slot, Outcome outcome) noexcept;

  Admission admission;
  BatchFormer former;
  LatencyModel model;
  LoadMeter meter;
  TenantTable tenants;
  StandingQueue standing;
  Quarantine poison;
  Duration stuck_after;
  TimePoint earliest_stuck = kNoDeadline;  // no running batch is taken for stuck before
  bool predicts;
  bool stepping;
  std::uint32_t slots;
  StepSlots steps;              // of an iterative model; empty otherwise
  std::uint64_t turns = 0;      // flights made ready so far
  std::uint32_t announced = 0;  // requests on their way
  std::uint64_t arrivals = 0;
  double expected_ends = 0;    // sum over running batches, ns since the clock's start
  bool refusing_late = false;  // the last deadline that was checked could not be held
  bool draining = false;
  bool denied = false;           // a batch could start but for the lender
  SlotLender* lender = nullptr;  // null = the slots are nobody else's
  bool lacked_shared = false;    // the last refusal was of the shared room
  QueueAmount held{};            // of the shared room: at least what waits
  bool starved = false;          // there was no memory for a batch that could start
  TimePoint now{TimePoint::min()};

  Slab<Waiter> waiters;
  Slab<Flight> flights;
  Slab<Batch> batches;
  FlightQueue queue;
  SingleFlight in_flight;
  DeadlineHeap deadlines{waiters};
  DecisionLog decisions;

  Commands commands;
  static constexpr std::size_t kFirstRoom = 64;  // so that the first requests need not grow the lists one by one
  static constexpr std::size_t kMostSpareLists = 64;
  static constexpr std::size_t kLeastWorks = 16;  // so that small batches of all sizes find room at once
  std::vector<std::vector<void*>> spare_works;    // empty, with room
  SchedulerStats stats;

  /// Flights a slot keeps for each place in a batch, unless max_sequences says otherwise.
  static constexpr std::uint32_t kSequencesPerPlace = 4;
};

}  // namespace tidegate
