#include "queue/scheduler_core.hpp"

#include <new>

#include "queue/scheduler_state.hpp"

namespace tidegate {

// ---- the steps every event shares --------------------------------------------------

void SchedulerCore::State::begin(TimePoint event_time) noexcept {
  now = std::max(now, event_time);
  meter.start(now);
  while (Waiter* due = deadlines.first_due(now)) {
    Flight& flight = *due->flight;
    end_waiter(*due, Outcome::deadline_exceeded);
    drop_if_abandoned(flight);
  }
  if (earliest_stuck != kNoDeadline && earliest_stuck <= now) find_stuck();
}

void SchedulerCore::State::settle() noexcept {
  begin(now);  // a waiter may have come with its deadline behind it
  try {
    starved = false;
    denied = false;
    if (stepping) start_steps();
    while (!stepping && may_start_batch() && !denied) {
      end_hopeless();
      if (!queue.empty()) lender == nullptr ? start_batch() : start_lent_batch();
    }
  } catch (const std::bad_alloc&) {
    starved = true;
  }
  if (lender != nullptr && !denied) lender->decline();
  if (admission.shared() != nullptr) give_back_shared();
  stats.queued_items = queue.items();
  stats.queued_tokens = queue.tokens();
  stats.queued_bytes = queue.bytes();
}

bool SchedulerCore::State::may_start_batch() noexcept {
  if (queue.empty() || !has_free_slot()) return false;
  return draining || former.can_fill_batch(queue) || admission.is_full(queue) || linger_end() <= now;
}

Outlook SchedulerCore::State::outlook() const noexcept {
  return {now, predicts && model.is_confident() ? &model : nullptr, stats.running_batches + 1, admission.mean_batch(),
          standing.is_standing(now)};
}

TimePoint SchedulerCore::State::linger_end() const noexcept {
  return former.linger_end(queue, outlook(), announced, deadlines.earliest());
}

/// Ends those who would open the next batch though their deadline passes before it can
/// be done, or though they have stood in a standing queue too long: the time of the batch
/// is worth more to others.
void SchedulerCore::State::end_hopeless() noexcept {
  const Outlook ahead = outlook();
  if (ahead.model == nullptr && !standing.is_on()) return;
  while (!queue.empty()) {
    Flight& flight = former.anchor(queue, ahead);
    Flight& owner = owner_of(flight);
    if (flight.urgent != kNoDeadline) {
      if (ahead.model == nullptr || !end_late(flight, ahead)) return;
    } else {
      if (flight.priority == Priority::batch || !standing.sheds(now - flight.arrival)) return;
      if (owner.begun) return;
      end_all_waiters(owner, Outcome::shed);
    }
    drop_if_abandoned(owner);
  }
}

/// False if nobody is late.
bool SchedulerCore::State::end_late(Flight& flight, const Outlook& ahead) noexcept {
  const auto alone = Duration(static_cast<std::int64_t>(ahead.model->mean(ahead.level, former.shape_of(flight.size))));
  if (flight.urgent - now >= alone) return false;
  Waiter* waiter = owner_of(flight).first_waiter;
  while (waiter != nullptr) {
    Waiter* const next = waiter->next;
    const bool late = waiter->deadline != kNoDeadline && waiter->deadline - now < alone;
    if (late) end_waiter(*waiter, Outcome::would_miss);
    waiter = next;
  }
  return true;
}

/// Why the next batch may start now.
Trigger SchedulerCore::State::trigger() const noexcept {
  if (draining) return Trigger::drain;
  if (former.can_fill_batch(queue) || admission.is_full(queue)) return Trigger::full;
  return former.lingers() ? Trigger::linger : Trigger::idle_slot;
}

void SchedulerCore::State::log(Batch& batch, const FormedBatch& formed, Trigger trigger) noexcept {
  BatchDecision decision;
  decision.formed = now;
  decision.trigger = trigger;
  decision.fullness = formed.fullness;
  decision.opened_by = formed.opened_by;
  decision.items = formed.flights.size();
  decision.continued = formed.continued;
  decision.rows = formed.shape.rows;
  decision.tokens = formed.shape.tokens;
  decision.longest = formed.shape.longest;
  decision.passed_over = formed.passed_over;
  decision.left = queue.items();
  decision.running = stats.running_batches;
  decision.oldest_wait = now - formed.oldest;
  if (formed.deadline != kNoDeadline) decision.slack = formed.deadline - now;
  decision.predicted = Duration(static_cast<std::int64_t>(formed.mean_ns));
  decision.predicted95 = Duration(static_cast<std::int64_t>(formed.mean_ns * model.tail95()));
  decision.alone = Duration(static_cast<std::int64_t>(formed.alone_ns));
  decision.filler_rows = formed.shape.filler;
  decision.newest_first = formed.newest_first;
  if (formed.cut) {
    decision.cut_items = formed.cut->items;
    decision.cut_from = formed.cut->greedy;
    decision.cut_to = formed.cut->best;
  }
  batch.decision = decisions.record(decision);
}

void SchedulerCore::State::watch(Batch& batch, const FormedBatch& formed) noexcept {
  Duration allowed = stuck_after;
  if (allowed <= Duration::zero()) {
    constexpr double kTimes = 10;
    constexpr Duration kLeast = std::chrono::seconds(1);
    constexpr Duration kUnpredicted = std::chrono::seconds(60);
    const auto foreseen = Duration(static_cast<std::int64_t>(formed.mean_ns * model.tail99() * kTimes));
    allowed = formed.mean_ns > 0 ? std::max(kLeast, foreseen) : kUnpredicted;
  }
  batch.stuck_at = now > kNoDeadline - allowed ? kNoDeadline : now + allowed;
  earliest_stuck = std::min(earliest_stuck, batch.stuck_at);
}

/// Batches whose time is up: nobody may wait for them without an end of his own.
void SchedulerCore::State::find_stuck() noexcept {
  earliest_stuck = kNoDeadline;
  batches.for_each([this](Batch& batch) {
    if (batch.stuck || batch.stuck_at == kNoDeadline) return;
    if (batch.stuck_at > now) {
      earliest_stuck = std::min(earliest_stuck, batch.stuck_at);
      return;
    }
    batch.stuck = true;
    ++stats.stuck_batches;
    for (Flight* flight = batch.flights.front(); flight != nullptr; flight = flight->next) {
      Flight& owner = owner_of(*flight);
      in_flight.erase(owner);
      end_undated(owner, Outcome::stuck);
      drop_if_abandoned(owner);
    }
    if (stepping) end_kept(steps[batch.slot], Outcome::stuck);
  });
}

void SchedulerCore::State::start_batch(StepSlot* slot) {
  std::vector<void*> works;
  if (!spare_works.empty()) {
    works = std::move(spare_works.back());
    spare_works.pop_back();
  }
  const std::size_t going_on = slot != nullptr ? slot->ready.size() : 0;
  make_room(works, std::max(kLeastWorks, former.most_flights(queue) + going_on));
  std::vector<StepResult> results;
  if (slot != nullptr) results.reserve(works.capacity());
  make_room(commands.run, commands.run.size() + 1);
  Batch& batch = batches.acquire();
  batch.formed = now;
  batch.level = stats.running_batches + 1;
  const Trigger why = slot != nullptr && !slot->ready.empty() ? Trigger::step : trigger();
  FormedBatch formed = slot != nullptr ? form_step(*slot) : former.form(queue, outlook());
  batch.slot = slot != nullptr ? slot->index : 0;
  batch.flights = formed.flights;
  batch.shape = formed.shape;
  batch.expected_end = ns_of(now) + (predicts ? model.mean(batch.level, batch.shape) : 0);
  expected_ends += batch.expected_end;
  RunBatch& run = commands.run.emplace_back();
  run.id = BatchId{Slab<Batch>::id_of(batch)};
  run.formed = now;
  run.predicted = Duration(static_cast<std::int64_t>(formed.mean_ns));
  run.works = std::move(works);
  run.slot = batch.slot;
  run.steps = std::move(results);
  if (slot != nullptr) run.steps.resize(batch.flights.size());
  stats.kept_items -= formed.continued;
  for (Flight* flight = batch.flights.front(); flight != nullptr; flight = flight->next) {
    run.works.push_back(flight->work);
    if (std::exchange(flight->state, FlightState::running) == FlightState::ready) continue;
    if (Flight* const whole = flight->whole) {
      whole->begun = true;
      if (--whole->parts_queued == 0) whole->state = FlightState::running;
    }
    ++flight->tenant->running;
    if (flight->urgent == kNoDeadline && flight->priority != Priority::batch) {
      standing.observe(now, now - flight->arrival, stats.batches > 0 ? admission.mean_batch() : Duration::zero());
    }
  }
  ++stats.batches;
  ++stats.running_batches;
  log(batch, formed, why);
  watch(batch, formed);
  if (lender != nullptr) {
    batch.charged = formed.mean_ns > 0 ? Duration(static_cast<std::int64_t>(formed.mean_ns)) : admission.mean_batch();
    lender->charge(batch.charged);
  }
  stats.batched_items += batch.flights.size();
  stats.running_items += batch.flights.size();
}

void SchedulerCore::State::start_lent_batch() {
  denied = !lender->take();
  if (denied) return;
  try {
    start_batch();
  } catch (...) {
    lender->give_back(Duration::zero(), Duration::zero(), Backlog::none);
    throw;
  }
}

// ---- departure -----------------------------------------------------------------------

void SchedulerCore::State::end_waiter(Waiter& waiter, Outcome outcome) noexcept {
  void* const work = outcome == Outcome::answered ? waiter.flight->work : nullptr;
  commands.complete.push_back({waiter.record, outcome, work, waiter.joined});
  switch (outcome) {
    case Outcome::answered: ++stats.answered; break;
    case Outcome::deadline_exceeded: ++stats.deadline_exceeded; break;
    case Outcome::would_miss: ++stats.would_miss; break;
    case Outcome::shed: ++stats.shed; break;
    case Outcome::preempted: ++stats.preempted; break;
    case Outcome::stuck: ++stats.stuck; break;
    case Outcome::cancelled: ++stats.cancelled; break;
    case Outcome::shutting_down: ++stats.shut_down; break;
    case Outcome::step_too_large: ++stats.step_too_large; break;
  }
  forget_waiter(waiter);
}

void SchedulerCore::State::forget_waiter(Waiter& waiter) noexcept {
  Flight& flight = *waiter.flight;
  (waiter.previous != nullptr ? waiter.previous->next : flight.first_waiter) = waiter.next;
  (waiter.next != nullptr ? waiter.next->previous : flight.last_waiter) = waiter.previous;
  --flight.waiters;
  --stats.waiters;
  const Deadline deadline = waiter.deadline;
  waiters.release(waiter);
  if (deadline == kNoDeadline) return;
  deadlines.forget_one();
  if (deadline == flight.urgent) lose_urgency(flight);
}

/// The waiter with the earliest deadline has left; the flight's is now that of the others.
void SchedulerCore::State::lose_urgency(Flight& flight) noexcept {
  if (flight.state != FlightState::queued || flight.waiters == 0) return;
  Deadline earliest = kNoDeadline;
  for (const Waiter* one = flight.first_waiter; one != nullptr; one = one->next) {
    earliest = std::min(earliest, one->deadline);
  }
  hurry(flight, flight.priority, earliest);
}

void SchedulerCore::State::end_all_waiters(Flight& flight, Outcome outcome) noexcept {
  while (flight.first_waiter != nullptr) end_waiter(*flight.first_waiter, outcome);
}

/// Those without a deadline; the others end at theirs.
void SchedulerCore::State::end_undated(Flight& flight, Outcome outcome) noexcept {
  Waiter* waiter = flight.first_waiter;
  while (waiter != nullptr) {
    Waiter* const next = waiter->next;
    if (waiter->deadline == kNoDeadline) end_waiter(*waiter, outcome);
    waiter = next;
  }
}

void SchedulerCore::State::drop_if_abandoned(Flight& flight) noexcept {
  if (flight.waiters > 0 || flight.state == FlightState::running) return;
  if (flight.first_part != nullptr) return drop_parts(flight);
  flight.state == FlightState::queued ? queue.unlink(flight) : leave_slot(flight);
  retire(flight);
}

void SchedulerCore::State::retire(Flight& flight) noexcept {
  commands.retire.push_back({flight.work});
  in_flight.erase(flight);
  tenants.flight_ended(*flight.tenant);
  flights.release(flight);
}

void SchedulerCore::State::finish(Batch& batch, BatchEnd end, std::span<const StepResult> results) noexcept {
  stats.stuck_batches -= batch.stuck ? 1 : 0;
  decisions.finish(batch.decision, now - batch.formed);
  if (end == BatchEnd::out_of_memory) former.shrink(batch.shape.tokens);
  if (end == BatchEnd::ran) former.grow();
  if (end == BatchEnd::ran && !batch.stuck) {
    admission.record_batch(now - batch.formed);
    model.learn(batch.level, batch.shape, now - batch.formed);
  }
  meter.served(now, batch.shape, now - batch.formed);
  --stats.running_batches;
  if (stats.running_batches == 0) earliest_stuck = kNoDeadline;
  expected_ends = stats.running_batches == 0 ? 0 : expected_ends - batch.expected_end;
  stats.running_items -= batch.flights.size();
  if (stepping) steps[batch.slot].busy = false;
  if (lender != nullptr) {
    lender->give_back(batch.charged, now - batch.formed, queue.empty() ? Backlog::none : Backlog::some);
  }
  for (std::size_t i = 0; Flight* flight = batch.flights.front(); ++i) {
    batch.flights.remove(*flight);
    if (flight->whole != nullptr) {
      --flight->tenant->running;
      finish_part(*flight);
      continue;
    }
    if (flight->waiters == 0) ++stats.wasted_items;
    if (i < results.size() && stays(*flight, batch, results[i])) continue;
    --flight->tenant->running;
    end_all_waiters(*flight, Outcome::answered);
    retire(*flight);
  }
  batches.release(batch);
}

namespace {

/// A model with static shapes runs no batch above its largest.
BatchingOptions usable(BatchingOptions options) {
  if (!options.allowed_batch_sizes.empty()) options.max_batch_size = options.allowed_batch_sizes.back();
  return options;
}

}  // namespace

// ---- events --------------------------------------------------------------------------

SchedulerCore::SchedulerCore(const BatchingOptions& batching, const AdmissionOptions& admission, std::uint32_t slots,
                             BatchLayout layout, Stepping stepping)
    : state_(std::make_unique<State>(usable(batching), admission, slots, layout, stepping)) {}
SchedulerCore::~SchedulerCore() = default;
SchedulerCore::SchedulerCore(SchedulerCore&&) noexcept = default;
SchedulerCore& SchedulerCore::operator=(SchedulerCore&&) noexcept = default;

std::optional<WaiterId> SchedulerCore::join(TimePoint now, const Digest& key, Deadline deadline, Priority priority,
                                            void* waiter) {
  State& state = *state_;
  state.begin(now);
  std::optional<WaiterId> id;
  Flight* const flight = state.draining ? nullptr : state.joinable(key);
  if (flight != nullptr) {
    state.make_room_for_waiter(deadline);
    id = state.attach(*flight, deadline, priority, waiter);
  }
  state.settle();
  return id;
}

Result<SchedulerCore::Accepted> SchedulerCore::submit(TimePoint now, const Submission& submission) {
  State& state = *state_;
  state.begin(now);
  const std::uint64_t without_place = state.stats.refused_tenants;
  state.lacked_shared = false;
  Result<Accepted> accepted = state.accept(submission);
  const bool comes_back =
      !accepted &&
      (submission.origin == Submission::Origin::moves ||
       (accepted.error().code() == ErrorCode::queue_full && submission.patience == Submission::Patience::waits));
  if (!accepted && !comes_back) {
    switch (accepted.error().code()) {
      case ErrorCode::shutting_down: ++state.stats.refused_draining; break;
      case ErrorCode::too_large: ++state.stats.refused_too_large; break;
      case ErrorCode::quota_exceeded: ++state.stats.refused_quota; break;
      case ErrorCode::overloaded: break;  // counted where it is known why
      case ErrorCode::backend_failed: ++state.stats.refused_poison; break;
      default: ++state.stats.refused_full; break;
    }
  }
  // More replicas would have had room for those who were refused for want of it.
  const auto is_want_of_room = [&](ErrorCode code) {
    return code == ErrorCode::queue_full ||
           (code == ErrorCode::overloaded && state.stats.refused_tenants == without_place);
  };
  const bool counts = accepted ? !accepted->joined : !comes_back && is_want_of_room(accepted.error().code());
  if (counts) state.count_arrival(submission);
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

void SchedulerCore::batch_done(TimePoint now, BatchId id, BatchEnd end, std::span<const StepResult> steps) {
  State& state = *state_;
  state.begin(now);
  if (Batch* batch = state.batches.find(static_cast<std::uint64_t>(id))) state.finish(*batch, end, steps);
  state.settle();
}

void SchedulerCore::set_slots(TimePoint now, std::uint32_t slots) {
  state_->begin(now);
  state_->use_slots(slots);
  state_->settle();
}

void SchedulerCore::quarantine(TimePoint now, const Digest& key) {
  state_->begin(now);
  state_->poison.add(key, state_->now);
  state_->settle();
}

void SchedulerCore::announce_arrival(TimePoint now) {
  state_->begin(now);
  ++state_->announced;
  state_->settle();
}

void SchedulerCore::end_announcement(TimePoint now) {
  state_->begin(now);
  if (state_->announced > 0) --state_->announced;
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
      state.end_all_waiters(owner_of(*flight), Outcome::shutting_down);
    }
  });
  for (StepSlot& slot : state.steps) state.end_kept(slot, Outcome::shutting_down);
  while (Flight* flight = state.queue.oldest()) {
    Flight& owner = owner_of(*flight);
    state.end_all_waiters(owner, Outcome::shutting_down);
    state.drop_if_abandoned(owner);
  }
  state.settle();
}

}  // namespace tidegate
