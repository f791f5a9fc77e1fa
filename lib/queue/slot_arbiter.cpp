#include "queue/slot_arbiter.hpp"

#include <algorithm>

namespace tidegate {

LaneId SlotArbiter::add(double weight) {
  auto vacant = std::find_if(lanes_.begin(), lanes_.end(), [](const Lane& lane) { return !lane.present; });
  if (vacant == lanes_.end()) vacant = lanes_.insert(lanes_.end(), Lane{});
  *vacant = Lane{};
  vacant->weight = weight;
  vacant->present = true;
  ++present_;
  return LaneId{static_cast<std::uint32_t>(vacant - lanes_.begin())};
}

void SlotArbiter::remove(LaneId id) noexcept {
  Lane& lane = of(id);
  if (lane.offered) ++free_;
  lane = Lane{};
  --present_;
  offer();
}

bool SlotArbiter::take(LaneId id) noexcept {
  Lane& lane = of(id);
  if (!lane.offered) {
    if (!lane.wants) wake(lane);
    // Those who have waited longer go before it, by their service.
    offer();
  }
  if (!lane.offered) return false;
  lane.offered = false;
  lane.told = false;
  lane.wants = false;
  ++lane.running;
  clock_ = std::max(clock_, lane.served);
  return true;
}

void SlotArbiter::decline(LaneId id) noexcept {
  Lane& lane = of(id);
  lane.wants = false;
  if (!lane.offered) return;
  lane.offered = false;
  lane.told = false;
  ++free_;
  offer();
}

void SlotArbiter::charge(LaneId id, Duration predicted) noexcept {
  Lane& lane = of(id);
  lane.served += static_cast<double>(predicted.count()) / lane.weight;
}

void SlotArbiter::give_back(LaneId id, Duration predicted, Duration actual, Backlog backlog) noexcept {
  Lane& lane = of(id);
  lane.served += static_cast<double>((actual - predicted).count()) / lane.weight;
  --lane.running;
  ++free_;
  if (backlog == Backlog::some) lane.wants = true;
  offer();
}

std::optional<LaneId> SlotArbiter::next_offer() noexcept {
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    if (!lanes_[i].offered || lanes_[i].told) continue;
    lanes_[i].told = true;
    return LaneId{static_cast<std::uint32_t>(i)};
  }
  return std::nullopt;
}

bool SlotArbiter::has_offers() const noexcept {
  return std::any_of(lanes_.begin(), lanes_.end(), [](const Lane& lane) { return lane.offered && !lane.told; });
}

/// A lane that was idle starts no further behind than the one served last.
void SlotArbiter::wake(Lane& lane) noexcept {
  lane.wants = true;
  if (lane.running == 0) lane.served = std::max(lane.served, clock_);
}

/// Every free slot to the wanting lane that is furthest behind; equal ones in their order.
void SlotArbiter::offer() noexcept {
  while (free_ > 0) {
    Lane* next = nullptr;
    for (Lane& lane : lanes_) {
      if (!lane.wants || lane.offered) continue;
      if (next == nullptr || lane.served < next->served) next = &lane;
    }
    if (next == nullptr) return;
    next->offered = true;
    --free_;
  }
}

}  // namespace tidegate
