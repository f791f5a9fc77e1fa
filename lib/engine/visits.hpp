// Visits: calls from threads that the engine cannot join (the clock's, a tier's).
#pragma once

#include <condition_variable>
#include <thread>

#include "base/mutex.hpp"

namespace tidegate {

/// A call that turns a weak reference to a pipeline into a strong one does so within a
/// visit. Once the engine has let go of its pipelines and no visit is left, no pipeline
/// that its own threads have left, nor its runner, is destroyed later than the engine.
/// Thread-safe; allocates nothing.
class Visits {
 public:
  class Visit {
   public:
    explicit Visit(Visits& visits) : visits_(visits) {
      MutexLock lock(visits_.mutex_);
      next_ = visits_.first_;
      visits_.first_ = this;
    }
    ~Visit() {
      MutexLock lock(visits_.mutex_);
      Visit** place = &visits_.first_;
      while (*place != this) place = &(*place)->next_;
      *place = next_;
      visits_.changed_.notify_all();
    }
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;

   private:
    friend class Visits;
    Visits& visits_;
    Visit* next_ = nullptr;  // guarded by visits_.mutex_
    const std::thread::id thread_ = std::this_thread::get_id();
  };

  /// Blocks until no visit of another thread is left: an engine may be destroyed within
  /// one of its own.
  void await_others() {
    MutexLock lock(mutex_);
    while (is_visited_by_another()) lock.wait(changed_);
  }

 private:
  [[nodiscard]] bool is_visited_by_another() const TIDEGATE_REQUIRES(mutex_) {
    for (const Visit* visit = first_; visit != nullptr; visit = visit->next_) {
      if (visit->thread_ != std::this_thread::get_id()) return true;
    }
    return false;
  }

  Mutex mutex_;  // leaf
  std::condition_variable changed_;
  Visit* first_ TIDEGATE_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace tidegate
