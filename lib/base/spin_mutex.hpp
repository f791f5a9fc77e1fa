// SpinMutex: for sections of a few dozen nanoseconds.
#pragma once

#include <atomic>
#include <thread>

#include "base/mutex.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tidegate {

/// Whoever waits spins, and lets others run where that takes long: the holder may have been
/// taken off its core.
class TIDEGATE_ATTRIBUTE(capability("mutex")) SpinMutex {
 public:
  void lock() noexcept TIDEGATE_ATTRIBUTE(acquire_capability()) {
    while (taken_.exchange(true, std::memory_order_acquire)) wait();
  }
  void unlock() noexcept TIDEGATE_ATTRIBUTE(release_capability()) { taken_.store(false, std::memory_order_release); }

 private:
  static constexpr int kSpins = 200;

  void wait() const noexcept {
    for (int i = 0; taken_.load(std::memory_order_relaxed); ++i) {
      if (i >= kSpins) {
        std::this_thread::yield();
        continue;
      }
#if defined(__x86_64__)
      _mm_pause();
#endif
    }
  }

  std::atomic<bool> taken_{false};
};

/// Holds a SpinMutex for a scope.
class TIDEGATE_ATTRIBUTE(scoped_lockable) SpinLock {
 public:
  explicit SpinLock(SpinMutex& mutex) TIDEGATE_ATTRIBUTE(acquire_capability(mutex)) : mutex_(mutex) { mutex_.lock(); }
  ~SpinLock() TIDEGATE_ATTRIBUTE(release_capability()) { mutex_.unlock(); }
  SpinLock(const SpinLock&) = delete;
  SpinLock& operator=(const SpinLock&) = delete;

 private:
  SpinMutex& mutex_;
};

}  // namespace tidegate
