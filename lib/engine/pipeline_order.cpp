// Completions in the order of acceptance: who ends now, who is held, who comes next.
#include <utility>

#include "engine/pipeline.hpp"

namespace tidegate {

/// Puts a request that has just been added into its line. May throw; then it is not there any more.
Result<void> Pipeline::stand_in_line(PendingRequest& waiter, const RequestOptions& options) {
  try {
    order_.enter(waiter, options);
    return {};
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory, "there is no memory for the request's place in its line");
  }
}

Result<void> Pipeline::check_order(const RequestOptions& options) const {
  if (auto allowed = order_.check(options); !allowed) return allowed;
  if (!order_.orders(options) || !order_.full()) return {};
  return Error(ErrorCode::queue_full, "max_queued_items requests are in flight that are answered in order")
      .with_numbers(order_.size(), options_.admission.max_queued_items)
      .with_retry_after(core_.retry_after());
}

void Pipeline::leave_line(PendingRequest& waiter, EndedList& ended) noexcept {
  order_.leave(waiter, [&](Turn& turn) {
    auto& next = static_cast<PendingRequest&>(turn);
    waiters_.end(next);
    ended.push_back(next);
  });
}

/// An answer and an error wait for their turn; whoever ends for another reason leaves his line
/// and is told at once.
void Pipeline::conclude(PendingRequest& waiter, EndedList& ended) noexcept {
  if (waiter.outcome == Outcome::answered && !order_.end(waiter)) {
    waiter.stage = PendingRequest::Stage::held;
    if (waiter.deadline != kNoDeadline) static_cast<void>(arm_alarm(services_->clock->now()));
    return;
  }
  waiters_.end(waiter);
  ended.push_back(waiter);
  if (waiter.outcome != Outcome::answered) leave_line(waiter, ended);
}

/// Ends a request that is held with its answer.
void Pipeline::overrule(PendingRequest& held, Outcome outcome, EndedList& ended) noexcept {
  held.outcome = outcome;
  held.overruled = true;
  conclude(held, ended);
}

void Pipeline::expire_held(TimePoint now, EndedList& ended) noexcept {
  while (Turn* const due = order_.first_due(now)) {
    overrule(static_cast<PendingRequest&>(*due), Outcome::deadline_exceeded, ended);
  }
}

/// Frees requests that have been claimed; those that have not been told, with callback. Answers
/// those whose turn has come by it, which are the caller's to tell, in this order.
EndedList Pipeline::vacate(PendingRequest* first) noexcept {
  for (PendingRequest* one = first; one != nullptr; one = one->next) {
    const Engine::Callback on_done = std::move(one->on_done);
    one->result.reset();
    one->work.reset();
  }
  EndedList next;
  UniqueFunction<void()> note;
  {
    MutexLock lock(mutex_);
    while (first != nullptr) {
      PendingRequest& one = *std::exchange(first, first->next);
      leave_line(one, next);
      waiters_.vacate(one);
    }
    if (next.front() != nullptr) {
      const TimePoint now = services_->clock->now();
      for (PendingRequest* one = next.front(); one != nullptr; one = one->next) one->ended_at = now;
      if (is_idle()) note = std::move(idle_note_);
    }
  }
  if (note) note();
  return next;
}

/// Has them told by an executor.
void Pipeline::pass_on(const EndedList& ended) noexcept {
  if (ended.front() == nullptr) return;
  Effects effects;
  {
    MutexLock lock(mutex_);
    effects = take_effects();
    effects.ended.append(ended);
  }
  perform(std::move(effects));
}

}  // namespace tidegate
