// Shutdown, in order: refuse, let finish, fail the rest, end the threads.
#include <condition_variable>

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

std::uint64_t answered(const std::vector<std::shared_ptr<Pipeline>>& pipelines) {
  std::uint64_t sum = 0;
  for (const auto& pipeline : pipelines) sum += pipeline->stats().answered;
  return sum;
}

}  // namespace

DrainReport Engine::Impl::drain(Duration bound) {
  MutexLock drain_lock(drain_mutex);
  if (drained) return drain_report;
  drained = true;
  const auto all = pipelines();
  const std::uint64_t answered_before = answered(all);
  for (const auto& pipeline : all) pipeline->close();
  if (bound > Duration::zero()) {
    const auto gate = std::make_shared<DrainGate>(all.size());
    for (const auto& pipeline : all) pipeline->on_idle([gate] { gate->one_is_idle(); });
    const TimePoint now = services->clock->now();
    const TimePoint end = bound > kNoDeadline - now ? kNoDeadline : now + bound;
    const AlarmId alarm = services->clock->call_at(end, [gate] { gate->bound_reached(); });
    gate->wait();
    services->clock->cancel(alarm);
  }
  for (const auto& pipeline : all) {
    drain_report.failed += pipeline->fail_remaining();
    // Another thread may hold endings it has not posted; the completion executor
    // must not stop before them. It only posts, so the wait is short.
    pipeline->await_performed();
    drain_report.stuck_batches += pipeline->stats().running_batches;
  }
  drain_report.finished = answered(all) - answered_before;
  return drain_report;
}

Engine::Impl::~Impl() {
  const DrainReport report = drain(options.drain_timeout);
  // An idle thread ends at once. Where a runner hangs there is nothing more to wait
  // for: its thread is left behind with everything it uses.
  const Duration bound = report.stuck_batches == 0 ? Duration::max() : Duration::zero();
  std::vector<std::shared_ptr<ThreadPool>> pools;
  {
    MutexLock lock(mutex);
    for (Model& model : models) pools.push_back(model.workers);
  }
  for (const auto& pool : pools) {
    if (pool != nullptr) pool->stop(bound);
  }
  if (completion_threads != nullptr) completion_threads->stop(options.drain_timeout);
}

}  // namespace tidegate
