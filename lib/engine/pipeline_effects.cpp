// What the steps of the flow stand on: executing the scheduler's commands, the one
// alarm, deliveries, cancel and drain.
#include <algorithm>
#include <utility>

#include "engine/guarded_call.hpp"
#include "engine/pipeline.hpp"
#include "request/request_key.hpp"

namespace tidegate {

Pipeline::Pipeline(std::string name, std::vector<Replica> replicas, const ModelOptions& options,
                   std::shared_ptr<Services> services)
    : name_(std::move(name)),
      lingers_for_announced_(options.batching.linger == Linger::announced &&
                             options.batching.max_queue_delay > Duration::zero()),
      options_(options),
      services_(std::move(services)),
      metrics_(services_->metrics, name_),
      core_(options.batching, options.admission, 0, replicas.front().runner->info().layout),
      order_(options.batching.ordering, options.admission.max_queued_items) {
  for (Replica& replica : replicas) {
    const ReplicaId id = router_.add(replica.options);
    const std::string& own = replica.options.variant;
    variants_.emplace(id, own.empty() ? replica.runner->info().variant : own);
    runners_.emplace(id, std::move(replica.runner));
  }
}

void Pipeline::start(std::shared_ptr<Executor> workers) {
  workers_ = std::move(workers);
  MutexLock lock(mutex_);
  core_.set_slots(services_->clock->now(), router_.total_concurrency());
}

Pipeline::Effects Pipeline::take_effects() noexcept {
  Commands& commands = core_.commands();
  Effects effects;
  for (const Complete& end : commands.complete) {
    PendingRequest& waiter = *static_cast<PendingRequest*>(end.waiter);
    waiter.outcome = end.outcome;
    waiter.joined = end.joined;
    if (end.work != nullptr) waiter.work = static_cast<Work*>(end.work)->shared_from_this();
    conclude(waiter, effects.ended);
  }
  commands.complete.clear();
  effects.batches.swap(commands.run);
  for (const RunBatch& batch : effects.batches) {
    for (void* work : batch.works) static_cast<Work*>(work)->formed = batch.formed;
  }
  for (const Retire& retire : commands.retire) {
    auto* const work = static_cast<Work*>(retire.work);
    work->next_retired = std::exchange(effects.retired, work);
  }
  commands.retire.clear();
  ++performing_;
  return effects;
}

std::uint64_t Pipeline::batches_done() const {
  const SchedulerStats& stats = core_.stats();
  return stats.batches - stats.running_batches;
}

bool Pipeline::is_idle() const {
  return waiters_.size() == 0 && core_.stats().running_batches == 0 && performing_ == 0;
}

/// One alarm at a time. One that rings too early only looks and sets itself again,
/// so moving it is needed only when something becomes due sooner.
bool Pipeline::arm_alarm(TimePoint now) noexcept {
  const TimePoint wake = std::min(core_.next_wake(), order_.earliest());
  if (wake == kNoDeadline || wake >= alarm_at_) return true;
  try {
    const AlarmId sooner =
        services_->clock->call_at(std::max(wake, now), [weak = weak_from_this(), visits = services_->visits] {
          const Visits::Visit visit(*visits);
          if (const auto self = weak.lock()) self->alarm_rang();
        });
    if (alarm_at_ != kNoDeadline) services_->clock->cancel(alarm_);
    alarm_ = sooner;
    alarm_at_ = wake;
    return true;
  } catch (...) {
    return false;
  }
}

void Pipeline::give_up(PendingRequest& waiter, TimePoint now) noexcept {
  waiter.result = Error(ErrorCode::out_of_memory, "the clock would not take an alarm for the request");
  core_.cancel(now, waiter.core_id);
}

void Pipeline::alarm_rang() noexcept {
  Effects effects;
  {
    MutexLock lock(mutex_);
    const TimePoint now = services_->clock->now();
    if (alarm_at_ <= now) alarm_at_ = kNoDeadline;
    core_.advance(now);
    effects = take_effects();
    expire_held(now, effects.ended);
    static_cast<void>(arm_alarm(now));  // refused: the next event tries again
  }
  perform(std::move(effects));
}

std::shared_ptr<void> Pipeline::announce() {
  if (!lingers_for_announced_) return nullptr;
  change_announced(&SchedulerCore::announce_arrival);
  return {this, [self = shared_from_this()](Pipeline*) { self->change_announced(&SchedulerCore::end_announcement); }};
}

void Pipeline::change_announced(void (SchedulerCore::*event)(TimePoint)) noexcept {
  Effects effects;
  {
    MutexLock lock(mutex_);
    const TimePoint now = services_->clock->now();
    (core_.*event)(now);
    static_cast<void>(arm_alarm(now));  // refused: the next event tries again
    effects = take_effects();
  }
  perform(std::move(effects));
}

void Pipeline::perform(Effects effects) noexcept {
  // Once, unless the executor refuses batches: then their slots take the next ones.
  for (bool again = true; again;) {
    std::size_t refused = 0;
    for (RunBatch& batch : effects.batches) {
      if (!dispatch(batch)) std::swap(effects.batches[refused++], batch);
    }
    PendingRequest* const ended = effects.ended.front();
    const TimePoint now = services_->clock->now();
    for (PendingRequest* one = ended; one != nullptr; one = one->next) one->ended_at = now;
    const std::uint64_t handle = ended == nullptr ? 0 : WaiterTable::handle(*ended);
    const std::optional<Error> refusal = ended == nullptr ? std::nullopt : post_delivery(handle);
    while (Work* const work = effects.retired) {
      effects.retired = work->next_retired;
      const std::shared_ptr<Work> last = std::move(work->held_by_scheduler);
    }
    again = refused > 0;
    UniqueFunction<void()> note;
    {
      MutexLock lock(mutex_);
      for (std::size_t i = 0; i < refused; ++i) end_batch(now, effects.batches[i], BatchEnd::failed);
      if (again) {
        static_cast<void>(arm_alarm(now));  // refused: the next event tries again
        effects = take_effects();
      }
      --performing_;
      performed_.notify_all();
      if (is_idle()) note = std::move(idle_note_);
    }
    if (note) note();
    // After it has counted as performed: a callback may drain.
    if (refusal) deliver(handle, &*refusal);
  }
}

void Pipeline::await_performed() {
  MutexLock lock(mutex_);
  while (performing_ > 0) lock.wait(performed_);
}

std::optional<Error> Pipeline::post_delivery(std::uint64_t handle) noexcept {
  std::optional<Error> trouble;
  for (Executor* const executor : {services_->completions.get(), workers_.get()}) {
    try {
      executor->post([self = shared_from_this(), handle] { self->deliver(handle, nullptr); });
      return std::nullopt;
    } catch (...) {
      if (!trouble) trouble = thrown_on_the_way();
    }
  }
  return trouble;
}

void Pipeline::tell(PendingRequest& ended) noexcept {
  Engine::Callback on_done = std::move(ended.on_done);
  Result<Response> result = result_of(ended);
  const Response* response = result ? &*result : nullptr;
  const Error* error = result ? nullptr : &result.error();
  metrics_.completed(response, error, ended.ended_at - ended.accepted);
  try {
    on_done(std::move(result));
  } catch (...) {
    // The host's exception has no one above it to go to.
    metrics_.callback_threw();
  }
}

Result<Response> Pipeline::result_of(PendingRequest& ended) const noexcept {
  if (ended.result && !ended.overruled) {
    if (*ended.result) (*ended.result)->timing.total = ended.ended_at - ended.accepted;
    return *std::move(ended.result);
  }
  switch (ended.outcome) {
    case Outcome::deadline_exceeded:
      return Error(ErrorCode::deadline_exceeded, "the deadline passed before the request was answered");
    case Outcome::would_miss:
      return Error(ErrorCode::deadline_exceeded, "the deadline would have passed before the model could answer");
    case Outcome::shed:
      return Error(ErrorCode::overloaded, "the request has waited too long in a queue that does not empty");
    case Outcome::preempted:
      return Error(ErrorCode::preempted, "the queue is full, and the request gave way to one of a higher class");
    case Outcome::stuck:
      return Error(ErrorCode::stuck, "the model has not come back in ten times the time it should take");
    case Outcome::cancelled: return Error(ErrorCode::cancelled, "the request was cancelled");
    case Outcome::shutting_down:
      return Error(ErrorCode::shutting_down, "the engine shut down before the request was answered");
    case Outcome::answered: break;
  }
  const Work& work = *ended.work;
  try {
    if (!work.output) return work.output.error();
    Response response{*work.output, ended.joined ? AnswerSource::joined : AnswerSource::model, {}};
    response.timing.queue = std::max(Duration::zero(), Duration(work.formed - ended.accepted));
    response.timing.dispatch = work.dispatch;
    response.timing.run = work.run;
    response.timing.total = ended.ended_at - ended.accepted;
    response.timing.batch_size = work.batch_size;
    response.timing.replica = work.replica;
    response.timing.parts = work.parts_count;
    if (const auto variant = variants_.find(static_cast<ReplicaId>(work.replica)); variant != variants_.end()) {
      response.variant = variant->second;
    }
    return response;
  } catch (...) {
    return Error(ErrorCode::out_of_memory, "there is no memory for a copy of the answer");
  }
}

void Pipeline::end_with(std::uint64_t handle, Result<Response> result) noexcept {
  Effects effects;
  {
    MutexLock lock(mutex_);
    PendingRequest* const waiter = waiters_.find(handle);
    if (waiter == nullptr || waiter->stage != PendingRequest::Stage::preparing) return;
    waiter->result = std::move(result);
    effects = take_effects();
    conclude(*waiter, effects.ended);
  }
  perform(std::move(effects));
}

Result<std::uint64_t> Pipeline::refuse(std::uint64_t handle, Error error) noexcept {
  Engine::Callback dropped;  // destroyed after the lock: it is the host's
  Effects effects;
  {
    MutexLock lock(mutex_);
    PendingRequest* const waiter = waiters_.find(handle);
    if (waiter == nullptr || waiter->stage != PendingRequest::Stage::preparing) return handle;
    dropped = std::move(waiter->on_done);
    waiters_.end(*waiter);
    effects = take_effects();
    leave_line(*waiter, effects.ended);
    waiters_.vacate(*waiter);
  }
  perform(std::move(effects));
  metrics_.refused(error.code());
  return error;
}

std::optional<Response> Pipeline::try_cached(const Request& request) {
  if (!info().deterministic) return std::nullopt;
  if (options_.batching.ordering != Ordering::none) {
    MutexLock lock(mutex_);
    if (!order_.check(request.options) || !order_.is_free(request.options)) return std::nullopt;
  }
  auto hit = services_->cache->get_in_memory(make_request_key(info().fingerprint, request.input));
  if (!hit) return std::nullopt;
  return Response{std::move(hit->outputs), AnswerSource::cache, {.cache_tier = hit->tier}};
}

bool Pipeline::cancel(std::uint64_t handle) noexcept {
  Effects effects;
  {
    MutexLock lock(mutex_);
    PendingRequest* waiter = waiters_.find(handle);
    if (waiter == nullptr) return false;
    if (waiter->stage == PendingRequest::Stage::preparing) {
      waiter->outcome = Outcome::cancelled;
      effects = take_effects();
      conclude(*waiter, effects.ended);
    } else if (waiter->stage == PendingRequest::Stage::held) {
      effects = take_effects();
      overrule(*waiter, Outcome::cancelled, effects.ended);
    } else {
      core_.cancel(services_->clock->now(), waiter->core_id);
      effects = take_effects();
    }
  }
  perform(std::move(effects));
  return true;
}

void Pipeline::close() noexcept {
  Effects effects;
  {
    MutexLock lock(mutex_);
    closed_ = true;
    // Requests still in a look-up are accepted and must be let in, so the scheduler
    // itself starts to drain only when there are none.
    bool any_preparing = false;
    waiters_.for_each_preparing([&any_preparing](const PendingRequest&) { any_preparing = true; });
    if (!any_preparing) core_.begin_drain(services_->clock->now());
    effects = take_effects();
  }
  perform(std::move(effects));
}

std::uint64_t Pipeline::fail_remaining() noexcept {
  Effects effects;
  {
    MutexLock lock(mutex_);
    closed_ = true;
    core_.fail_remaining(services_->clock->now());
    effects = take_effects();
    waiters_.for_each_preparing([&](PendingRequest& waiter) {
      waiter.outcome = Outcome::shutting_down;
      conclude(waiter, effects.ended);
    });
  }
  std::uint64_t failed = 0;  // not those who were held: they get their answers now
  for (const PendingRequest* one = effects.ended.front(); one != nullptr; one = one->next) {
    if (one->outcome != Outcome::answered) ++failed;
  }
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

LatencyProfile Pipeline::latency_profile() const {
  MutexLock lock(mutex_);
  return core_.profile();
}

std::vector<BatchDecision> Pipeline::decisions() const {
  MutexLock lock(mutex_);
  return core_.decisions();
}

std::uint32_t Pipeline::held() const {
  MutexLock lock(mutex_);
  return order_.held();
}

SchedulerStats Pipeline::stats() const {
  MutexLock lock(mutex_);
  return core_.stats();
}

}  // namespace tidegate
