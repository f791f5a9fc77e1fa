// What the steps of the flow stand on: executing the scheduler's commands, the one
// alarm, deliveries, cancel and drain.
#include <algorithm>
#include <utility>

#include "cache/cache_namespaces.hpp"
#include "engine/guarded_call.hpp"
#include "engine/pipeline.hpp"
#include "request/request_key.hpp"

namespace tidegate {

namespace {

/// A look-up that misses and the insertion that follows, on the small side (benchmarks/cache_bench).
constexpr Duration kCacheCost = std::chrono::microseconds(2);

}  // namespace

Pipeline::Pipeline(std::string name, std::vector<Replica> replicas, const ModelOptions& options,
                   std::shared_ptr<Services> services, std::shared_ptr<SimilarStage> similar)
    : name_(std::move(name)),
      lingers_for_announced_(options.batching.linger == Linger::announced &&
                             options.batching.max_queue_delay > Duration::zero()),
      options_(options),
      services_(std::move(services)),
      cache_(services_->cache),
      names_(services_->namespaces->open(name_)),
      similar_(std::move(similar)),
      metrics_(services_->metrics, name_),
      iterative_(replicas.front().runner->info().iterative),
      core_(options.batching, options.admission, 0, replicas.front().runner->info().layout,
            iterative_ ? Stepping::iterative : Stepping::single),
      order_(options.batching.ordering, options.admission.max_queued_items) {
  if (cache_->options().bypass == CacheBypass::automatic) benefit_.emplace(kCacheCost);
  for (Replica& replica : replicas) {
    const ReplicaId id = router_.add(replica.options);
    const std::string& own = replica.options.variant;
    variants_.emplace(id, own.empty() ? replica.runner->info().variant : own);
    runners_.emplace(id, std::move(replica.runner));
    if (iterative_) slot_replicas_.insert(slot_replicas_.end(), replica.options.concurrency, id);
  }
  if (services_->room != nullptr) core_.share_room(*services_->room);
  version_scope_ = InvalidationTable::of_version(info().fingerprint);
}

Pipeline::~Pipeline() {
  if (services_->room != nullptr) services_->room->leave(listening_);
}

void Pipeline::start(std::shared_ptr<Executor> workers) {
  workers_ = std::move(workers);
  const std::uint32_t slots = router_.total_concurrency();
  MutexLock lock(mutex_);
  jobs_.make_room(slots);
  core_.set_slots(services_->clock->now(), slots);
}

void Pipeline::share_slots(std::shared_ptr<SharedPool> pool, double weight) {
  lane_ = std::make_unique<PoolLane>(std::move(pool), weight, weak_from_this(), services_->visits);
  MutexLock lock(mutex_);
  core_.share_slots(*lane_);
}

Pipeline::Effects Pipeline::take_effects(TimePoint now, PendingRequest* own) noexcept {
  Commands& commands = core_.commands();
  Effects effects;
  for (const Complete& end : commands.complete) {
    PendingRequest& waiter = *static_cast<PendingRequest*>(end.waiter);
    waiter.outcome = end.outcome;
    waiter.joined = end.joined;
    waiter.work = static_cast<Work*>(end.work);
    if (waiter.work != nullptr) waiter.work->hold();
    conclude(waiter, now, effects);
  }
  commands.complete.clear();
  take_batches(effects, commands.run, own);
  // The scheduler lets go before anyone is told: the last who reads an answer may take it.
  for (const Retire& retire : commands.retire) {
    auto* const work = static_cast<Work*>(retire.work);
    if (work->in_parts != nullptr) {
      for (Work* part : work->in_parts->parts) {
        if (part->let_go()) part->next = std::exchange(effects.spent, part);
      }
    }
    if (work->let_go()) work->next = std::exchange(effects.spent, work);
  }
  commands.retire.clear();
  if (!line_.empty() && std::exchange(departures_seen_, core_.departures()) != core_.departures()) line_.call_first();
  ++performing_;
  return effects;
}

/// A batch is led by the caller who has waited longest of those it was formed for; where none of
/// them waits, a worker runs it. One for `own` is not among the effects: its caller is here.
void Pipeline::take_batches(Effects& effects, std::vector<RunBatch>& batches, PendingRequest* own) noexcept {
  for (RunBatch& batch : batches) {
    BatchJob& job = jobs_.take();
    job.id = batch.id;
    job.slot = batch.slot;
    job.steps.swap(batch.steps);
    job.load = {batch.formed, batch.predicted};
    job.works.swap(batch.works);
    core_.take_back(std::move(batch.works));
    for (void* one : job.works) {
      Work& work = *static_cast<Work*>(one);
      if (work.steps == 0) work.formed = batch.formed;
      work.step = StepEnd::done;  // unless it is computed
      PendingRequest* const waiter = work.awaited_by == 0 ? nullptr : waiters_.find(work.awaited_by);
      if (waiter == nullptr || waiter->stage == PendingRequest::Stage::elsewhere) continue;
      if (job.leader != nullptr && job.leader->accepted <= waiter->accepted) continue;
      job.leader = waiter;
    }
    if (job.leader != nullptr) job.leader->lead = &job;
    if (job.leader != nullptr && job.leader == own) {
      own->wake(PendingRequest::kLead);
      continue;
    }
    (effects.last_batch != nullptr ? effects.last_batch->next : effects.batches) = &job;
    effects.last_batch = &job;
  }
  batches.clear();
}

bool Pipeline::need_nothing(const Effects& effects) noexcept {
  if (!effects.empty() || (lane_ != nullptr && lane_->has_offers())) return false;
  if (drains_later_ || lines_are_done() || is_ready_due()) return false;
  if (services_->room != nullptr && services_->room->must_tell()) return false;
  --performing_;
  return true;
}

void Pipeline::release(Work* spent) noexcept {
  while (spent != nullptr) works_.release(*std::exchange(spent, spent->next));
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
    effects = take_effects(now);
    expire_held(now, effects);
    static_cast<void>(arm_alarm(now));  // refused: the next event tries again
    if (need_nothing(effects)) return;
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
    effects = take_effects(now);
    if (need_nothing(effects)) return;
  }
  perform(std::move(effects));
}

