// What the steps of the flow stand on: executing the scheduler's commands, the one
// alarm, deliveries, cancel and drain.
#include <algorithm>

#include "engine/pipeline.hpp"
#include "request/request_key.hpp"

namespace tidegate {

Pipeline::Pipeline(std::string name, std::vector<Replica> replicas, const ModelOptions& options,
                   std::shared_ptr<Services> services)
    : name_(std::move(name)),
      services_(std::move(services)),
      metrics_(services_->metrics, name_),
      core_(options.batching, options.admission, 0) {
  for (Replica& replica : replicas) runners_.emplace(router_.add(replica.options), std::move(replica.runner));
}

void Pipeline::start(std::shared_ptr<Executor> workers) {
  workers_ = std::move(workers);
  MutexLock lock(mutex_);
  core_.set_slots(services_->clock->now(), router_.total_concurrency());
}

Pipeline::Ending Pipeline::take_out(PendingRequest& waiter, Outcome outcome) {
  const TimePoint accepted = waiter.accepted;
  return {waiters_.remove(waiter), accepted, outcome, false, nullptr};
}

Pipeline::Effects Pipeline::take_effects() {
  Commands commands = core_.take_commands();
  Effects effects;
  effects.endings.reserve(commands.complete.size());
  for (const Complete& end : commands.complete) {
    Ending ending = take_out(*static_cast<PendingRequest*>(end.waiter), end.outcome);
    ending.joined = end.joined;
    if (end.work != nullptr) ending.work = static_cast<Work*>(end.work)->shared_from_this();
    effects.endings.push_back(std::move(ending));
  }
  for (RunBatch& batch : commands.run) {
    std::vector<std::shared_ptr<Work>> works;
    works.reserve(batch.works.size());
    for (void* entry : batch.works) {
      works.push_back(static_cast<Work*>(entry)->shared_from_this());
      works.back()->formed = batch.formed;
    }
    effects.batches.emplace_back(std::move(batch), std::move(works));
  }
  for (const Retire& retire : commands.retire) {
    effects.retired.push_back(std::move(static_cast<Work*>(retire.work)->held_by_scheduler));
  }
  ++performing_;
  return effects;
}

bool Pipeline::is_idle() const {
  return waiters_.size() == 0 && core_.stats().running_batches == 0 && performing_ == 0;
}

/// One alarm at a time. One that rings too early only looks and sets itself again,
/// so moving it is needed only when something becomes due sooner.
void Pipeline::arm_alarm(TimePoint now) {
  const TimePoint wake = core_.next_wake();
  if (wake == kNoDeadline || wake >= alarm_at_) return;
  if (alarm_at_ != kNoDeadline) services_->clock->cancel(alarm_);
  alarm_at_ = kNoDeadline;
  alarm_ = services_->clock->call_at(std::max(wake, now), [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->alarm_rang();
  });
  alarm_at_ = wake;
}

void Pipeline::alarm_rang() {
  Effects effects;
  {
    MutexLock lock(mutex_);
    const TimePoint now = services_->clock->now();
    if (alarm_at_ <= now) alarm_at_ = kNoDeadline;
    core_.advance(now);
    effects = take_effects();
    arm_alarm(now);
  }
  perform(std::move(effects));
}

void Pipeline::perform(Effects effects) {
  for (auto& [batch, works] : effects.batches) dispatch(std::move(batch), std::move(works));
  if (!effects.endings.empty()) complete(std::move(effects.endings));
  UniqueFunction<void()> note;
  {
    MutexLock lock(mutex_);
    --performing_;
    performed_.notify_all();
    if (is_idle()) note = std::move(idle_note_);
  }
  if (note) note();
}

void Pipeline::await_performed() {
  MutexLock lock(mutex_);
  while (performing_ > 0) lock.wait(performed_);
}

void Pipeline::deliver(std::vector<Delivery> deliveries) {
  services_->completions->post([self = shared_from_this(), deliveries = std::move(deliveries)]() mutable {
    for (Delivery& delivery : deliveries) {
      const Response* response = delivery.result ? &*delivery.result : nullptr;
      const Error* error = delivery.result ? nullptr : &delivery.result.error();
      self->metrics_.completed(response, error, delivery.total);
      try {
        delivery.on_done(std::move(delivery.result));
      } catch (...) {
        // The host's exception has no one above it to go to.
        self->metrics_.callback_threw();
      }
    }
  });
}

void Pipeline::end_with(std::uint64_t handle, Result<Response> result) {
  std::vector<Delivery> deliveries;
  Effects effects;
  {
    MutexLock lock(mutex_);
    PendingRequest* waiter = waiters_.find(handle);
    if (waiter == nullptr) return;
    const Duration total = services_->clock->now() - waiter->accepted;
    if (result) result->timing.total = total;
    deliveries.push_back({waiters_.remove(*waiter), std::move(result), total});
    effects = take_effects();
  }
  deliver(std::move(deliveries));
  perform(std::move(effects));
}

bool Pipeline::withdraw(std::uint64_t handle) {
  Engine::Callback dropped;  // destroyed after the lock: it is the host's
  Effects effects;
  {
    MutexLock lock(mutex_);
    PendingRequest* waiter = waiters_.find(handle);
    if (waiter == nullptr) return false;
    dropped = waiters_.remove(*waiter);
    effects = take_effects();
  }
  perform(std::move(effects));
  return true;
}

Result<std::uint64_t> Pipeline::refuse(std::uint64_t handle, Error error) {
  if (!withdraw(handle)) return handle;
  metrics_.refused(error.code());
  return error;
}

Response Pipeline::respond(const Ending& ending, TimePoint now) const {
  const Work& work = *ending.work;
  Response response{*work.output, ending.joined ? AnswerSource::joined : AnswerSource::model, {}};
  response.timing.queue = std::max(Duration::zero(), Duration(work.formed - ending.accepted));
  response.timing.run = work.run;
  response.timing.total = now - ending.accepted;
  response.timing.batch_size = work.batch_size;
  response.timing.replica = work.replica;
  return response;
}

std::optional<Response> Pipeline::try_cached(const Input& input) {
  if (!info().deterministic) return std::nullopt;
  auto hit = services_->cache->get_in_memory(make_request_key(info().fingerprint, input));
  if (!hit) return std::nullopt;
  return Response{std::move(hit->outputs), AnswerSource::cache, {.cache_tier = hit->tier}};
}

bool Pipeline::cancel(std::uint64_t handle) {
  Effects effects;
  {
    MutexLock lock(mutex_);
    PendingRequest* waiter = waiters_.find(handle);
    if (waiter == nullptr) return false;
    if (waiter->stage == PendingRequest::Stage::preparing) {
      Ending ending = take_out(*waiter, Outcome::cancelled);
      effects = take_effects();
      effects.endings.push_back(std::move(ending));
    } else {
      core_.cancel(services_->clock->now(), waiter->core_id);
      effects = take_effects();
    }
  }
  perform(std::move(effects));
  return true;
}

void Pipeline::close() {
  Effects effects;
  {
    MutexLock lock(mutex_);
    closed_ = true;
    // Requests still in a look-up are accepted and must be let in, so the scheduler
    // itself starts to drain only when there are none.
    if (waiters_.preparing().empty()) core_.begin_drain(services_->clock->now());
    effects = take_effects();
  }
  perform(std::move(effects));
}

std::uint64_t Pipeline::fail_remaining() {
  Effects effects;
  {
    MutexLock lock(mutex_);
    closed_ = true;
    std::vector<Ending> unscheduled;
    for (PendingRequest* waiter : waiters_.preparing())
      unscheduled.push_back(take_out(*waiter, Outcome::shutting_down));
    core_.fail_remaining(services_->clock->now());
    effects = take_effects();
    std::move(unscheduled.begin(), unscheduled.end(), std::back_inserter(effects.endings));
  }
  const std::uint64_t failed = effects.endings.size();
  perform(std::move(effects));
  return failed;
}

void Pipeline::on_idle(UniqueFunction<void()> note) {
  {
    MutexLock lock(mutex_);
    if (!is_idle()) {
      idle_note_ = std::move(note);
      return;
    }
  }
  note();
}

SchedulerStats Pipeline::stats() const {
  MutexLock lock(mutex_);
  return core_.stats();
}

}  // namespace tidegate
