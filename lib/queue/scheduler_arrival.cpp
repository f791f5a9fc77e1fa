// Who is let in: the part of the scheduler core that accepts and refuses.
#include <cmath>
#include <limits>

#include "base/try.hpp"
#include "queue/scheduler_state.hpp"

namespace tidegate {
namespace {

std::uint32_t items_of(const Submission& submission) noexcept {
  return static_cast<std::uint32_t>(std::max<std::size_t>(1, submission.parts.size()));
}

/// Of all parts together. Totals of more than the types hold are far beyond every cap.
ItemSize size_of(const Submission& submission) noexcept {
  if (submission.parts.empty()) return at_least_one(submission.size);
  BatchShape total;
  for (const SubmittedPart& part : submission.parts) total.add(at_least_one(part.size));
  constexpr std::uint64_t kMostRows = std::numeric_limits<std::uint32_t>::max();
  return {static_cast<std::uint32_t>(std::min(total.rows, kMostRows)), total.tokens, total.bytes};
}

}  // namespace

Result<void> SchedulerCore::State::check_size(const Submission& submission, const ItemSize& size) const noexcept {
  if (submission.parts.empty()) return admission.check_item(size);
  for (const SubmittedPart& part : submission.parts) TIDEGATE_CHECK(admission.check_item(at_least_one(part.size)));
  return admission.check_queue(size, submission.parts.size());
}

/// For one more waiter: its record, its deadline and the command that will end it.
void SchedulerCore::State::make_room_for_waiter(Deadline deadline) {
  waiters.make_room();
  if (deadline != kNoDeadline) deadlines.make_room();
  make_room(commands.complete, commands.complete.size() + waiters.size() + 1);
}

Result<SchedulerCore::Accepted> SchedulerCore::State::accept(const Submission& submission) {
  if (draining) return Error(ErrorCode::shutting_down, "the queue is draining and takes no new requests");
  if (submission.key) {
    const Duration left = poison.left(*submission.key, now);
    if (left > Duration::zero()) {
      return Error(ErrorCode::backend_failed, "an equal request has just made the model fail by itself")
          .with_retry_after(left);
    }
  }
  if (submission.key && submission.joining == Submission::Joining::allowed) {
    if (Flight* flight = joinable(*submission.key)) {
      make_room_for_waiter(submission.deadline);
      return Accepted{attach(*flight, submission.deadline, submission.priority, submission.waiter), true};
    }
  }
  const ItemSize size = size_of(submission);
  const std::uint32_t items = items_of(submission);
  if (!submission.parts.empty() || !admission.can_serve(size)) {
    TIDEGATE_CHECK(check_size(submission, size));
  }
  if (submission.standing == Submission::Standing::behind) return behind_others(submission, size, items);
  const auto room = admission.check_room(size, items, queue, slots);
  const bool moves = submission.origin == Submission::Origin::moves;
  if (!room && (moves || !admission.can_displace(size, items, submission.priority, queue))) {
    TIDEGATE_CHECK(check_without_room(submission, size, items));
    return room.error();
  }
  Tenant* const tenant = tenants.find_or_add(submission.tenant, now);
  if (tenant == nullptr) return no_place_for_tenant();
  TIDEGATE_CHECK(admission.check_share(*tenant, items, queue, slots));
  if (!moves) TIDEGATE_CHECK(TenantTable::check_rates(*tenant, size.tokens, now));
  TIDEGATE_CHECK(check_deadline(submission, size));
  make_room_for_waiter(submission.deadline);
  const std::size_t opened = 1 + submission.parts.size();
  flights.make_room(opened);
  if (stepping) steps.make_room(flights.size() + 1);
  if (submission.key) in_flight.make_room();
  make_room(commands.retire, commands.retire.size() + flights.size() + opened);
  QueueAmount missing;
  if (admission.shared() != nullptr) {
    TIDEGATE_TRY(missing, take_shared(submission, size, items));
  }
  // Accepted: nothing below can fail.
  if (!room || missing != QueueAmount{}) displace(size, items, missing);
  if (!moves) TenantTable::charge(*tenant, size.tokens, now);
  Flight& flight = open_flight(submission, *tenant);
  return Accepted{attach(flight, submission.deadline, submission.priority, submission.waiter), false};
}

/// What would refuse the request though there were room: who waits for room learns it at once.
Result<void> SchedulerCore::State::check_without_room(const Submission& submission, const ItemSize& size,
                                                      std::uint32_t items) {
  if (submission.patience == Submission::Patience::none) return {};
  Tenant* const tenant = tenants.find_or_add(submission.tenant, now);
  if (tenant == nullptr) return no_place_for_tenant();
  TIDEGATE_CHECK(admission.check_share(*tenant, items, queue, slots));
  if (submission.origin == Submission::Origin::arrives) {
    TIDEGATE_CHECK(TenantTable::check_rates(*tenant, size.tokens, now));
  }
  return check_deadline(submission, size);
}

Error SchedulerCore::State::behind_others(const Submission& submission, const ItemSize& size, std::uint32_t items) {
  if (auto other = check_without_room(submission, size, items); !other) return std::move(other).error();
  return Error(ErrorCode::queue_full, "the queue is full: callers of this class or a higher one wait for room")
      .with_retry_after(admission.retry_after(queue, slots));
}

Error SchedulerCore::State::no_place_for_tenant() noexcept {
  ++stats.refused_tenants;
  // Where all of them wait or run, nobody knows whose work ends first.
  const TimePoint free_at = tenants.next_free();
  const Duration wait = free_at == kNoDeadline ? admission.retry_after(queue, slots) : Duration(free_at - now);
  return Error(ErrorCode::overloaded,
               "every tenant remembered has work or has not got back what it used of its rates; raise "
               "admission.max_tenants")
      .with_numbers(static_cast<std::int64_t>(tenants.size()), static_cast<std::int64_t>(tenants.most()))
      .with_retry_after(std::max(Admission::kShortestRetry, wait));
}

/// It needs a computation of its own, whether there was room for it or not.
void SchedulerCore::State::count_arrival(const Submission& submission) noexcept {
  BatchShape shape;
  if (submission.parts.empty()) shape.add(at_least_one(submission.size));
  for (const SubmittedPart& part : submission.parts) shape.add(at_least_one(part.size));
  meter.arrived(now, shape);
}

/// Nanoseconds from `from` until a newcomer of this class and all that goes before him have run.
double SchedulerCore::State::estimated_time(TimePoint from, const ItemSize& size,
                                            const Submission& submission) const noexcept {
  BatchShape ahead = BatchShape::of(size);
  const double alone = model.mean(stats.running_batches + 1, ahead);
  // Parts share the slots, and the last of them may have to wait for the first.
  if (queue.empty() && stats.running_batches < slots && submission.parts.empty()) return alone;
  for (std::size_t i = 0; i <= index_of(submission.priority); ++i) {
    const BatchShape& total = queue.of(static_cast<Priority>(i)).total;
    ahead.rows += total.rows;
    ahead.tokens += total.tokens;
    ahead.squares += total.squares;
  }
  const double remainder = std::max(0.0, expected_ends - ns_of(from) * stats.running_batches);
  const double needed = admission.batches_of(ahead);
  const double items = model.sum(slots, ahead, 0);
  double work = model.sum(slots, ahead, needed);
  double last = alone;
  if (former.can_fill_batch(queue)) {
    // Behind a backlog every batch runs full, his own as well: later ones fill it up.
    work += items * (needed / admission.exact_batches_of(ahead) - 1);
    last = work / needed;
  }
  // Slower than foreseen once in twenty: what batches deviate by adds up as the root of
  // their number. On a free slot it would disturb nobody, so there the mean will do.
  const double spread = last * (model.tail95() - 1) * std::sqrt(needed);
  return (remainder + work) / std::max<std::uint32_t>(1, slots) + spread;
}

/// Refuses who would only wait for his deadline. Once it has refused it wants a tenth to
/// spare, so that it does not change its mind with every request.
Result<void> SchedulerCore::State::check_deadline(const Submission& submission, const ItemSize& size) noexcept {
  if (submission.deadline == kNoDeadline || submission.deadline <= now) return {};
  if (outlook().model == nullptr) return {};
  const double needed = estimated_time(now, size, submission);
  const auto left = static_cast<double>((submission.deadline - now).count());
  constexpr double kToSpare = 0.9;
  refusing_late = needed > left * (refusing_late ? kToSpare : 1);
  if (!refusing_late) return {};
  ++stats.refused_late;
  const auto longest = static_cast<double>(Admission::kLongestRetry.count());
  const auto retry = Duration(static_cast<std::int64_t>(std::min(needed - left * kToSpare, longest)));
  return Error(ErrorCode::overloaded, "the deadline would pass before the request is answered (nanoseconds)")
      .with_numbers(static_cast<std::int64_t>(std::min(needed, 9e18)), static_cast<std::int64_t>(left))
      .with_retry_after(std::max(Admission::kShortestRetry, retry));
}

/// Makes room, and gives up what is missing of the shared room: of the lowest class, who would run last goes first.
void SchedulerCore::State::displace(const ItemSize& size, std::uint32_t items, const QueueAmount& missing) noexcept {
  const QueueAmount had{queue.items(), queue.tokens(), queue.bytes()};
  const auto lacks = [&] {
    return had.items - queue.items() < missing.items || had.tokens - queue.tokens() < missing.tokens ||
           had.bytes - queue.bytes() < missing.bytes || !admission.check_room(size, items, queue, slots);
  };
  while (lacks()) {
    Priority lowest = Priority::batch;
    while (queue.of(lowest).items == 0) lowest = static_cast<Priority>(index_of(lowest) - 1);
    Flight& last = owner_of(former.last_to_run(*queue.of(lowest).lines.last(), outlook()));
    end_all_waiters(last, Outcome::preempted);
    drop_if_abandoned(last);
  }
}

Flight* SchedulerCore::State::joinable(const Digest& key) const noexcept {
  Flight* flight = in_flight.find(key);
  return flight != nullptr && flight->waiters < kMaxWaitersPerFlight ? flight : nullptr;
}

Flight& SchedulerCore::State::open_flight(const Submission& submission, Tenant& tenant) noexcept {
  Flight& flight = flights.acquire();
  flight.work = submission.work;
  flight.size = at_least_one(submission.size);
  flight.signature = submission.signature;
  flight.arrival = now;
  flight.sequence = ++arrivals;
  flight.tenant = &tenant;
  flight.priority = submission.priority;
  flight.urgent = submission.deadline;
  if (submission.key) {
    flight.key = *submission.key;
    in_flight.insert(flight);
  }
  submission.parts.empty() ? queue.push_back(flight) : open_parts(flight, submission.parts);
  return flight;
}

WaiterId SchedulerCore::State::attach(Flight& flight, Deadline deadline, Priority priority, void* record) noexcept {
  if (flight.state == FlightState::queued) {
    hurry(flight, std::min(flight.priority, priority), std::min(flight.urgent, deadline));
  }
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

}  // namespace tidegate
