// The flow. Each step takes the request from the one above it and hands it to the
// one below, or ends it; what happens around the steps is in pipeline_effects.cpp.
#include "engine/pipeline.hpp"

#include <algorithm>
#include <utility>

#include "base/try.hpp"
#include "engine/guarded_call.hpp"
#include "engine/isolating_run.hpp"
#include "queue/batch_caps.hpp"
#include "request/request_key.hpp"

namespace tidegate {

/// If no executor would take the completion of the request whose `infer` this thread is in, it is
/// kept here and refused, for a callback never runs inside its own `infer`. They nest: a
/// completion that had to run inside `infer` may call it again.
class Pipeline::Asking {
 public:
  explicit Asking(const Pipeline& pipeline) noexcept : pipeline_(pipeline), outer_(innermost) { innermost = this; }
  ~Asking() { innermost = outer_; }
  Asking(const Asking&) = delete;
  Asking& operator=(const Asking&) = delete;

  void handle(std::uint64_t handle) noexcept { handle_ = handle; }

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
  std::uint64_t handle_ = 0;  // none yet
  Asking* const outer_;
};

thread_local constinit Pipeline::Asking* Pipeline::Asking::innermost = nullptr;

Result<std::uint64_t> Pipeline::infer(Request&& request, Engine::Callback&& on_done) {
  Passage passage = passage_of(std::move(request));
  return carry_through(passage, on_done);
}

Result<Response> Pipeline::infer_and_wait(Request&& request) {
  Passage passage = passage_of(std::move(request));
  passage.awaited = true;
  Engine::Callback nobody;
  auto accepted = carry_through(passage, nobody);
  if (!accepted) return std::move(accepted).error();
  return await(*passage.waiter);
}

Pipeline::Passage Pipeline::passage_of(Request&& request) {
  Passage passage{std::move(request.input), {}, {}, std::move(request.options), services_->clock->now()};
  const ModelInfo& model = info();
  if (model.deterministic && passage.options.cache != CacheMode::bypass) {
    names_->request_came(passage.accepted);
    passage.stamps = names_->stamps(version_scope_, passage.options.cache_tag);
    passage.key = make_request_key(model.fingerprint, passage.input, passage.stamps);
  }
  passage.announcement = announce();
  return passage;
}

/// Answers the handle of the accepted request.
Result<std::uint64_t> Pipeline::carry_through(Passage& passage, Engine::Callback& on_done) {
  Asking asking(*this);
  Result<std::uint64_t> accepted = std::uint64_t{0};
  try {
    accepted = carry_on(passage, on_done, asking);
  } catch (...) {
    accepted = thrown_on_the_way();
    if (passage.handle != 0 && !refuse(passage.handle)) accepted = passage.handle;
  }
  if (asking.untold != nullptr) {
    asking.untold->next = nullptr;
    pass_on(vacate(asking.untold));
    accepted = asking.refusal;
  }
  if (!accepted) metrics_.refused(accepted.error().code());
  return accepted;
}

Result<std::uint64_t> Pipeline::carry_on(Passage& passage, Engine::Callback& on_done, Asking& asking) {
  if (auto hit = look_up(passage)) {
    const MemoryHit::Age age = hit->age;
    TIDEGATE_CHECK(answer(passage, on_done, *std::move(hit), asking));
    if (age == MemoryHit::Age::to_be_renewed) {
      renew(std::move(passage.input), passage.options.tenant, passage.options.cache_tag);
    }
    return passage.handle;
  }
  if (auto error = find_error(passage)) return *std::move(error);
  TIDEGATE_CHECK(join(passage, on_done, asking));
  if (passage.handle != 0) return passage.handle;
  passage.similar = similar_question(passage, passage.input);
  // The model checks the input and readies it (tokens) here, on the caller's thread: never on a
  // tier's or the clock's.
  auto prepared = guarded_prepare(*runners_.begin()->second, std::move(passage.input));
  if (!prepared) return remember(passage, std::move(prepared).error());
  if (!iterative_ && !fits_batch(prepared->size, options_.batching)) {
    TIDEGATE_TRY(passage.parts,
                 split_oversized(*runners_.begin()->second, *prepared, options_.batching, options_.admission));
  }
  if (reads_caches(passage) && cache_->has_further_tiers()) {
    TIDEGATE_CHECK(look_up_further(passage, *prepared, on_done, asking));
  } else if (passage.similar) {
    TIDEGATE_CHECK(look_for_similar(passage, *prepared, on_done, asking));
  } else {
    TIDEGATE_CHECK(enqueue(passage, *prepared, on_done, &asking));
  }
  return passage.handle;
}

/// Takes the request in, unless the gate is closed. Its callback is still the caller's.
Result<void> Pipeline::admit(Passage& passage) {
  if (closed_) return Error(ErrorCode::shutting_down, "the engine is draining");
  if (waiters_.full()) return Error(ErrorCode::queue_full, "too many requests are in flight");
  if (!passage.renews) TIDEGATE_CHECK(check_order(passage.options));
  PendingRequest& waiter = waiters_.add(passage.accepted, passage.options.deadline);
  waiter.awaited = passage.awaited;
  waiter.version = passage.options.version;
  if (!passage.renews) {
    if (auto placed = stand_in_line(waiter, passage.options); !placed) {
      waiters_.withdraw(waiter);
      return placed;
    }
  }
  passage.waiter = &waiter;
  passage.handle = WaiterTable::handle(waiter);
  return {};
}

Result<void> Pipeline::answer(Passage& passage, Engine::Callback& on_done, CacheHit&& hit, Asking& asking) {
  Effects effects;
  {
    MutexLock lock(mutex_);
    TIDEGATE_CHECK(admit(passage));
    PendingRequest& waiter = *passage.waiter;
    waiter.on_done = std::move(on_done);
    waiter.result = response_of(std::move(hit));
    asking.handle(passage.handle);
    const TimePoint now = services_->clock->now();
    effects = take_effects(now, &waiter);
    conclude(waiter, now, effects);
  }
  perform(std::move(effects));
  return {};
}

/// An equal request in flight answers this one too; then it is admitted. A refresh wants a new
/// computation, so it joins none.
Result<void> Pipeline::join(Passage& passage, Engine::Callback& on_done, Asking& asking) {
  if (!reads_caches(passage)) return {};
  Effects effects;
  {
    MutexLock lock(mutex_);
    TIDEGATE_CHECK(admit(passage));
    PendingRequest& waiter = *passage.waiter;
    const TimePoint now = services_->clock->now();
    std::optional<WaiterId> id;
    try {
      id = core_.join(now, *passage.key, waiter.deadline, passage.options.priority, &waiter);
    } catch (...) {
      // Without memory for it now, `enqueue` may find some.
    }
    const bool armed = arm_alarm(now);
    if (id) {
      waiter.core_id = *id;
      waiter.stage = PendingRequest::Stage::scheduled;
      waiter.on_done = std::move(on_done);
      asking.handle(passage.handle);
      if (!armed) give_up(waiter, now);
    } else {
      withdraw(waiter);
      passage.waiter = nullptr;
      passage.handle = 0;
    }
    effects = take_effects(now, passage.waiter);
    if (need_nothing(effects)) return {};
  }
  perform(std::move(effects));
  return {};
}

/// Further tiers answer later; the request, admitted, goes on from there.
Result<void> Pipeline::look_up_further(Passage& passage, PreparedInput& prepared, Engine::Callback& on_done,
                                       Asking& asking) {
  {
    MutexLock lock(mutex_);
    TIDEGATE_CHECK(admit(passage));
    passage.waiter->on_done = std::move(on_done);
    asking.handle(passage.handle);
  }
  const CacheKey key = *passage.key;
  const Deadline deadline = passage.options.deadline;
  KeyOrigin origin{names_, passage.stamps};
  auto rest = [weak = weak_from_this(), visits = services_->visits, passage = std::move(passage),
               prepared = std::move(prepared)](std::optional<CacheHit> hit) mutable {
    const Visits::Visit visit(*visits);
    if (const auto self = weak.lock()) self->found_further(std::move(passage), std::move(prepared), std::move(hit));
  };
  cache_->get_further(key, deadline, std::move(rest), std::move(origin));
  return {};
}

/// A model that embeds the text, and then the semantic tier, answer later; the request, admitted, goes on from there.
Result<void> Pipeline::look_for_similar(Passage& passage, PreparedInput& prepared, Engine::Callback& on_done,
                                        Asking& asking) {
  {
    MutexLock lock(mutex_);
    TIDEGATE_CHECK(admit(passage));
    passage.waiter->on_done = std::move(on_done);
    asking.handle(passage.handle);
  }
  ask_similar(std::move(passage), std::move(prepared));
  return {};
}

/// Where only room is lacking, a caller who may wait does so.
Result<void> Pipeline::enqueue(Passage& passage, PreparedInput& prepared, Engine::Callback& on_done, Asking* asking) {
  const bool waits = may_wait(passage);
  if (waits) passage.patience = Submission::Patience::waits;
  auto queued = try_enqueue(passage, prepared, on_done, asking);
  if (!waits || queued || queued.error().code() != ErrorCode::queue_full) return queued;
  return wait_for_room(passage, prepared, on_done, asking);
}

/// Hands the request to the scheduler. On an error an admitted one is still there, for the caller
/// to end; one that was not is withdrawn, and `on_done` is the caller's as before.
Result<void> Pipeline::try_enqueue(Passage& passage, PreparedInput& prepared, Engine::Callback& on_done,
                                   Asking* asking) {
  const bool admitted = passage.handle != 0;
  Effects effects;
  Result<void> queued;
  {
    MutexLock lock(mutex_);
    // Cancelled or drained meanwhile: it has completed.
    if (admitted && waiters_.find(passage.handle) == nullptr) return {};
    if (!admitted) {
      if (auto in = admit(passage); !in) {
        // It is not the room of all models that is lacking: others may have that.
        if (passage.place != nullptr && services_->room != nullptr) services_->room->leave(passage.place->claim);
        return in;
      }
      const bool behind = line_.comes_before(passage.options.priority, passage.place);
      passage.standing = behind ? Submission::Standing::behind : Submission::Standing::first;
    }
    PendingRequest& waiter = *passage.waiter;
    const TimePoint now = services_->clock->now();
    const bool answered = answered_meanwhile(passage, waiter);
    if (!answered) queued = submit(now, passage, prepared);
    if (!answered && queued && !arm_alarm(now)) give_up(waiter, now);
    if (!admitted && queued) {
      waiter.on_done = std::move(on_done);
      asking->handle(passage.handle);
    } else if (!admitted) {
      withdraw(waiter);
      passage.handle = 0;
      claim_room(passage);
    }
    effects = take_effects(now, asking != nullptr && queued ? &waiter : nullptr);
    if (answered) conclude(waiter, now, effects);
    if (need_nothing(effects)) return queued;
  }
  perform(std::move(effects));
  return queued;
}

Result<void> Pipeline::submit(TimePoint now, Passage& passage, PreparedInput& prepared) noexcept {
  Work* work = nullptr;
  try {
    work = &works_.acquire();
    std::vector<SubmittedPart> parts;
    if (!passage.parts.empty()) {
      acquire_parts(*work, passage.parts.size());
      parts.reserve(passage.parts.size());
      for (const PreparedInput& input : passage.parts) {
        parts.push_back({work->in_parts->parts[parts.size()], input.size});
      }
    }
    // A refresh wants a new computation, which later requests may join.
    const bool refresh = passage.options.cache == CacheMode::refresh;
    const auto joining = refresh ? Submission::Joining::never : Submission::Joining::allowed;
    Submission submission{passage.waiter,
                          work,
                          prepared.size,
                          passage.options.deadline,
                          passage.key,
                          joining,
                          passage.options.priority,
                          passage.options.tenant,
                          prepared.signature,
                          parts};
    submission.patience = passage.patience;
    if (passage.place != nullptr) submission.claim = &passage.place->claim;
    submission.standing = passage.standing;
    const auto accepted = core_.submit(now, submission);
    if (accepted) {
      passage.waiter->core_id = accepted->id;
      passage.waiter->stage = PendingRequest::Stage::scheduled;
    }
    if (accepted && !accepted->joined) {
      work->key = passage.key;
      work->stamps = passage.stamps;
      work->similar = std::move(passage.similar);
      work->stream = std::move(passage.stream);
      if (passage.awaited) work->awaited_by = passage.handle;
      parts.empty() ? static_cast<void>(work->input = std::move(prepared)) : fill_parts(*work, passage.parts);
      return {};
    }
    take_back(*work);
    if (!accepted) return accepted.error();
    return {};
  } catch (...) {
    if (work != nullptr) take_back(*work);
    return thrown_on_the_way();
  }
}

/// A replica with room takes the batch; the scheduler counts slots, so there is one.
/// False, with an error as the output of every work, if the executor would not take it.
bool Pipeline::dispatch(BatchJob& job) noexcept {
  if (job.leader != nullptr) {
    job.leader->wake(PendingRequest::kLead);
    return true;
  }
  const std::uint64_t ticket = job.ticket();
  job.lease = lease_for(job);
  try {
    workers_->post([self = shared_from_this(), &job, ticket] {
      if (job.take(ticket)) self->run(job);
    });
    return true;
  } catch (...) {
    const Error error = thrown_on_the_way();
    if (!job.take(ticket)) return true;  // it threw, but it runs the batch
    for (void* work : job.works) static_cast<Work*>(work)->output = error;
    job.lease.reset();
    return false;
  }
}

/// Runs on a worker, or on the thread of a caller that waits for its answer.
void Pipeline::run(BatchJob& job) noexcept {
  if (!job.lease) job.lease = lease_for(job);
  const BatchEnd end = compute(job);
  job.lease.reset();  // before the scheduler hands the slot to the next batch
  Effects effects;
  {
    MutexLock lock(mutex_);
    const TimePoint now = job.computed;
    end_batch(now, job, end);
    static_cast<void>(arm_alarm(now));  // refused: the next event tries again
    effects = take_effects(now);
  }
  perform(std::move(effects));
}

/// The only place where the model computes.
BatchEnd Pipeline::compute(BatchJob& job) noexcept {
  const TimePoint start = services_->clock->now();
  std::vector<BatchItem>& items = job.items;
  try {
    items.resize(job.works.size());
  } catch (...) {
    const Error error = thrown_on_the_way();
    for (void* work : job.works) static_cast<Work*>(work)->output = error;
    job.computed = start;
    return BatchEnd::failed;
  }
  for (std::size_t i = 0; i < items.size(); ++i) {
    Work& work = *static_cast<Work*>(job.works[i]);
    items[i].input = &work.input;
    items[i].state = std::move(work.state);
  }
  const ReplicaId replica = job.lease->replica();
  const NoWaiting model;
  const BatchEnd end = run_isolating(*runners_.at(replica), items);
  job.computed = services_->clock->now();
  const bool split = end != BatchEnd::ran && std::any_of(items.begin(), items.end(), is_good);
  bool stored = false;
  for (std::size_t i = 0; i < items.size(); ++i) {
    Work& work = *static_cast<Work*>(job.works[i]);
    work.poisonous = split && is_models_failure(items[i]);
    if (work.steps == 0) work.dispatch = start - work.formed;
    work.run += job.computed - start;
    work.batch_size = static_cast<std::uint32_t>(items.size());
    work.replica = static_cast<std::int32_t>(replica);
    if (iterative_ && take_step(work, items[i])) continue;
    work.output = std::move(items[i].output);
    const bool complete = work.whole == nullptr || part_ran(work, *runners_.at(replica));
    if (complete && keep(work.whole != nullptr ? *work.whole : work)) stored = true;
  }
  if (benefit_) benefit_->computed((job.computed - start) / static_cast<std::int64_t>(items.size()));
  metrics_.batch_ran(items.size(), job.computed - start);
  items.clear();
  if (stored) job.computed = services_->clock->now();
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
    const Effects next = vacate(told.front());  // those who were held behind them
    wake(next.awaited);
    ended = next.ended.front();
  }
}

/// Until the end of the request, and of the batches that are its caller's to run.
Result<Response> Pipeline::await(PendingRequest& own) noexcept {
  for (;;) {
    const std::uint32_t signal = own.signal.load(std::memory_order_acquire);
    if ((signal & PendingRequest::kLead) != 0) {
      own.signal.fetch_and(~PendingRequest::kLead, std::memory_order_relaxed);
      run(*std::exchange(own.lead, nullptr));
    } else if ((signal & PendingRequest::kEnded) != 0 && own.lead == nullptr) {
      break;  // else it has ended, but a batch is on its way to this thread
    } else {
      own.signal.wait(signal, std::memory_order_acquire);
    }
  }
  own.signal.store(PendingRequest::kNone, std::memory_order_relaxed);
  Result<Response> result = end_of(own);
  own.next = nullptr;
  pass_on(vacate(&own));
  return result;
}

}  // namespace tidegate
