// Mutex with thread-safety annotations, for the C ABI, which may see public
// headers only.
#pragma once

#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define TIDEGATE_CAPI_ATTRIBUTE(x) __attribute__((x))
#else
#define TIDEGATE_CAPI_ATTRIBUTE(x)
#endif
#define TIDEGATE_GUARDED_BY(mutex) TIDEGATE_CAPI_ATTRIBUTE(guarded_by(mutex))
#define TIDEGATE_REQUIRES(mutex) TIDEGATE_CAPI_ATTRIBUTE(requires_capability(mutex))

namespace tidegate::capi {

class TIDEGATE_CAPI_ATTRIBUTE(capability("mutex")) Mutex {
 private:
  friend class MutexLock;
  std::mutex mutex_;
};

/// Holds a Mutex for a scope.
class TIDEGATE_CAPI_ATTRIBUTE(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) TIDEGATE_CAPI_ATTRIBUTE(acquire_capability(mutex)) : lock_(mutex.mutex_) {}
  ~MutexLock() TIDEGATE_CAPI_ATTRIBUTE(release_capability()) {}

  void wait(std::condition_variable& condition) { condition.wait(lock_); }

  /// Whether `ready()` became true within `bound`; it is asked under the lock.
  template <class Bound, class Ready>
  bool wait_for(std::condition_variable& condition, Bound bound, Ready ready) {
    return condition.wait_for(lock_, bound, ready);
  }

 private:
  std::unique_lock<std::mutex> lock_;
};

}  // namespace tidegate::capi
