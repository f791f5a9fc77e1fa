// The flow. Each step takes the request from the one above it and hands it to the
// one below, or ends it; what happens around the steps is in pipeline_effects.cpp.
#include "engine/pipeline.hpp"

#include "base/try.hpp"
#include "engine/guarded_call.hpp"
#include "request/request_key.hpp"

namespace tidegate {

Result<std::uint64_t> Pipeline::infer(Request request, Engine::Callback on_done) {
  const CacheMode mode = request.options.cache;
  TIDEGATE_TRY(Passage passage, admit(std::move(request), std::move(on_done)));
  const std::uint64_t handle = passage.handle;
  if (auto hit = look_up(passage, mode)) {
    end_with(handle, Response{std::move(hit->outputs), AnswerSource::cache, {.cache_tier = hit->tier}});
  } else if (join(passage, mode)) {
    return handle;
  } else if (auto ready = prepare(passage); !ready) {
    return refuse(handle, std::move(ready).error());
  } else if (passage.key && mode == CacheMode::use && services_->cache->has_further_tiers()) {
    look_up_further(std::move(passage));
  } else if (auto queued = enqueue(std::move(passage)); !queued) {
    return refuse(handle, std::move(queued).error());
  }
  return handle;
}

/// Takes the request in, unless the gate is closed.
Result<Pipeline::Passage> Pipeline::admit(Request&& request, Engine::Callback&& on_done) {
  Passage passage{std::move(request.input), {}, {}, request.options.cache, 0};
  const ModelInfo& model = info();
  if (model.deterministic && request.options.cache != CacheMode::bypass) {
    passage.key = make_request_key(model.fingerprint, passage.input);
  }
  MutexLock lock(mutex_);
  if (closed_ || waiters_.full()) {
    metrics_.refused(closed_ ? ErrorCode::shutting_down : ErrorCode::queue_full);
    if (closed_) return Error(ErrorCode::shutting_down, "the engine is draining");
    return Error(ErrorCode::queue_full, "too many requests are in flight");
  }
  PendingRequest& waiter = waiters_.add(services_->clock->now(), request.options.deadline, std::move(on_done));
  passage.handle = WaiterTable::handle(waiter);
  return passage;
}

/// Memory answers on the caller's thread.
std::optional<CacheHit> Pipeline::look_up(const Passage& passage, CacheMode mode) {
  if (!passage.key || mode != CacheMode::use) return std::nullopt;
  return services_->cache->get_in_memory(*passage.key);
}

/// An equal request in flight answers this one too. A refresh wants a new
/// computation, so it joins none.
bool Pipeline::join(const Passage& passage, CacheMode mode) {
  if (!passage.key || mode != CacheMode::use) return false;
  Effects effects;
  bool joined = false;
  {
    MutexLock lock(mutex_);
    PendingRequest* waiter = waiters_.find(passage.handle);
    if (waiter == nullptr) return true;  // the drain has ended it
    const TimePoint now = services_->clock->now();
    if (const auto id = core_.join(now, *passage.key, waiter->deadline, waiter)) {
      waiter->core_id = *id;
      waiter->stage = PendingRequest::Stage::scheduled;
      joined = true;
    }
    effects = take_effects();
    arm_alarm(now);
  }
  perform(std::move(effects));
  return joined;
}

/// The model checks the input and readies it (tokens), on the caller's thread: never
/// on a tier's or the clock's.
Result<void> Pipeline::prepare(Passage& passage) {
  auto prepared = guarded_prepare(*runners_.begin()->second, std::move(passage.input));
  if (!prepared) return std::move(prepared).error();
  passage.prepared = *std::move(prepared);
  return {};
}

/// Further tiers answer later; the request goes on from there.
void Pipeline::look_up_further(Passage passage) {
  Deadline deadline = kNoDeadline;
  {
    MutexLock lock(mutex_);
    if (const PendingRequest* waiter = waiters_.find(passage.handle)) deadline = waiter->deadline;
  }
  const CacheKey key = *passage.key;
  services_->cache->get_further(
      key, deadline, [weak = weak_from_this(), passage = std::move(passage)](std::optional<CacheHit> hit) mutable {
        const auto self = weak.lock();
        if (self == nullptr) return;
        const std::uint64_t handle = passage.handle;
        if (hit) {
          self->end_with(handle, Response{std::move(hit->outputs), AnswerSource::cache, {.cache_tier = hit->tier}});
        } else if (auto queued = self->enqueue(std::move(passage)); !queued) {
          self->end_with(handle, std::move(queued).error());
        }
      });
}

/// Hands the request to the scheduler. On an error the waiter is still there: the
/// caller withdraws it or tells it.
Result<void> Pipeline::enqueue(Passage passage) {
  Effects effects;
  {
    MutexLock lock(mutex_);
    PendingRequest* waiter = waiters_.find(passage.handle);
    if (waiter == nullptr) return {};  // cancelled or drained meanwhile: it has completed
    auto work = std::make_shared<Work>();
    work->input = std::move(passage.prepared);
    work->key = passage.key;
    const TimePoint now = services_->clock->now();
    // A refresh wants a new computation, which later requests may join.
    const auto joining = passage.mode == CacheMode::refresh ? Submission::Joining::never : Submission::Joining::allowed;
    const auto accepted =
        core_.submit(now, {waiter, work.get(), work->input.size, waiter->deadline, passage.key, joining});
    if (!accepted) return accepted.error();
    if (!accepted->joined) work->held_by_scheduler = work;
    waiter->core_id = accepted->id;
    waiter->stage = PendingRequest::Stage::scheduled;
    effects = take_effects();
    arm_alarm(now);
  }
  perform(std::move(effects));
  return {};
}

/// A replica with room takes the batch; the scheduler counts slots, so there is one.
void Pipeline::dispatch(RunBatch batch, std::vector<std::shared_ptr<Work>> works) {
  std::optional<ReplicaLease> lease = router_.acquire();
  workers_->post([self = shared_from_this(), id = batch.id, works = std::move(works),
                  lease = std::move(lease)]() mutable { self->run(id, works, std::move(lease)); });
}

/// Runs on a worker: the only place where the model computes.
void Pipeline::run(BatchId batch, std::vector<std::shared_ptr<Work>>& works, std::optional<ReplicaLease> lease) {
  std::vector<BatchItem> items(works.size());
  for (std::size_t i = 0; i < works.size(); ++i) items[i].input = &works[i]->input;
  const TimePoint start = services_->clock->now();
  const ReplicaId replica = lease->replica();
  guarded_run(*runners_.at(replica), items);
  const Duration elapsed = services_->clock->now() - start;
  for (std::size_t i = 0; i < works.size(); ++i) {
    works[i]->output = std::move(items[i].output);
    works[i]->run = elapsed;
    works[i]->batch_size = static_cast<std::uint32_t>(works.size());
    works[i]->replica = static_cast<std::int32_t>(replica);
    fill(*works[i]);
  }
  metrics_.batch_ran(works.size(), elapsed);
  lease.reset();  // before the scheduler hands the slot to the next batch
  Effects effects;
  {
    MutexLock lock(mutex_);
    const TimePoint now = services_->clock->now();
    core_.batch_done(now, batch);
    effects = take_effects();
    arm_alarm(now);
  }
  perform(std::move(effects));
}

/// Before anyone is told, so that an equal request finds either flight or cache.
void Pipeline::fill(const Work& work) {
  if (work.key && work.output) services_->cache->put(*work.key, *work.output);
}

/// Every waiter hears of its end, on the completion executor.
void Pipeline::complete(std::vector<Ending> endings) {
  const TimePoint now = services_->clock->now();
  std::vector<Delivery> deliveries;
  deliveries.reserve(endings.size());
  for (Ending& ending : endings) {
    Result<Response> result = Error(ErrorCode::shutting_down, "the engine shut down before the request was answered");
    switch (ending.outcome) {
      case Outcome::answered:
        result = ending.work->output ? Result<Response>(respond(ending, now)) : ending.work->output.error();
        break;
      case Outcome::deadline_exceeded:
        result = Error(ErrorCode::deadline_exceeded, "the deadline passed before the request was answered");
        break;
      case Outcome::cancelled: result = Error(ErrorCode::cancelled, "the request was cancelled"); break;
      case Outcome::shutting_down: break;
    }
    deliveries.push_back({std::move(ending.on_done), std::move(result), now - ending.accepted});
  }
  deliver(std::move(deliveries));
}

}  // namespace tidegate