void Pipeline::perform(Effects effects) noexcept {
  // Once, unless the executor refuses batches: then their slots take the next ones.
  for (bool again = true; again;) {
    BatchJob* refused = nullptr;
    while (BatchJob* const job = effects.batches) {
      effects.batches = job->next;  // before another thread has the job
      if (!dispatch(*job)) job->next = std::exchange(refused, job);
    }
    wake(effects.awaited);
    PendingRequest* const ended = effects.ended.front();
    const std::uint64_t handle = ended == nullptr ? 0 : WaiterTable::handle(*ended);
    const std::optional<Error> refusal = ended == nullptr ? std::nullopt : post_delivery(handle);
    for (Work* work = effects.spent; work != nullptr; work = work->next) work->clear();
    again = refused != nullptr;
    Notes notes;
    {
      MutexLock lock(mutex_);
      release(effects.spent);
      if (again) {
        effects = end_refused(refused);
      } else if (drains_later_ && !waiters_.any_preparing()) {
        effects = begin_drain();
        again = true;
      }
      --performing_;
      performed_.notify_all();
      notes = take_notes();
    }
    tell(notes);
    tell_room();
    if (lane_ != nullptr) lane_->tell_offers();
    // After it has counted as performed: a callback may drain.
    if (refusal) deliver(handle, &*refusal);
  }
}

Pipeline::Effects Pipeline::begin_drain() noexcept {
  drains_later_ = false;
  const TimePoint now = services_->clock->now();
  core_.begin_drain(now);
  static_cast<void>(arm_alarm(now));  // refused: the next event tries again
  return take_effects(now);
}

Pipeline::Effects Pipeline::end_refused(BatchJob* refused) noexcept {
  const TimePoint now = services_->clock->now();
  while (refused != nullptr) {
    BatchJob& job = *std::exchange(refused, refused->next);
    end_batch(now, job, BatchEnd::failed);
  }
  static_cast<void>(arm_alarm(now));  // refused: the next event tries again
  return take_effects(now);
}

