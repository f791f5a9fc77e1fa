// StandingQueue: tells a queue that only absorbs bursts from one that stands (CoDel,
// Nichols and Jacobson 2012, with the two thresholds of folly's variant).
#pragma once

#include <algorithm>

#include "tidegate/time.hpp"

namespace tidegate {

/// A queue stands where even the shortest wait of an interval exceeded the target. A target
/// of zero switches it off.
class StandingQueue {
 public:
  explicit StandingQueue(Duration target) : option_(target) {}

  /// A request begins to run after `wait`. `mean_batch`: nobody waits less than for the
  /// batch in front of him, so that is the least target.
  void observe(TimePoint now, Duration wait, Duration mean_batch) noexcept {
    if (!is_on()) return;
    target_ = std::max(option_, mean_batch);
    if (now >= interval_end_) {
      standing_ = started_ && shortest_ > target_;
      started_ = true;
      shortest_ = wait;
      interval_end_ = now > TimePoint::max() - interval() ? TimePoint::max() : now + interval();
    }
    shortest_ = std::min(shortest_, wait);
    if (shortest_ <= target_) standing_ = false;
  }

  /// Whether a request that has waited so long is to be shed.
  [[nodiscard]] bool sheds(Duration wait) const noexcept { return standing_ && wait > 2 * target_; }
  /// False as well once nobody whose wait counts has begun to run for an interval.
  [[nodiscard]] bool is_standing(TimePoint now) const noexcept {
    return standing_ && (interval_end_ > TimePoint::max() - interval() || now < interval_end_ + interval());
  }
  [[nodiscard]] bool is_on() const noexcept { return option_ > Duration::zero(); }
  [[nodiscard]] Duration target() const noexcept { return target_; }

 private:
  [[nodiscard]] Duration interval() const noexcept {
    constexpr int kTargets = 20;
    return kTargets * target_;
  }

  Duration option_;
  Duration target_{0};
  TimePoint interval_end_{TimePoint::min()};
  Duration shortest_{0};
  bool started_ = false;
  bool standing_ = false;
};

}  // namespace tidegate
