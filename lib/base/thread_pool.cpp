#include "base/thread_pool.hpp"

#include <pthread.h>

#include "base/block_signals.hpp"
#include "base/mutex.hpp"
#include "base/ring.hpp"

namespace tidegate {

struct ThreadPool::State {
  Mutex mutex;  // leaf: no other lock is taken under it
  std::condition_variable work;
  std::condition_variable ended;
  Ring<UniqueFunction<void()>> queue TIDEGATE_GUARDED_BY(mutex);
  bool stopping TIDEGATE_GUARDED_BY(mutex) = false;
  std::uint32_t running TIDEGATE_GUARDED_BY(mutex) = 0;  // threads that have not ended

  void loop() {
    for (;;) {
      UniqueFunction<void()> task;
      {
        MutexLock lock(mutex);
        while (queue.empty() && !stopping) lock.wait(work);
        if (queue.empty()) break;
        task = queue.pop();
      }
      task();
    }
    MutexLock lock(mutex);
    --running;
    ended.notify_all();
  }
};

ThreadPool::ThreadPool(std::string name, std::uint32_t threads) : state_(std::make_shared<State>()) {
  const BlockSignals block;
  name.resize(std::min<std::size_t>(name.size(), 15));
  threads_.reserve(threads);
  try {
    for (std::uint32_t i = 0; i < threads; ++i) {
      {
        MutexLock lock(state_->mutex);
        ++state_->running;
      }
      threads_.emplace_back([state = state_] { state->loop(); });
      pthread_setname_np(threads_.back().native_handle(), name.c_str());
    }
  } catch (...) {
    {
      MutexLock lock(state_->mutex);
      --state_->running;  // counted, but never started
    }
    stop(Duration::max());
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(Duration::max()); }

void ThreadPool::post(UniqueFunction<void()> task) {
  {
    MutexLock lock(state_->mutex);
    if (state_->stopping) return;
    state_->queue.push(std::move(task));
  }
  state_->work.notify_one();
}

std::uint32_t ThreadPool::stop(Duration bound) {
  std::vector<std::thread> threads;
  {
    MutexLock lock(state_->mutex);
    threads.swap(threads_);
    // Stopped before, or by another thread just now; whoever was left behind is not waited for again.
    if (threads.empty()) return state_->running;
  }
  const TimePoint now = std::chrono::steady_clock::now();
  const Deadline until = bound > kNoDeadline - now ? kNoDeadline : now + bound;
  bool inside = false;
  for (const std::thread& thread : threads) inside |= thread.get_id() == std::this_thread::get_id();
  std::uint32_t left = 0;
  {
    MutexLock lock(state_->mutex);
    state_->stopping = true;
    state_->work.notify_all();
    const std::uint32_t expected = inside ? 1 : 0;
    while (state_->running > expected) {
      if (until == kNoDeadline)
        lock.wait(state_->ended);
      else if (!lock.wait_until(state_->ended, until))
        break;
    }
    left = state_->running;
  }
  // Without stragglers joining is immediate; with any, no one can tell which thread
  // is stuck, so none is waited for: each owns the state and ends by itself.
  for (std::thread& thread : threads) left == 0 ? thread.join() : thread.detach();
  return left;
}

}  // namespace tidegate
