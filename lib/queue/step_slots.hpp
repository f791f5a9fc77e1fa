// StepSlots: the slots of an iterative model, and the flights that live in them between
// their steps.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "queue/flight_queue.hpp"
#include "queue/room.hpp"

namespace tidegate {

/// One slot. What goes on in it stays in it, for its replica holds the state.
struct StepSlot {
  std::uint32_t index = 0;
  bool busy = false;   ///< a step runs
  FlightList ready{};  ///< waiting for a step, who has waited longest first
  FlightList parked{};

  [[nodiscard]] std::uint32_t kept() const noexcept { return ready.size() + parked.size(); }
};

class StepSlots {
 public:
  /// `most_kept`: no flight enters a slot that keeps as many, >= 1.
  explicit StepSlots(std::uint32_t most_kept) : most_kept_(most_kept) {}

  /// Grows to `slots`; slots are never taken away. May throw std::bad_alloc.
  void grow(std::uint32_t slots) {
    slots_.reserve(slots);
    while (slots_.size() < slots) slots_.push_back({static_cast<std::uint32_t>(slots_.size())});
  }
  [[nodiscard]] std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(slots_.size()); }

  /// Lining up so many flights allocates nothing.
  void make_room(std::size_t flights) { tidegate::make_room(line_up_, flights); }

  /// The first free one of the first `usable` slots that newcomers may enter, or nullptr. Not the
  /// emptiest: then items that are parked would decide who runs beside whom.
  [[nodiscard]] StepSlot* open_one(std::uint32_t usable) noexcept {
    const auto first = std::span(slots_).first(std::min<std::size_t>(usable, slots_.size()));
    const auto open = std::find_if(first.begin(), first.end(),
                                   [this](const StepSlot& slot) { return !slot.busy && newcomers(slot) > 0; });
    return open == first.end() ? nullptr : &*open;
  }

  /// How many may enter the slot.
  [[nodiscard]] std::uint32_t newcomers(const StepSlot& slot) const noexcept {
    return most_kept_ - std::min(most_kept_, slot.kept());
  }

  /// Those of the slot that are ready, in the order in which they may claim a place in its
  /// next step: passed over too often; else by class, then the least served tenant, then
  /// who has waited longest. Valid until the next call.
  [[nodiscard]] std::span<Flight* const> line_up(const StepSlot& slot, std::uint8_t most_overtaken) noexcept {
    line_up_.clear();
    for (Flight* one = slot.ready.front(); one != nullptr; one = one->next) line_up_.push_back(one);
    std::sort(line_up_.begin(), line_up_.end(), [most_overtaken](const Flight* a, const Flight* b) {
      const bool a_overdue = a->overtaken >= most_overtaken;
      const bool b_overdue = b->overtaken >= most_overtaken;
      if (a_overdue != b_overdue) return a_overdue;
      if (!a_overdue && a->priority != b->priority) return a->priority < b->priority;
      const double a_served = a->tenant->lines[index_of(a->priority)].served;
      const double b_served = b->tenant->lines[index_of(b->priority)].served;
      if (!a_overdue && a_served != b_served) return a_served < b_served;
      return a->turn < b->turn;
    });
    return line_up_;
  }

  [[nodiscard]] StepSlot& operator[](std::uint32_t index) noexcept { return slots_[index]; }
  [[nodiscard]] std::vector<StepSlot>::iterator begin() noexcept { return slots_.begin(); }
  [[nodiscard]] std::vector<StepSlot>::iterator end() noexcept { return slots_.end(); }

 private:
  std::uint32_t most_kept_;
  std::vector<StepSlot> slots_;
  std::vector<Flight*> line_up_;
};

}  // namespace tidegate
