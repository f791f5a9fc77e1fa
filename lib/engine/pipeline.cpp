// The flow. Each step takes the request from the one above it and hands it to the
// one below, or ends it; what happens around the steps is in pipeline_effects.cpp.
#include "engine/pipeline.hpp"

#include <algorithm>
#include <utility>

#include "base/try.hpp"
#include "engine/guarded_call.hpp"
#include "engine/isolating_run.hpp"
#include "engine/leading.hpp"
#include "request/request_key.hpp"

namespace tidegate {

namespace {

/// The request whose `infer` this thread is in. If no executor would take its
/// completion it is kept here and refused, for a callback never runs inside its own
/// `infer`. They nest: a completion that had to run inside `infer` may call it again.
class Asking {
 public:
  Asking(const Pipeline& pipeline, std::uint64_t handle) noexcept
      : pipeline_(pipeline), handle_(handle), outer_(innermost) {
    innermost = this;
  }
  ~Asking() { innermost = outer_; }
  Asking(const Asking&) = delete;
  Asking& operator=(const Asking&) = delete;

  [[nodiscard]] static Asking* find(const Pipeline& pipeline, std::uint64_t handle) noexcept {
    Asking* one = innermost;
    while (one != nullptr && (&one->pipeline_ != &pipeline || one->handle_ != handle)) one = one->outer_;
    return one;
  }

  PendingRequest* untold = nullptr;
  Error refusal{ErrorCode::internal, "the completion was told"};  ///< why it is untold

