// Iterative models: flights that go on from step to step in the slot that holds their state.
#include <new>

#include "queue/scheduler_state.hpp"

namespace tidegate {

/// Without memory for more slots of an iterative model it goes on with those it has.
void SchedulerCore::State::use_slots(std::uint32_t count) {
  slots = count;
  if (!stepping) return;
  try {
    steps.grow(count);
  } catch (const std::bad_alloc&) {
    slots = steps.size();
  }
}

bool SchedulerCore::State::has_free_slot() noexcept {
  return stepping ? steps.open_one(slots) != nullptr : stats.running_batches < slots;
}

/// Slots with flights that go on never wait for company; those without are filled as those
/// of any model.
void SchedulerCore::State::start_steps() {
  for (StepSlot& slot : steps) {
    if (slot.busy) continue;
    end_late_steps(slot);
    if (slot.ready.empty()) continue;
    if (!queue.empty()) end_hopeless();
    start_batch(&slot);
  }
  while (may_start_batch()) {
    end_hopeless();
    if (!queue.empty()) start_batch(steps.open_one(slots));
  }
}

FormedBatch SchedulerCore::State::form_step(StepSlot& slot) noexcept {
  const std::uint32_t newcomers = slot.index < slots ? steps.newcomers(slot) : 0;
  Continuing continuing{steps.line_up(slot, BatchFormer::kMaxOvertaken), slot.ready, newcomers};
  slot.busy = true;
  return former.form_step(queue, outlook(), continuing);
}

/// Those whose deadline would pass inside their next step.
void SchedulerCore::State::end_late_steps(StepSlot& slot) noexcept {
  const Outlook ahead = outlook();
  if (ahead.model == nullptr) return;
  for (Flight *flight = slot.ready.front(), *next = nullptr; flight != nullptr; flight = next) {
    next = flight->next;
    if (flight->urgent != kNoDeadline && end_late(*flight, ahead)) drop_if_abandoned(*flight);
  }
}

/// Whether the flight, whose step has ended, stays in its slot for another.
bool SchedulerCore::State::stays(Flight& flight, const Batch& batch, const StepResult& step) noexcept {
  if (step.kind == StepResult::Kind::done || flight.waiters == 0) return false;
  const ItemSize size = at_least_one(step.next_size);
  if (!admission.check_step(size)) {
    end_all_waiters(flight, Outcome::step_too_large);
    return false;
  }
  flight.size = size;
  flight.tenant->tokens_minute.take(static_cast<double>(size.tokens), now);
  flight.slot = batch.slot;
  flight.urgent = kNoDeadline;
  for (const Waiter* one = flight.first_waiter; one != nullptr; one = one->next) {
    flight.urgent = std::min(flight.urgent, one->deadline);
  }
  if (step.kind == StepResult::Kind::parked) {
    flight.state = FlightState::parked;
    steps[flight.slot].parked.push_back(flight);
    ++stats.parked_items;
  } else {
    make_ready(flight);
  }
  ++stats.kept_items;
  return true;
}

void SchedulerCore::State::make_ready(Flight& flight) noexcept {
  flight.state = FlightState::ready;
  flight.ready_since = now;
  flight.turn = ++turns;
  steps[flight.slot].ready.push_back(flight);
}

/// A flight between its steps leaves its slot for good.
void SchedulerCore::State::leave_slot(Flight& flight) noexcept {
  const bool is_parked = flight.state == FlightState::parked;
  StepSlot& slot = steps[flight.slot];
  (is_parked ? slot.parked : slot.ready).remove(flight);
  stats.parked_items -= is_parked ? 1 : 0;
  --stats.kept_items;
  --flight.tenant->running;
}

/// Ends those between their steps in the slot; where they are stuck, not those with a deadline.
void SchedulerCore::State::end_kept(StepSlot& slot, Outcome outcome) noexcept {
  for (FlightList* const list : {&slot.ready, &slot.parked}) {
    for (Flight *flight = list->front(), *next = nullptr; flight != nullptr; flight = next) {
      next = flight->next;
      outcome == Outcome::stuck ? end_undated(*flight, outcome) : end_all_waiters(*flight, outcome);
      drop_if_abandoned(*flight);
    }
  }
}

void SchedulerCore::unpark(TimePoint now, WaiterId id) {
  State& state = *state_;
  state.begin(now);
  const Waiter* const waiter = state.waiters.find(static_cast<std::uint64_t>(id));
  if (waiter != nullptr && waiter->flight->state == FlightState::parked) {
    Flight& flight = *waiter->flight;
    state.steps[flight.slot].parked.remove(flight);
    --state.stats.parked_items;
    state.make_ready(flight);
  }
  state.settle();
}

}  // namespace tidegate
