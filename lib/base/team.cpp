#include "base/team.hpp"

#include <pthread.h>

#include <chrono>

#include "base/block_signals.hpp"

namespace tidegate {
namespace {

constexpr std::chrono::microseconds kSpin{50};

void pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Returns once `value` is no longer `seen`.
void await_change(const std::atomic<std::uint32_t>& value, std::uint32_t seen) noexcept {
  constexpr int kLooks = 32;  // between two readings of the clock
  std::chrono::steady_clock::time_point end{};
  for (;;) {
    for (int look = 0; look < kLooks; ++look) {
      if (value.load(std::memory_order_acquire) != seen) return;
      pause();
    }
    const auto now = std::chrono::steady_clock::now();
    if (end == std::chrono::steady_clock::time_point{}) end = now + kSpin;
    if (now >= end) break;
  }
  value.wait(seen, std::memory_order_acquire);
}

}  // namespace

Team::Team(const std::string& name, std::size_t size) : size_(size) {
  const BlockSignals block;
  threads_.reserve(size - 1);
  try {
    for (std::size_t member = 1; member < size; ++member) {
      threads_.emplace_back([this, member] { loop(member); });
      pthread_setname_np(threads_.back().native_handle(), name.c_str());
    }
  } catch (...) {
    stop();
    throw;
  }
}

Team::~Team() { stop(); }

void Team::stop() noexcept {
  stopping_ = true;
  job_.fetch_add(1, std::memory_order_release);
  job_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Team::loop(std::size_t member) {
  for (std::uint32_t seen = 0;; ++seen) {
    await_change(job_, seen);
    if (stopping_) return;
    call_.function(call_.context, member);
    meet();
  }
}

void Team::run_all(Call call) {
  if (size_ > 1) {
    call_ = call;
    job_.fetch_add(1, std::memory_order_release);
    job_.notify_all();
  }
  call.function(call.context, 0);
  meet();
}

void Team::meet() noexcept {
  if (size_ == 1) return;
  const std::uint32_t meeting = meeting_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 < size_) return await_change(meeting_, meeting);
  arrived_.store(0, std::memory_order_relaxed);
  meeting_.store(meeting + 1, std::memory_order_release);
  meeting_.notify_all();
}

}  // namespace tidegate
