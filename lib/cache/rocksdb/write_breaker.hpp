// WriteBreaker: when a store that failed to write is tried again.
#pragma once

#include <algorithm>
#include <atomic>

#include "tidegate/time.hpp"

namespace tidegate::disk {

/// Closed, or open until a moment. Each failure in a row doubles the pause, from a
/// sixteenth of the longest one. `allows` is thread-safe; the rest belongs to the writer.
class WriteBreaker {
 public:
  explicit WriteBreaker(Duration longest) : longest_(longest), pause_(longest / 16) {}

  [[nodiscard]] bool is_open() const noexcept { return open_.load(std::memory_order_relaxed); }
  /// Whether it is worth trying at `now`.
  [[nodiscard]] bool allows(TimePoint now) const noexcept {
    return !is_open() || now >= TimePoint(Duration(retry_at_.load(std::memory_order_relaxed)));
  }

  void succeeded() noexcept {
    open_.store(false, std::memory_order_relaxed);
    pause_ = longest_ / 16;
  }
  void failed(TimePoint now) noexcept {
    retry_at_.store((now + pause_).time_since_epoch().count(), std::memory_order_relaxed);
    open_.store(true, std::memory_order_relaxed);
    pause_ = std::min(longest_, 2 * pause_);
  }

 private:
  const Duration longest_;
  Duration pause_;
  std::atomic<bool> open_{false};
  std::atomic<Duration::rep> retry_at_{0};
};

}  // namespace tidegate::disk
