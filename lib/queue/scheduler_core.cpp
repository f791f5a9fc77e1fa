#include "queue/scheduler_core.hpp"

#include <algorithm>
#include <new>
#include <utility>

#include "base/try.hpp"
#include "queue/admission.hpp"
#include "queue/batch_former.hpp"
#include "queue/deadline_heap.hpp"
#include "queue/room.hpp"
#include "queue/single_flight.hpp"

namespace tidegate {
namespace {

/// The flights that run in one slot.
struct Batch : SlabNode {
  FlightList flights;
  TimePoint formed{};
};

/// A size of nothing would let a batch grow without bound.
ItemSize at_least_one(ItemSize size) noexcept {
  size.rows = std::max<std::uint32_t>(1, size.rows);
  size.tokens = std::max<std::uint64_t>(1, size.tokens);
  return size;
}

}  // namespace

/// Every event has the same three steps: begin (time passes, due waiters end), its
/// own change, settle (whoever became due ends, free slots take batches).
///
/// Memory is asked for where a request can still be refused: whoever is accepted has
/// room for everything its end needs. Only a batch needs more; without memory it
/// starts later.
struct SchedulerCore::State {
  State(const BatchingOptions& batching, const AdmissionOptions& caps, std::uint32_t slot_count)
      : admission(batching, caps), former(batching), slots(slot_count) {}

  void begin(TimePoint event_time) noexcept;
  void settle() noexcept;
  [[nodiscard]] bool may_start_batch() const noexcept;
  void start_batch();

  void make_room_for_waiter(Deadline deadline);
  Result<Accepted> accept(const Submission& submission);
  [[nodiscard]] Flight* joinable(const Digest& key) const noexcept;
  Flight& open_flight(const Submission& submission) noexcept;
  WaiterId attach(Flight& flight, Deadline deadline, void* record) noexcept;

  void end_waiter(Waiter& waiter, Outcome outcome) noexcept;
  void end_all_waiters(Flight& flight, Outcome outcome) noexcept;
  void drop_if_abandoned(Flight& flight) noexcept;
  void retire(Flight& flight) noexcept;
  void finish(Batch& batch) noexcept;

  Admission admission;
  BatchFormer former;
  std::uint32_t slots;
  bool draining = false;
  bool starved = false;  // there was no memory for a batch that could start
  TimePoint now{TimePoint::min()};

  Slab<Waiter> waiters;
  Slab<Flight> flights;
  Slab<Batch> batches;
  FlightQueue queue;
  SingleFlight in_flight;
  DeadlineHeap deadlines{waiters};

