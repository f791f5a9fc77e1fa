// BatchFormer::Filling: a batch on its way from its first flight to its last.
#pragma once

#include <array>

#include "queue/batch_former.hpp"

namespace tidegate {

inline constexpr std::array<Priority, kPriorities> kClasses{Priority::critical, Priority::interactive, Priority::batch};

[[nodiscard]] inline TimePoint later(TimePoint time, Duration by) noexcept {
  return time > TimePoint::max() - by ? TimePoint::max() : time + by;
}

/// Whether it is served in its place even where the newest go first.
[[nodiscard]] inline bool keeps_place(const Flight& flight) noexcept {
  return flight.urgent != kNoDeadline || flight.order == TimePoint::min();
}

[[nodiscard]] inline bool is_newest_first(const TenantLine& line, const Outlook& outlook) noexcept {
  return outlook.overloaded && &line == &line.tenant->lines[index_of(Priority::batch)];
}

/// The first of the line to run. In an overload those of class batch that nobody waits for
/// by a certain time go last in, first out: the old ones are too late anyway, and one of
/// them would make the next one late as well.
[[nodiscard]] inline Flight* opener_of(TenantLine& line, const Outlook& outlook) noexcept {
  Flight* const first = line.flights.first();
  if (first == nullptr || !is_newest_first(line, outlook) || keeps_place(*first)) return first;
  return line.flights.last();
}

struct BatchFormer::Filling {
  FlightQueue& queue;
  const Outlook& outlook;
  std::uint64_t formation = 0;
  FormedBatch batch{};
  std::array<bool, kPriorities> had_work{};
  std::array<std::uint64_t, kPriorities> taken{};  ///< tokens
  std::uint64_t anchor_length = 0;
  std::uint64_t signature = 0;  ///< of the anchor and all that join it
  std::uint64_t most_rows = 0;
  double least_served = 0;              ///< of the lines of the opening class
  bool anchor_was_passed_over = false;  ///< often enough to be promoted
  bool exploring = false;
  std::uint32_t gain_misses = 0;
  TenantLine* touched = nullptr;

  void touch(TenantLine& line) noexcept {
    if (line.formation == formation) return;
    line.formation = formation;
    line.newest_first = is_newest_first(line, outlook);
    line.cursor = opener_of(line, outlook);
    line.from_end = line.newest_first && !keeps_place(*line.cursor);
    line.last_order = TimePoint::min();
    line.last_sequence = 0;
    line.next_touched = touched;
    touched = &line;
  }
  /// The flight of the line to look at after this one, which still stands in it.
  [[nodiscard]] Flight* after(TenantLine& line, Flight& flight) const noexcept {
    if (!line.from_end) {
      Flight* const next = FlightTree::next(flight);
      if (!line.newest_first || next == nullptr || keeps_place(*next)) return next;
      line.from_end = true;
      return line.flights.last();
    }
    Flight* const previous = FlightTree::previous(flight);
    return previous == nullptr || previous->missed == formation ? nullptr : previous;
  }
  /// What the model computes for the shape: of a model with static shapes the chosen size.
  [[nodiscard]] BatchShape computed(BatchShape shape, const StaticSizes& sizes) const noexcept {
    if (!sizes.any()) shape.filler = most_rows - shape.rows;
    return shape;
  }
  bool miss(Fullness why) noexcept {
    if (batch.fullness == Fullness::nothing_left) batch.fullness = why;
    return false;
  }
};

}  // namespace tidegate