void Pipeline::wake(const EndedList& awaited) noexcept {
  for (PendingRequest* one = awaited.front(); one != nullptr;) {
    PendingRequest& ended = *std::exchange(one, one->next);  // from the wake on it is its caller's
    ended.next = nullptr;
    ended.wake(PendingRequest::kEnded);
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
  const NoWaiting callback;
  Engine::Callback on_done = std::move(ended.on_done);
  Result<Response> result = end_of(ended);
  try {
    on_done(std::move(result));
  } catch (...) {
    // The host's exception has no one above it to go to.
    metrics_.callback_threw();
  }
}

Result<Response> Pipeline::end_of(PendingRequest& ended) noexcept {
  Result<Response> result = result_of(ended);
  const Response* response = result ? &*result : nullptr;
  const Error* error = result ? nullptr : &result.error();
  if (!ended.forwarded) metrics_.completed(response, error, ended.ended_at - ended.accepted);
  return result;
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
    case Outcome::step_too_large:
      return Error(ErrorCode::too_large, "the model asked for a next step larger than a batch may be");
    case Outcome::shutting_down:
      return Error(ErrorCode::shutting_down, "the engine shut down before the request was answered");
    case Outcome::answered: break;
  }
  Work& work = *ended.work;
  try {
    if (!work.output) return work.output.error();
    const bool last = work.is_held_once();
    Response response{
        last ? *std::move(work.output) : *work.output, ended.joined ? AnswerSource::joined : AnswerSource::model, {}};
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
    const TimePoint now = services_->clock->now();
    effects = take_effects(now);
    conclude(*waiter, now, effects);
  }
  perform(std::move(effects));
}

bool Pipeline::refuse(std::uint64_t handle) noexcept {
  Engine::Callback dropped;  // destroyed after the lock: it is the host's
  Effects effects;
  {
    MutexLock lock(mutex_);
    PendingRequest* const waiter = waiters_.find(handle);
    if (waiter == nullptr || waiter->stage != PendingRequest::Stage::preparing) return false;
    dropped = std::move(waiter->on_done);
    waiters_.end(*waiter);
    const TimePoint now = services_->clock->now();
    effects = take_effects(now);
    leave_line(*waiter, now, effects);
    waiters_.vacate(*waiter);
    line_.call_first();
  }
  perform(std::move(effects));
  return true;
}

bool Pipeline::cancel(std::uint64_t handle) noexcept {
  Effects effects;
  std::shared_ptr<Pipeline> elsewhere;
  std::uint64_t handle_elsewhere = 0;
  {
    MutexLock lock(mutex_);
    PendingRequest* waiter = waiters_.find(handle);
    if (waiter == nullptr) return false;
    const TimePoint now = services_->clock->now();
    if (waiter->stage == PendingRequest::Stage::elsewhere) {
      elsewhere = successor_;
      handle_elsewhere = waiter->handle_elsewhere;
      effects = take_effects(now);
    } else if (waiter->stage == PendingRequest::Stage::preparing) {
      waiter->outcome = Outcome::cancelled;
      effects = take_effects(now);
      conclude(*waiter, now, effects);
    } else if (waiter->stage == PendingRequest::Stage::held) {
      effects = take_effects(now);
      overrule(*waiter, Outcome::cancelled, now, effects);
    } else {
      core_.cancel(now, waiter->core_id);
      effects = take_effects(now);
    }
  }
  perform(std::move(effects));
  return elsewhere == nullptr || elsewhere->cancel(handle_elsewhere);
}

void Pipeline::close() noexcept {
  Effects effects;
  {
    MutexLock lock(mutex_);
    closed_ = true;
    // Requests still in a look-up are accepted and must be let in, so the scheduler
    // itself starts to drain only when there are none.
    drains_later_ = true;
    line_.call_all();
    effects = take_effects(services_->clock->now());
  }
  perform(std::move(effects));
}

std::uint64_t Pipeline::fail_remaining() noexcept {
  Effects effects;
  {
    MutexLock lock(mutex_);
    closed_ = true;
    line_.call_all();
    const TimePoint now = services_->clock->now();
    core_.fail_remaining(now);
    effects = take_effects(now);
    waiters_.for_each_preparing([&](PendingRequest& waiter) {
      waiter.outcome = Outcome::shutting_down;
      conclude(waiter, now, effects);
    });
  }
  std::uint64_t failed = 0;  // not those who were held: they get their answers now
  for (const EndedList* list : {&effects.ended, &effects.awaited}) {
    for (const PendingRequest* one = list->front(); one != nullptr; one = one->next) {
      if (one->outcome != Outcome::answered) ++failed;
    }
  }
  perform(std::move(effects));
  return failed;
}

void Pipeline::on_idle(UniqueFunction<void()> note) {
  {
    MutexLock lock(mutex_);
    if (!is_idle()) {
      idle_notes_.push_back(std::move(note));
      return;
    }
  }
  note();
}

Pipeline::Notes Pipeline::take_notes() noexcept {
  Notes notes;
  if (is_idle()) notes.of_idle.swap(idle_notes_);
  if (lines_are_done()) notes.of_lines.swap(line_notes_);
  if (is_ready_due()) notes.of_ready.swap(ready_notes_);
  return notes;
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
