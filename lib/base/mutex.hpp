// Mutex with thread-safety annotations: clang turns a field read without its lock
// into a compile error (-Wthread-safety); other compilers ignore the attributes.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define TIDEGATE_ATTRIBUTE(x) __attribute__((x))
#else
#define TIDEGATE_ATTRIBUTE(x)
#endif

#define TIDEGATE_GUARDED_BY(mutex) TIDEGATE_ATTRIBUTE(guarded_by(mutex))
#define TIDEGATE_REQUIRES(mutex) TIDEGATE_ATTRIBUTE(requires_capability(mutex))
#define TIDEGATE_EXCLUDES(mutex) TIDEGATE_ATTRIBUTE(locks_excluded(mutex))

namespace tidegate {

class TIDEGATE_ATTRIBUTE(capability("mutex")) Mutex {
 public:
  void lock() TIDEGATE_ATTRIBUTE(acquire_capability()) { mutex_.lock(); }
  void unlock() TIDEGATE_ATTRIBUTE(release_capability()) { mutex_.unlock(); }

 private:
  friend class MutexLock;
  std::mutex mutex_;
};

/// Holds a Mutex for a scope; waits on condition variables.
class TIDEGATE_ATTRIBUTE(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) TIDEGATE_ATTRIBUTE(acquire_capability(mutex)) : lock_(mutex.mutex_) {}
  ~MutexLock() TIDEGATE_ATTRIBUTE(release_capability()) {}

  void wait(std::condition_variable& condition) { condition.wait(lock_); }

  /// False once `until` has passed.
  template <class TimePointType>
  bool wait_until(std::condition_variable& condition, TimePointType until) {
    return condition.wait_until(lock_, until) == std::cv_status::no_timeout;
  }

  /// Whether `ready()` became true within `bound`, a year at most; it is asked under the lock.
  template <class Bound, class Ready>
  bool wait_for(std::condition_variable& condition, Bound bound, Ready ready) {
    // A longer one, added to this moment, would be a moment of the past.
    constexpr Bound kLongest = std::chrono::hours(24 * 365);
    return condition.wait_for(lock_, std::min(bound, kLongest), ready);
  }

 private:
  std::unique_lock<std::mutex> lock_;
};

}  // namespace tidegate
