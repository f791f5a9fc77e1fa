// Shutdown, in order: refuse, let finish, fail the rest, end the threads.
#include <algorithm>
#include <condition_variable>
#include <utility>

#include "cache/snapshot_keeper.hpp"
#include "engine/engine_impl.hpp"

namespace tidegate {
namespace {

/// Wakes a drain when everything is idle or the bound is reached. Shared with the
/// notes left at pipelines and clock, which may outlive the drain.
class DrainGate {
 public:
  explicit DrainGate(std::size_t pipelines) : busy_(pipelines) {}

  void one_is_idle() {
    MutexLock lock(mutex_);
    --busy_;
    changed_.notify_all();
  }
  void bound_reached() {
    MutexLock lock(mutex_);
    expired_ = true;
    changed_.notify_all();
  }
  void wait() {
    MutexLock lock(mutex_);
    while (busy_ > 0 && !expired_) lock.wait(changed_);
  }

 private:
  Mutex mutex_;  // leaf
  std::condition_variable changed_;
  std::size_t busy_ TIDEGATE_GUARDED_BY(mutex_);
  bool expired_ TIDEGATE_GUARDED_BY(mutex_) = false;
};

/// What the destructor gives completions that are decided already, however short the
/// drain_timeout is: they only have to be called.
constexpr Duration kLeastTimeForCompletions = std::chrono::seconds(1);

}  // namespace

std::uint64_t Engine::Impl::answered() const noexcept {
  std::uint64_t sum = roster->departed_answers();
  for (std::size_t i = 0; i < roster->size(); ++i) {
    if (const auto one = roster->pipeline(i)) sum += one->stats().answered;
  }
  return sum;
}

DrainReport Engine::Impl::drain(Duration bound) noexcept {
  const std::thread::id self = std::this_thread::get_id();
  bool first = false;
  {
    MutexLock lock(drain_mutex);
    // A completion that had to run inside this very drain cannot wait for it.
    if (drain_thread == self) return {};
    while (drain_thread != std::thread::id()) lock.wait(drain_ended);
    first = !std::exchange(drained, true);
    drain_thread = self;
  }
  const DrainReport report = drain_once(bound);
  if (first && services->snapshot->has_file()) static_cast<void>(services->snapshot->save());
  MutexLock lock(drain_mutex);
  drain_thread = {};
  drain_ended.notify_all();
  return report;
}

/// Waits until nothing waits or runs, for `bound` at most.
void Engine::Impl::await_idle(Duration bound) {
  std::vector<std::shared_ptr<Pipeline>> pipelines;
  for (std::size_t i = 0; i < roster->size(); ++i) {
    if (auto one = roster->pipeline(i)) pipelines.push_back(std::move(one));
  }
  const auto gate = std::make_shared<DrainGate>(pipelines.size());
  for (const auto& one : pipelines) one->on_idle([gate] { gate->one_is_idle(); });
  const TimePoint now = services->clock->now();
  const TimePoint end = bound > kNoDeadline - now ? kNoDeadline : now + bound;
  const AlarmId alarm = services->clock->call_at(end, [gate] { gate->bound_reached(); });
  gate->wait();
  services->clock->cancel(alarm);
}

DrainReport Engine::Impl::drain_once(Duration bound) noexcept {
  const std::uint64_t answered_before = answered();
  for (std::size_t i = 0; i < roster->size(); ++i) {
    if (const auto one = roster->pipeline(i)) one->close();
  }
  if (bound > Duration::zero()) {
    try {
      await_idle(bound);
    } catch (...) {
      // Without an alarm the wait could last for ever, so the bound counts as reached.
    }
  }
  DrainReport report;
  for (std::size_t i = 0; i < roster->size(); ++i) {
    const auto one = roster->pipeline(i);
    if (one == nullptr) continue;
    one->names()->end_waits();
    report.failed += one->fail_remaining();
    // Another thread may hold endings it has not posted; the completion executor
    // must not stop before them. It only posts, so the wait is short.
    one->await_performed();
    report.stuck_batches += one->stats().running_batches;
    one->keep_speed();
  }
  report.finished = answered() - answered_before;
  return report;
}

Engine::Impl::~Impl() {
  bool again = false;
  {
    MutexLock lock(drain_mutex);
    again = drained;
  }
  // Who has drained has waited already.
  const DrainReport report = drain(again ? Duration::zero() : options.drain_timeout);
  // An idle thread ends at once. Where a runner hangs there is nothing more to wait
  // for: its thread is left behind with everything it uses.
  const Duration bound = report.stuck_batches == 0 ? Duration::max() : Duration::zero();
  for (std::size_t i = 0; i < roster->size(); ++i) {
    if (const auto pool = roster->workers(i)) pool->stop(bound);
  }
  if (completion_threads != nullptr) {
    completion_threads->stop(std::max(options.drain_timeout, kLeastTimeForCompletions));
  }
  // Runners call their host's functions, which may not outlive the engine.
  roster->take_all().clear();
  services->visits->await_others();
}

}  // namespace tidegate
