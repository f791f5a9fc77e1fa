// Completions in the order of acceptance: who ends now, who is held, who comes next.
#include <utility>

#include "engine/pipeline.hpp"

namespace tidegate {

/// Puts a request that has just been added into its line. May throw; then it is not there any more.
Result<void> Pipeline::stand_in_line(PendingRequest& waiter, const RequestOptions& options) {
  try {
    order_.enter(waiter, options, waiter.awaited ? DeliveryOrder::Telling::apart : DeliveryOrder::Telling::in_list);
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

void Pipeline::leave_line(PendingRequest& waiter, TimePoint now, Effects& effects) noexcept {
  order_.leave(waiter, [&](Turn& turn) { call(static_cast<PendingRequest&>(turn), now, effects); });
}

/// Its turn has come.
void Pipeline::call(PendingRequest& held, TimePoint now, Effects& effects) noexcept {
  held.ended_at = now;
  waiters_.end(held);
  effects.add(held);
}

/// Nobody stands in a line, and nobody will.
bool Pipeline::lines_are_done() const { return closed_ && order_.size() == 0 && !line_notes_.empty(); }

void Pipeline::follow(Pipeline& former) {
  if (options_.batching.ordering == Ordering::none || former.options_.batching.ordering == Ordering::none) return;
  {
    MutexLock lock(mutex_);
    order_.bar();
  }
  MutexLock lock(former.mutex_);
  former.line_notes_.push_back([weak = weak_from_this(), visits = services_->visits] {
    const Visits::Visit visit(*visits);
    if (const auto self = weak.lock()) self->begin_lines();
  });
}

void Pipeline::begin_lines() noexcept {
  Effects effects;
  {
    MutexLock lock(mutex_);
    const TimePoint now = services_->clock->now();
    effects = take_effects(now);
    order_.unbar([&](Turn& turn) { call(static_cast<PendingRequest&>(turn), now, effects); });
  }
  perform(std::move(effects));
}

/// An answer and an error wait for their turn; whoever ends for another reason leaves his line
/// and is told at once.
void Pipeline::conclude(PendingRequest& waiter, TimePoint now, Effects& effects) noexcept {
  if (waiter.outcome == Outcome::answered && !order_.end(waiter)) {
    waiter.stage = PendingRequest::Stage::held;
    if (waiter.deadline != kNoDeadline) static_cast<void>(arm_alarm(now));
    return;
  }
  waiter.ended_at = now;
  waiters_.end(waiter);
  effects.add(waiter);
  if (waiter.outcome != Outcome::answered) leave_line(waiter, now, effects);
}

/// Ends a request that is held with its answer.
void Pipeline::overrule(PendingRequest& held, Outcome outcome, TimePoint now, Effects& effects) noexcept {
  held.outcome = outcome;
  held.overruled = true;
  conclude(held, now, effects);
}

void Pipeline::expire_held(TimePoint now, Effects& effects) noexcept {
  while (Turn* const due = order_.first_due(now)) {
    overrule(static_cast<PendingRequest&>(*due), Outcome::deadline_exceeded, now, effects);
  }
}

/// Takes back an admission of which nobody has heard.
void Pipeline::withdraw(PendingRequest& waiter) noexcept {
  order_.leave(waiter, [](Turn&) {});  // it stood last: nobody's turn comes by it
  waiters_.withdraw(waiter);
}

/// Frees requests that have been claimed; those that have not been told, with callback. Answers
/// those whose turn has come by it, which are the caller's to tell, in this order.
Pipeline::Effects Pipeline::vacate(PendingRequest* first) noexcept {
  Work* spent = nullptr;
  for (PendingRequest* one = first; one != nullptr; one = one->next) {
    const Engine::Callback on_done = std::move(one->on_done);
    one->result.reset();
    Work* const work = std::exchange(one->work, nullptr);
    if (work == nullptr || !work->let_go()) continue;
    work->clear();
    work->next = std::exchange(spent, work);
  }
  Effects next;
  Notes notes;
  {
    MutexLock lock(mutex_);
    const bool any_ordered = order_.size() > 0;
    const TimePoint now = any_ordered ? services_->clock->now() : TimePoint();
    while (first != nullptr) {
      PendingRequest& one = *std::exchange(first, first->next);
      leave_line(one, now, next);
      waiters_.vacate(one);
    }
    release(spent);
    line_.call_first();  // a place in a line of the completions may be what it lacks
    if (!next.empty() || lines_are_done() || is_ready_due()) notes = take_notes();
  }
  tell(notes);
  return next;
}

/// Has them told: by an executor, or by the callers that wait.
void Pipeline::pass_on(Effects next) noexcept {
  if (next.empty()) return;
  Effects effects;
  {
    MutexLock lock(mutex_);
    effects = take_effects(services_->clock->now());
    effects.ended.append(next.ended);
    effects.awaited.append(next.awaited);
  }
  perform(std::move(effects));
}

}  // namespace tidegate