  Commands commands;
  SchedulerStats stats;
};

// ---- the steps every event shares --------------------------------------------------

void SchedulerCore::State::begin(TimePoint event_time) noexcept {
  now = std::max(now, event_time);
  while (Waiter* due = deadlines.first_due(now)) {
    Flight& flight = *due->flight;
    end_waiter(*due, Outcome::deadline_exceeded);
    drop_if_abandoned(flight);
  }
}

void SchedulerCore::State::settle() noexcept {
  begin(now);  // a waiter may have come with its deadline behind it
  try {
    starved = false;
    while (may_start_batch()) start_batch();
  } catch (const std::bad_alloc&) {
    starved = true;
  }
  stats.queued_items = queue.items();
  stats.queued_tokens = queue.tokens();
  stats.queued_bytes = queue.bytes();
}

bool SchedulerCore::State::may_start_batch() const noexcept {
  if (queue.empty() || stats.running_batches >= slots) return false;
  return draining || former.can_fill_batch(queue) || admission.is_full(queue) || former.linger_end(queue) <= now;
}

void SchedulerCore::State::start_batch() {
  std::vector<void*> works;
  works.reserve(former.most_flights(queue));
  make_room(commands.run, commands.run.size() + 1);
  Batch& batch = batches.acquire();
  batch.formed = now;
  batch.flights = former.form(queue);
  RunBatch& run = commands.run.emplace_back();
  run.id = BatchId{Slab<Batch>::id_of(batch)};
  run.formed = now;
  run.works = std::move(works);
  for (Flight* flight = batch.flights.front(); flight != nullptr; flight = flight->next) {
    flight->state = FlightState::running;
    run.works.push_back(flight->work);
  }
  ++stats.batches;
  ++stats.running_batches;
  stats.batched_items += batch.flights.size();
  stats.running_items += batch.flights.size();
}

// ---- arrival -------------------------------------------------------------------------

/// For one more waiter: its record, its deadline and the command that will end it.
void SchedulerCore::State::make_room_for_waiter(Deadline deadline) {
  waiters.make_room();
  if (deadline != kNoDeadline) deadlines.make_room();
  make_room(commands.complete, commands.complete.size() + waiters.size() + 1);
}

Result<SchedulerCore::Accepted> SchedulerCore::State::accept(const Submission& submission) {
  if (draining) return Error(ErrorCode::shutting_down, "the queue is draining and takes no new requests");
  if (submission.key && submission.joining == Submission::Joining::allowed) {
    if (Flight* flight = joinable(*submission.key)) {
      make_room_for_waiter(submission.deadline);
      return Accepted{attach(*flight, submission.deadline, submission.waiter), true};
    }
  }
  TIDEGATE_CHECK(admission.check(at_least_one(submission.size), queue, slots));
  make_room_for_waiter(submission.deadline);
  flights.make_room();
  if (submission.key) in_flight.make_room();
  make_room(commands.retire, commands.retire.size() + flights.size() + 1);
  return Accepted{attach(open_flight(submission), submission.deadline, submission.waiter), false};
}

Flight* SchedulerCore::State::joinable(const Digest& key) const noexcept {
  Flight* flight = in_flight.find(key);
  return flight != nullptr && flight->waiters < kMaxWaitersPerFlight ? flight : nullptr;
}

Flight& SchedulerCore::State::open_flight(const Submission& submission) noexcept {
  Flight& flight = flights.acquire();
  flight.work = submission.work;
  flight.size = at_least_one(submission.size);
  flight.arrival = now;
  if (submission.key) {
    flight.key = *submission.key;
    in_flight.insert(flight);
  }
  queue.push_back(flight);
  return flight;
}

WaiterId SchedulerCore::State::attach(Flight& flight, Deadline deadline, void* record) noexcept {
  Waiter& waiter = waiters.acquire();
  waiter.record = record;
  waiter.deadline = deadline;
  waiter.flight = &flight;
  waiter.joined = flight.opened;
  flight.opened = true;
  waiter.previous = flight.last_waiter;
  (flight.last_waiter != nullptr ? flight.last_waiter->next : flight.first_waiter) = &waiter;
  flight.last_waiter = &waiter;
  ++flight.waiters;
  if (deadline != kNoDeadline) deadlines.push(waiter);
  ++stats.accepted;
  ++stats.waiters;
  if (waiter.joined) ++stats.joined;
  return WaiterId{Slab<Waiter>::id_of(waiter)};
}

// ---- departure -----------------------------------------------------------------------

void SchedulerCore::State::end_waiter(Waiter& waiter, Outcome outcome) noexcept {
  Flight& flight = *waiter.flight;
  void* const work = outcome == Outcome::answered ? flight.work : nullptr;
  commands.complete.push_back({waiter.record, outcome, work, waiter.joined});
  (waiter.previous != nullptr ? waiter.previous->next : flight.first_waiter) = waiter.next;
  (waiter.next != nullptr ? waiter.next->previous : flight.last_waiter) = waiter.previous;
  --flight.waiters;
  --stats.waiters;
  switch (outcome) {
    case Outcome::answered: ++stats.answered; break;
    case Outcome::deadline_exceeded: ++stats.deadline_exceeded; break;
    case Outcome::cancelled: ++stats.cancelled; break;
    case Outcome::shutting_down: ++stats.shut_down; break;
  }
  const bool had_deadline = waiter.deadline != kNoDeadline;
  waiters.release(waiter);
  if (had_deadline) deadlines.forget_one();
}

void SchedulerCore::State::end_all_waiters(Flight& flight, Outcome outcome) noexcept {
  while (flight.first_waiter != nullptr) end_waiter(*flight.first_waiter, outcome);
}

void SchedulerCore::State::drop_if_abandoned(Flight& flight) noexcept {
  if (flight.waiters > 0 || flight.state == FlightState::running) return;
  queue.unlink(flight);
  retire(flight);
}

void SchedulerCore::State::retire(Flight& flight) noexcept {
  commands.retire.push_back({flight.work});
  in_flight.erase(flight);
  flights.release(flight);
}

void SchedulerCore::State::finish(Batch& batch) noexcept {
  admission.record_batch(now - batch.formed);
  --stats.running_batches;
  stats.running_items -= batch.flights.size();
  while (Flight* flight = batch.flights.front()) {
    batch.flights.remove(*flight);
    if (flight->waiters == 0) ++stats.wasted_items;
    end_all_waiters(*flight, Outcome::answered);
    retire(*flight);
  }
  batches.release(batch);
}

// ---- events --------------------------------------------------------------------------

SchedulerCore::SchedulerCore(const BatchingOptions& batching, const AdmissionOptions& admission, std::uint32_t slots)
    : state_(std::make_unique<State>(batching, admission, slots)) {}
SchedulerCore::~SchedulerCore() = default;
SchedulerCore::SchedulerCore(SchedulerCore&&) noexcept = default;
SchedulerCore& SchedulerCore::operator=(SchedulerCore&&) noexcept = default;

std::optional<WaiterId> SchedulerCore::join(TimePoint now, const Digest& key, Deadline deadline, void* waiter) {
  State& state = *state_;
  state.begin(now);
  std::optional<WaiterId> id;
  Flight* const flight = state.draining ? nullptr : state.joinable(key);
  if (flight != nullptr) {
    state.make_room_for_waiter(deadline);
    id = state.attach(*flight, deadline, waiter);
  }
  state.settle();
  return id;
}

Result<SchedulerCore::Accepted> SchedulerCore::submit(TimePoint now, const Submission& submission) {
  State& state = *state_;
  state.begin(now);
  Result<Accepted> accepted = state.accept(submission);
  if (!accepted) {
    switch (accepted.error().code()) {
      case ErrorCode::shutting_down: ++state.stats.refused_draining; break;
      case ErrorCode::too_large: ++state.stats.refused_too_large; break;
      default: ++state.stats.refused_full; break;
    }
  }
  state.settle();
  return accepted;
}

bool SchedulerCore::cancel(TimePoint now, WaiterId id) {
  State& state = *state_;
  state.begin(now);
  Waiter* const waiter = state.waiters.find(static_cast<std::uint64_t>(id));
  if (waiter != nullptr) {
    Flight& flight = *waiter->flight;
    state.end_waiter(*waiter, Outcome::cancelled);
    state.drop_if_abandoned(flight);
  }
  state.settle();
  return waiter != nullptr;
}

void SchedulerCore::advance(TimePoint now) {
  state_->begin(now);
  state_->settle();
}

void SchedulerCore::batch_done(TimePoint now, BatchId id) {
  State& state = *state_;
  state.begin(now);
  if (Batch* batch = state.batches.find(static_cast<std::uint64_t>(id))) state.finish(*batch);
  state.settle();
}

void SchedulerCore::set_slots(TimePoint now, std::uint32_t slots) {
  state_->begin(now);
  state_->slots = slots;
  state_->settle();
}

void SchedulerCore::begin_drain(TimePoint now) {
  state_->begin(now);
  state_->draining = true;
  state_->settle();
}

void SchedulerCore::fail_remaining(TimePoint now) {
  State& state = *state_;
  state.begin(now);
  state.draining = true;
  state.batches.for_each([&state](Batch& batch) {
    for (Flight* flight = batch.flights.front(); flight != nullptr; flight = flight->next) {
      state.end_all_waiters(*flight, Outcome::shutting_down);
    }
  });
  while (Flight* flight = state.queue.oldest()) {
    state.end_all_waiters(*flight, Outcome::shutting_down);
    state.drop_if_abandoned(*flight);
  }
  state.settle();
}

// ---- what the driver reads -----------------------------------------------------------

Commands SchedulerCore::take_commands() {
  Commands& commands = state_->commands;
  Commands taken;
  taken.complete = commands.complete;
  taken.retire = commands.retire;
  taken.run.swap(commands.run);
  commands.complete.clear();
  commands.retire.clear();
  return taken;
}

Commands& SchedulerCore::commands() noexcept { return state_->commands; }

TimePoint SchedulerCore::next_wake() const noexcept {
  const State& state = *state_;
  if (state.starved) return state.now;
  const TimePoint deadline = state.deadlines.earliest();
  const bool lingering = !state.queue.empty() && state.stats.running_batches < state.slots;
  return lingering ? std::min(deadline, state.former.linger_end(state.queue)) : deadline;
}

const SchedulerStats& SchedulerCore::stats() const noexcept { return state_->stats; }

}  // namespace tidegate
