// LoadMeter: what arrived at a queue and what its batches took, of the last minute.
#pragma once

#include <array>
#include <cstddef>
#include <limits>

#include "queue/batch_shape.hpp"
#include "tidegate/lane_load.hpp"
#include "tidegate/time.hpp"

namespace tidegate {

/// Sums by the second of the clock. Times never go backwards.
class LoadMeter {
 public:
  /// Counting begins with the first call.
  void start(TimePoint now) noexcept {
    if (started_ == kNoDeadline) started_ = now;
  }
  void arrived(TimePoint now, const BatchShape& shape) noexcept { at(now).arrived.add(shape); }
  /// A batch that took `time` has ended.
  void served(TimePoint now, const BatchShape& shape, Duration time) noexcept;

  /// Zero before `start`.
  [[nodiscard]] Duration observed(TimePoint now) const noexcept;
  /// Means over the seconds before `now`, of as many as have been counted; `seconds` <= 60.
  [[nodiscard]] LaneRate arrivals(TimePoint now, std::int64_t seconds) const noexcept;
  [[nodiscard]] LaneRate served(TimePoint now, std::int64_t seconds) const noexcept;
  /// Slots that ran a batch, on average.
  [[nodiscard]] double busy_slots(TimePoint now, std::int64_t seconds) const noexcept;

 private:
  struct Sum {
    double items = 0;
    double tokens = 0;
    double squares = 0;
    void add(const BatchShape& shape) noexcept {
      items += static_cast<double>(shape.rows);
      tokens += static_cast<double>(shape.tokens);
      squares += shape.squares;
    }
  };
  static constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::min();
  struct Second {
    std::int64_t number = kNone;  ///< of the clock
    Sum arrived{};
    Sum served{};
    double busy_ns = 0;
  };
  /// Most calls are of the second of the call before.
  [[nodiscard]] Second& at(TimePoint now) noexcept { return now < current_end_ ? seconds_[current_] : turn_to(now); }
  [[nodiscard]] Second& turn_to(TimePoint now) noexcept;
  /// Calls `add` for the seconds counted and answers how long they last together, in seconds.
  template <class Add>
  double for_each(TimePoint now, std::int64_t seconds, const Add& add) const noexcept;
  [[nodiscard]] LaneRate rate(TimePoint now, std::int64_t seconds, Sum Second::*which) const noexcept;

  static constexpr std::size_t kSeconds = 64;
  std::array<Second, kSeconds> seconds_{};
  std::size_t current_ = 0;                   ///< the place of the last second used
  TimePoint current_end_ = TimePoint::min();  ///< and when it is over
  TimePoint started_ = kNoDeadline;
};

}  // namespace tidegate
