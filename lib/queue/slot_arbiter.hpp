// SlotArbiter: which of several queues that share execution slots starts the next batch.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "queue/slot_lender.hpp"
#include "tidegate/time.hpp"

namespace tidegate {

enum class LaneId : std::uint32_t {};

/// Weighted fair sharing in virtual time: a lane that starts a batch moves forward by the batch's
/// cost over the lane's weight, and of the lanes that want a slot the one furthest behind gets it. A lane
/// that comes back is lifted to the one served last, so nobody saves up; one that is alone has
/// every slot. A slot that falls free is offered to one lane and held for it until it takes or
/// declines it. Pure: no lock, no clock. Thread-compatible; only `add` allocates.
class SlotArbiter {
 public:
  explicit SlotArbiter(std::uint32_t slots) : free_(slots), slots_(slots) {}

  /// `weight` > 0. May throw std::bad_alloc.
  [[nodiscard]] LaneId add(double weight);
  /// The lane has no batch running.
  void remove(LaneId id) noexcept;

  /// The lane has a batch to start: true if it may, now. Else it is told by an offer.
  [[nodiscard]] bool take(LaneId id) noexcept;
  /// The lane has nothing to start; what was offered to it goes to another.
  void decline(LaneId id) noexcept;
  /// The batch that was allowed to start will cost about so much.
  void charge(LaneId id, Duration predicted) noexcept;
  /// It has run: what it cost in truth replaces the prediction.
  /// With a backlog the lane stands for the next slot at once, by its service.
  void give_back(LaneId id, Duration predicted, Duration actual, Backlog backlog) noexcept;

  /// A lane to which a slot has been offered since it was last asked for here; each offer once.
  [[nodiscard]] std::optional<LaneId> next_offer() noexcept;

  [[nodiscard]] bool has_offers() const noexcept;

  [[nodiscard]] std::uint32_t slots() const noexcept { return slots_; }
  [[nodiscard]] std::uint32_t free() const noexcept { return free_; }
  [[nodiscard]] std::uint32_t lanes() const noexcept { return present_; }

 private:
  struct Lane {
    double weight = 1;
    double served = 0;  ///< nanoseconds over weight
    std::uint32_t running = 0;
    bool present = false;
    bool wants = false;
    bool offered = false;  ///< a slot is held for it
    bool told = false;     ///< of the offer
  };

  [[nodiscard]] Lane& of(LaneId id) noexcept { return lanes_[static_cast<std::size_t>(id)]; }
  void offer() noexcept;
  void wake(Lane& lane) noexcept;

  std::vector<Lane> lanes_;
  double clock_ = 0;  ///< `served` of the lane served last
  std::uint32_t free_ = 0;
  std::uint32_t slots_ = 0;
  std::uint32_t present_ = 0;
};

}  // namespace tidegate
