// ManualClock: time that stands still until the test moves it.
#pragma once

#include <map>
#include <mutex>
#include <utility>

#include "tidegate/time.hpp"

namespace tidegate::test {

/// Starts one hour after the epoch. Alarms run inside `advance`, in time order, on
/// the caller's thread, each seeing `now()` equal to its own moment.
class ManualClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const noexcept override {
    const std::lock_guard lock(mutex_);
    return now_;
  }

  AlarmId call_at(TimePoint when, UniqueFunction<void()> alarm) override {
    const std::lock_guard lock(mutex_);
    const AlarmId id = ++last_id_;
    alarms_.emplace(std::pair(when, id), std::move(alarm));
    return id;
  }

  bool cancel(AlarmId id) override {
    const std::lock_guard lock(mutex_);
    for (auto it = alarms_.begin(); it != alarms_.end(); ++it) {
      if (it->first.second != id) continue;
      alarms_.erase(it);
      return true;
    }
    return false;
  }

  void advance(Duration step) { advance_to(now() + step); }

  void advance_to(TimePoint target) {
    for (;;) {
      UniqueFunction<void()> due;
      {
        const std::lock_guard lock(mutex_);
        if (alarms_.empty() || alarms_.begin()->first.first > target) {
          if (now_ < target) now_ = target;
          return;
        }
        auto first = alarms_.begin();
        if (now_ < first->first.first) now_ = first->first.first;
        due = std::move(first->second);
        alarms_.erase(first);
      }
      due();
    }
  }

  /// kNoDeadline where none is set.
  [[nodiscard]] TimePoint next_alarm() const {
    const std::lock_guard lock(mutex_);
    return alarms_.empty() ? kNoDeadline : alarms_.begin()->first.first;
  }

  /// Rings the earliest alarm; nothing happens where none is set.
  void advance_to_next_alarm() {
    if (const TimePoint next = next_alarm(); next != kNoDeadline) advance_to(next);
  }

  [[nodiscard]] std::size_t pending_alarms() const {
    const std::lock_guard lock(mutex_);
    return alarms_.size();
  }

 private:
  mutable std::mutex mutex_;
  TimePoint now_{std::chrono::hours(1)};
  AlarmId last_id_ = 0;
  std::map<std::pair<TimePoint, AlarmId>, UniqueFunction<void()>> alarms_;
};

}  // namespace tidegate::test