 private:
  static thread_local constinit Asking* innermost;
  const Pipeline& pipeline_;
  const std::uint64_t handle_;
  Asking* const outer_;
};

thread_local constinit Asking* Asking::innermost = nullptr;

}  // namespace

Result<std::uint64_t> Pipeline::infer(Request request, Engine::Callback on_done) {
  TIDEGATE_TRY(Passage passage, admit(std::move(request), std::move(on_done)));
  const std::uint64_t handle = passage.handle;
  Asking asking(*this, handle);
  Result<std::uint64_t> accepted = handle;
  try {
    accepted = carry_on(std::move(passage));
  } catch (...) {
    accepted = refuse(handle, thrown_on_the_way());
  }
  if (asking.untold == nullptr) return accepted;
  asking.untold->next = nullptr;
  pass_on(vacate(asking.untold));
  metrics_.refused(asking.refusal.code());
  return asking.refusal;
}

/// Leader of its own batch where one starts at once. Where the replicas are busy it waits
/// like everybody, and a worker runs the batch.
Result<Response> Pipeline::infer_and_wait(Request request) {
  const auto end = std::make_shared<AwaitedEnd>();
  std::optional<RunBatch> batch;
  std::optional<ReplicaLease> lease;
  Result<std::uint64_t> accepted = std::uint64_t{0};
  {
    Leading leading(*this);
    accepted = infer(std::move(request), [end](Result<Response> result) { end->set(std::move(result)); });
    batch.swap(leading.batch());
    lease.swap(leading.lease());
  }
  // Whatever became of the request, the batch may hold those of others.
  if (batch) run(*batch, std::move(lease), accepted ? std::optional(*accepted) : std::nullopt);
  if (!accepted) return std::move(accepted).error();
  return end->wait();
}

Result<std::uint64_t> Pipeline::carry_on(Passage passage) {
  const std::uint64_t handle = passage.handle;
  if (auto hit = look_up(passage)) {
    end_with(handle, Response{std::move(hit->outputs), AnswerSource::cache, {.cache_tier = hit->tier}});
    return handle;
  }
  if (join(passage)) return handle;
  if (auto ready = prepare(passage); !ready) return refuse(handle, std::move(ready).error());
  if (passage.key && passage.options.cache == CacheMode::use && services_->cache->has_further_tiers()) {
    look_up_further(std::move(passage));
  } else if (auto queued = enqueue(std::move(passage)); !queued) {
    return refuse(handle, std::move(queued).error());
  }
  return handle;
}

/// Takes the request in, unless the gate is closed.
Result<Pipeline::Passage> Pipeline::admit(Request&& request, Engine::Callback&& on_done) {
  Passage passage{std::move(request.input), {}, {}, std::move(request.options), 0};
  const ModelInfo& model = info();
  if (model.deterministic && passage.options.cache != CacheMode::bypass) {
    passage.key = make_request_key(model.fingerprint, passage.input);
  }
  passage.announcement = announce();
  MutexLock lock(mutex_);
  if (closed_ || waiters_.full()) {
    metrics_.refused(closed_ ? ErrorCode::shutting_down : ErrorCode::queue_full);
    if (closed_) return Error(ErrorCode::shutting_down, "the engine is draining");
    return Error(ErrorCode::queue_full, "too many requests are in flight");
  }
  if (auto orderly = check_order(passage.options); !orderly) {
    metrics_.refused(orderly.error().code());
    return orderly.error();
  }
  PendingRequest& waiter = waiters_.add(services_->clock->now(), passage.options.deadline, std::move(on_done));
  if (auto placed = stand_in_line(waiter, passage.options); !placed) {
    on_done = std::move(waiter.on_done);
    waiters_.end(waiter);
    waiters_.vacate(waiter);
    return placed.error();
  }
  passage.handle = WaiterTable::handle(waiter);
  passage.batches_done = batches_done();
  return passage;
}

/// Memory answers on the caller's thread.
std::optional<CacheHit> Pipeline::look_up(const Passage& passage) {
  if (!passage.key || passage.options.cache != CacheMode::use) return std::nullopt;
  return services_->cache->get_in_memory(*passage.key);
}

/// An equal request in flight answers this one too. A refresh wants a new
/// computation, so it joins none.
bool Pipeline::join(const Passage& passage) {
  if (!passage.key || passage.options.cache != CacheMode::use) return false;
  Effects effects;
  bool joined = false;
  {
    MutexLock lock(mutex_);
    PendingRequest* waiter = waiters_.find(passage.handle);
    if (waiter == nullptr) return true;  // the drain has ended it
    const TimePoint now = services_->clock->now();
    if (const auto id = core_.join(now, *passage.key, waiter->deadline, passage.options.priority, waiter)) {
      waiter->core_id = *id;
      waiter->stage = PendingRequest::Stage::scheduled;
      joined = true;
    }
    if (!arm_alarm(now) && joined) give_up(*waiter, now);
    effects = take_effects();
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
  TIDEGATE_TRY(passage.parts,
               split_oversized(*runners_.begin()->second, passage.prepared, options_.batching, options_.admission));
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
  services_->cache->get_further(key, deadline,
                                [weak = weak_from_this(), visits = services_->visits,
                                 passage = std::move(passage)](std::optional<CacheHit> hit) mutable {
                                  const Visits::Visit visit(*visits);
                                  if (const auto self = weak.lock())
                                    self->found_further(std::move(passage), std::move(hit));
                                });
}

void Pipeline::found_further(Passage passage, std::optional<CacheHit> hit) noexcept {
  const std::uint64_t handle = passage.handle;
  try {
    if (hit) {
      end_with(handle, Response{std::move(hit->outputs), AnswerSource::cache, {.cache_tier = hit->tier}});
    } else if (auto queued = enqueue(std::move(passage)); !queued) {
      end_with(handle, std::move(queued).error());
    }
  } catch (...) {
    end_with(handle, thrown_on_the_way());
  }
}

/// Hands the request to the scheduler. On an error, thrown or answered, the waiter is
/// still there: the caller withdraws it or tells it.
Result<void> Pipeline::enqueue(Passage passage) {
  Effects effects;
  {
    MutexLock lock(mutex_);
    PendingRequest* waiter = waiters_.find(passage.handle);
    if (waiter == nullptr) return {};  // cancelled or drained meanwhile: it has completed
    const TimePoint now = services_->clock->now();
    if (answered_meanwhile(passage, *waiter)) {
      effects = take_effects();
      conclude(*waiter, effects.ended);
    } else {
      TIDEGATE_CHECK(submit(now, passage, *waiter));
      if (!arm_alarm(now)) give_up(*waiter, now);
      effects = take_effects();
    }
  }
  perform(std::move(effects));
  return {};
}

/// An equal flight may have ended since the look-up, and with it the chance to join. Its
/// answer is in memory by then, and asked for under the lock it cannot be missed.
bool Pipeline::answered_meanwhile(const Passage& passage, PendingRequest& waiter) {
  if (passage.batches_done == batches_done()) return false;
  auto hit = look_up(passage);
  if (!hit) return false;
  waiter.result = Response{std::move(hit->outputs), AnswerSource::cache, {.cache_tier = hit->tier}};
  return true;
}

Result<void> Pipeline::submit(TimePoint now, Passage& passage, PendingRequest& waiter) {
  const bool whole = passage.parts.empty();
  const auto work = whole ? std::make_shared<Work>() : make_split_work(std::move(passage.parts));
  if (whole) work->input = std::move(passage.prepared);
  std::vector<SubmittedPart> parts;
  if (!whole) {
    for (const auto& part : work->in_parts->parts) parts.push_back({part.get(), part->input.size});
  }
  work->key = passage.key;
  // A refresh wants a new computation, which later requests may join.
  const auto joining =
      passage.options.cache == CacheMode::refresh ? Submission::Joining::never : Submission::Joining::allowed;
  const auto accepted = core_.submit(now, {&waiter, work.get(), work->input.size, waiter.deadline, passage.key, joining,
                                           passage.options.priority, passage.options.tenant, parts});
  if (!accepted) return accepted.error();
  if (!accepted->joined) hand_over(work);
  waiter.core_id = accepted->id;
  waiter.stage = PendingRequest::Stage::scheduled;
  return {};
}

/// A replica with room takes the batch; the scheduler counts slots, so there is one.
/// False, with an error as the output of every work, if the executor would not take it.
bool Pipeline::dispatch(RunBatch& batch) noexcept {
  if (Leading* const leading = Leading::of(*this); leading != nullptr && leading->take(batch, router_)) return true;
  std::shared_ptr<BatchJob> job;
  try {
    job = std::make_shared<BatchJob>();
    job->batch = std::move(batch);
    workers_->post([self = shared_from_this(), job, lease = router_.acquire()]() mutable {
      if (!job->taken.exchange(true)) self->run(job->batch, std::move(lease));
    });
    return true;
  } catch (...) {
    const Error error = thrown_on_the_way();
    if (job != nullptr && job->taken.exchange(true)) return true;  // it threw, but it runs the batch
    if (job != nullptr) batch = std::move(job->batch);
    for (void* work : batch.works) static_cast<Work*>(work)->output = error;
    return false;
  }
}

/// Runs on a worker, or on the thread of a caller that waits for its answer.
void Pipeline::run(const RunBatch& batch, std::optional<ReplicaLease> lease,
                   std::optional<std::uint64_t> own) noexcept {
  const BatchEnd end = compute(batch, lease->replica());
  lease.reset();  // before the scheduler hands the slot to the next batch
  Effects effects;
  bool tells_own = false;
  {
    MutexLock lock(mutex_);
    const TimePoint now = services_->clock->now();
    PendingRequest* const waiter = own ? waiters_.find(*own) : nullptr;
    end_batch(now, batch, end);
    static_cast<void>(arm_alarm(now));  // refused: the next event tries again
    effects = take_effects();
    // In parts, its end may be left to another batch; in order, to the executor.
    tells_own = waiter != nullptr && waiter->stage == PendingRequest::Stage::ended && !waiter->is_ordered();
    if (tells_own) {
      waiter->ended_at = now;
      effects.ended.remove(*waiter);
    }
  }
  perform(std::move(effects));
  if (tells_own) deliver(*own, nullptr);
}

/// The only place where the model computes.
BatchEnd Pipeline::compute(const RunBatch& batch, ReplicaId replica) noexcept {
  std::vector<BatchItem> items;
  try {
    items.resize(batch.works.size());
  } catch (...) {
    const Error error = thrown_on_the_way();
    for (void* work : batch.works) static_cast<Work*>(work)->output = error;
    return BatchEnd::failed;
  }
  for (std::size_t i = 0; i < items.size(); ++i) items[i].input = &static_cast<Work*>(batch.works[i])->input;
  const TimePoint start = services_->clock->now();
  const BatchEnd end = run_isolating(*runners_.at(replica), items);
  const Duration elapsed = services_->clock->now() - start;
  const auto good = [](const BatchItem& item) { return item.output.has_value(); };
  const bool split = end == BatchEnd::failed && std::any_of(items.begin(), items.end(), good);
  for (std::size_t i = 0; i < items.size(); ++i) {
    Work& work = *static_cast<Work*>(batch.works[i]);
    work.poisonous = split && is_models_failure(items[i]);
    work.output = std::move(items[i].output);
    work.dispatch = start - work.formed;
    work.run = elapsed;
    work.batch_size = static_cast<std::uint32_t>(items.size());
    work.replica = static_cast<std::int32_t>(replica);
    // Before anyone is told, so that an equal request finds either flight or cache.
    const bool complete = work.whole == nullptr || part_ran(work, *runners_.at(replica));
    const Work& owner = work.whole != nullptr ? *work.whole : work;
    if (complete && owner.key && owner.output) services_->cache->put(*owner.key, *owner.output);
  }
  metrics_.batch_ran(items.size(), elapsed);
  return end;
}

/// Tells the request and those that ended with it. `refusal` is why this runs here and
/// not on an executor; nullptr on one.
void Pipeline::deliver(std::uint64_t handle, const Error* refusal) noexcept {
  PendingRequest* ended = nullptr;
  {
    MutexLock lock(mutex_);
    ended = waiters_.claim(handle);
  }
  while (ended != nullptr) {
    EndedList told;
    while (ended != nullptr) {
      PendingRequest& one = *std::exchange(ended, ended->next);
      Asking* const own = refusal == nullptr ? nullptr : Asking::find(*this, WaiterTable::handle(one));
      if (own != nullptr) {
        own->untold = &one;
        own->refusal = *refusal;
      } else {
        tell(one);
        told.push_back(one);
      }
    }
    ended = vacate(told.front()).front();  // those who were held behind them
  }
}

}  // namespace tidegate
