// Clock: the one source of time and alarms. Tests and the simulator pass their own.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "tidegate/callback.hpp"

namespace tidegate {

using Duration = std::chrono::nanoseconds;
/// Monotonic; never the wall clock, so a clock change moves no deadline.
using TimePoint = std::chrono::steady_clock::time_point;

/// An absolute deadline; `kNoDeadline` never passes.
using Deadline = TimePoint;
inline constexpr Deadline kNoDeadline = TimePoint::max();

using AlarmId = std::uint64_t;

/// Time and alarms. Thread-safe. An alarm's function runs on a thread of the
/// clock's choosing, never inside `call_at`; it must not block.
class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual TimePoint now() const noexcept = 0;
  /// A moment not after now() and at most kMostLag before it, for callers that need no more; a clock that
  /// has a cheaper reading gives that one.
  [[nodiscard]] virtual TimePoint coarse_now() const noexcept { return now(); }
  static constexpr Duration kMostLag = std::chrono::seconds(1);
  /// Runs `alarm` once, at `when` or as soon after as possible.
  virtual AlarmId call_at(TimePoint when, UniqueFunction<void()> alarm) = 0;
  /// True if the alarm will not run; false if it ran, runs now, or is unknown.
  virtual bool cancel(AlarmId id) = 0;
};

/// The machine's monotonic clock, with one thread for all its alarms (started by
/// the first one; no wake-up while none is due).
[[nodiscard]] std::shared_ptr<Clock> make_steady_clock();

}  // namespace tidegate
