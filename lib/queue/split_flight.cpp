// Computations in parts: accepted as one, waiting and running apart, ended as one.
#include "queue/scheduler_state.hpp"

namespace tidegate {

/// The whole is set up but for its parts; there is room for them.
void SchedulerCore::State::open_parts(Flight& whole, std::span<const SubmittedPart> parts) noexcept {
  Flight* last = nullptr;
  for (const SubmittedPart& submitted : parts) {
    Flight& part = flights.acquire();
    part.work = submitted.work;
    part.size = at_least_one(submitted.size);
    part.arrival = now;
    part.sequence = ++arrivals;
    part.tenant = whole.tenant;
    part.signature = whole.signature;
    part.priority = whole.priority;
    part.urgent = whole.urgent;
    part.whole = &whole;
    part.previous_part = last;
    (last != nullptr ? last->next_part : whole.first_part) = &part;
    last = &part;
    queue.push_back(part);
  }
  whole.parts_queued = static_cast<std::uint32_t>(parts.size());
  ++stats.split;
}

/// Gives a waiting flight, or what still waits of a whole, another class or deadline.
void SchedulerCore::State::hurry(Flight& flight, Priority priority, Deadline urgent) noexcept {
  if (flight.first_part == nullptr) return queue.move(flight, priority, urgent);
  flight.priority = priority;
  flight.urgent = urgent;
  for (Flight* part = flight.first_part; part != nullptr; part = part->next_part) {
    if (part->state == FlightState::queued) queue.move(*part, priority, urgent);
  }
}

void SchedulerCore::State::leave_whole(Flight& part) noexcept {
  Flight& whole = *part.whole;
  (part.previous_part != nullptr ? part.previous_part->next_part : whole.first_part) = part.next_part;
  if (part.next_part != nullptr) part.next_part->previous_part = part.previous_part;
}

/// Nobody waits for the whole any more, or it has failed: what has not started never will.
void SchedulerCore::State::drop_parts(Flight& whole) noexcept {
  Flight* part = whole.first_part;
  while (part != nullptr) {
    Flight* const next = part->next_part;
    if (part->state == FlightState::queued) {
      leave_whole(*part);
      queue.unlink(*part);
      retire(*part);
    }
    part = next;
  }
  in_flight.erase(whole);
  whole.doomed = true;
  whole.parts_queued = 0;
  whole.state = FlightState::running;
  stats.wasted_items += whole.parts_ran;
  if (whole.first_part == nullptr) retire(whole);
}

/// The part's batch has run.
void SchedulerCore::State::finish_part(Flight& part) noexcept {
  Flight& whole = *part.whole;
  leave_whole(part);
  if (!whole.doomed) ++whole.parts_ran;
  if (whole.doomed && !part.failed) ++stats.wasted_items;
  retire(part);
  if (whole.first_part != nullptr) return;
  if (whole.waiters == 0 && !whole.doomed) stats.wasted_items += whole.parts_ran;
  end_all_waiters(whole, Outcome::answered);
  retire(whole);
}

bool SchedulerCore::State::fail_part(Flight& part) noexcept {
  part.failed = true;
  Flight& whole = *part.whole;
  if (whole.doomed) return false;
  end_all_waiters(whole, Outcome::answered);
  drop_parts(whole);
  return true;
}

Duration SchedulerCore::retry_after() const noexcept {
  return state_->admission.retry_after(state_->queue, state_->slots);
}

bool SchedulerCore::part_failed(TimePoint now, BatchId id, const void* work) {
  State& state = *state_;
  state.begin(now);
  bool first = false;
  if (Batch* const batch = state.batches.find(static_cast<std::uint64_t>(id))) {
    Flight* flight = batch->flights.front();
    while (flight != nullptr && flight->work != work) flight = flight->next;
    if (flight != nullptr && flight->whole != nullptr) first = state.fail_part(*flight);
  }
  state.settle();
  return first;
}

}  // namespace tidegate
