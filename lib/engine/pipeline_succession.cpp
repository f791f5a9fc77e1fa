// A newer version of the model takes over what waits for this one.
#include <algorithm>
#include <new>
#include <utility>

#include "engine/guarded_call.hpp"
#include "engine/pipeline.hpp"
#include "request/copy_input.hpp"
#include "request/request_key.hpp"

namespace tidegate {
namespace {

/// Whether inputs that one model has prepared can be run by the other.
bool takes_inputs_of(const ModelInfo& later, const ModelInfo& former) noexcept {
  if (former.preparation != later.preparation) return false;
  if (former.preparation != Digest{}) return true;
  return former.deterministic && later.deterministic && former.fingerprint == later.fingerprint;
}

}  // namespace

std::uint32_t Pipeline::next_generation() const noexcept {
  MutexLock lock(mutex_);
  return waiters_.next_generation();
}

void Pipeline::number_requests_from(std::uint32_t generation) noexcept {
  MutexLock lock(mutex_);
  waiters_.number_from(generation);
}

void Pipeline::hand_rates_to(Pipeline& successor) const noexcept {
  MutexLock lock(mutex_);
  MutexLock their_lock(successor.mutex_);
  try {
    successor.core_.inherit_rates(services_->clock->now(), core_);
  } catch (const std::bad_alloc&) {
    // Without memory some tenants' rates start anew.
  }
}

void Pipeline::hand_over_to(const std::shared_ptr<Pipeline>& successor) noexcept {
  hand_notes_to(successor);
  // What an iterative model has begun lies in its replicas, and lines end with their version.
  if (options_.batching.ordering != Ordering::none || iterative_ || successor->iterative_ ||
      !takes_inputs_of(successor->info(), info()))
    return;
  try {
    std::vector<std::pair<TimePoint, std::uint64_t>> waiting;
    {
      MutexLock lock(mutex_);
      successor_ = successor;
      waiters_.for_each_scheduled([&](const PendingRequest& waiter) {
        if (waiter.version == Version::any) waiting.emplace_back(waiter.accepted, WaiterTable::handle(waiter));
      });
    }
    std::sort(waiting.begin(), waiting.end());
    for (const auto& [accepted, handle] : waiting) hand_over(handle, *successor);
  } catch (...) {
    // Without memory for the move a request stays where it is and is answered here.
  }
}

/// Both versions are locked while the request changes hands, so at every moment exactly one
/// has it. Refused there, it stays.
void Pipeline::hand_over(std::uint64_t handle, Pipeline& successor) {
  Engine::Callback forward = [self = shared_from_this(), handle](Result<Response> result) {
    self->answered_elsewhere(handle, std::move(result));
  };
  Effects effects;
  Effects theirs;
  {
    MutexLock lock(mutex_);
    PendingRequest* const waiter = waiters_.find(handle);
    if (waiter == nullptr || waiter->stage != PendingRequest::Stage::scheduled) return;
    // Whoever is due ends now, so that nobody does between acceptance there and withdrawal here.
    const TimePoint now = services_->clock->now();
    core_.advance(now);
    MutexLock their_lock(successor.mutex_);
    const auto waiting = core_.waiting(waiter->core_id);
    if (waiting && successor.take_over(*waiter, *waiting, forward)) {
      core_.withdraw(now, waiter->core_id);
      waiter->stage = PendingRequest::Stage::elsewhere;
    }
    static_cast<void>(arm_alarm(now));  // refused: the next event tries again
    theirs = successor.take_effects(now);
    effects = take_effects(now);
  }
  perform(std::move(effects));
  successor.perform(std::move(theirs));
}

/// False, with nothing changed, if the request is not accepted here.
bool Pipeline::take_over(PendingRequest& from, const SchedulerCore::Waiting& waiting,
                         Engine::Callback& forward) noexcept {
  if (closed_ || waiters_.full()) return false;
  const TimePoint now = services_->clock->now();
  const Work& former = *static_cast<const Work*>(waiting.work);
  if (former.in_parts != nullptr) return false;  // they were cut to the former version's limits
  Work* work = nullptr;
  PendingRequest* waiter = nullptr;
  bool joined = false;
  bool taken = false;
  try {
    PreparedInput input;
    input.input = copy_input(former.input.input);
    input.tokens = former.input.tokens;
    input.size = former.input.size;
    input.signature = former.input.signature;
    std::optional<CacheKey> key;
    CacheStamps stamps = former.stamps;
    stamps.version = names_->stamps(version_scope_, {}).version;
    if (former.key && info().deterministic) key = make_request_key(info().fingerprint, former.input.input, stamps);
    work = &works_.acquire();
    waiter = &waiters_.add(from.accepted, from.deadline);
    Submission submission{waiter,           work,          input.size, from.deadline, key, Submission::Joining::allowed,
                          waiting.priority, waiting.tenant};
    submission.signature = input.signature;
    submission.origin = Submission::Origin::moves;
    const auto accepted = core_.submit(now, submission);
    if (accepted) {
      taken = true;
      joined = accepted->joined;
      waiter->core_id = accepted->id;
      work->input = std::move(input);
      work->key = key;
      work->stamps = stamps;
    }
  } catch (...) {
    // Without memory it is not taken.
  }
  if (taken) {
    waiter->stage = PendingRequest::Stage::scheduled;
    waiter->forwarded = true;
    waiter->on_done = std::move(forward);
    from.handle_elsewhere = WaiterTable::handle(*waiter);
  } else if (waiter != nullptr) {
    waiters_.withdraw(*waiter);
  }
  if (work != nullptr && (!taken || joined)) {
    // Cleared here: what it holds is shared with the former version's.
    work->clear();
    works_.take_back(*work);
  }
  if (!arm_alarm(now) && taken) give_up(*waiter, now);
  return taken;
}

void Pipeline::answered_elsewhere(std::uint64_t handle, Result<Response> result) noexcept {
  Effects effects;
  bool awaited = false;
  {
    MutexLock lock(mutex_);
    PendingRequest* const waiter = waiters_.find(handle);
    if (waiter == nullptr) return;
    waiter->result = std::move(result);
    waiter->ended_at = services_->clock->now();
    waiter->next = nullptr;
    waiters_.end(*waiter);
    awaited = waiter->awaited;
    effects = take_effects(waiter->ended_at);
    if (awaited) effects.add(*waiter);
  }
  perform(std::move(effects));
  if (!awaited) deliver(handle, nullptr);  // after it has counted as performed: a callback may drain
}

}  // namespace tidegate
