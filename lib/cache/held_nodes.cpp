#include "cache/held_nodes.hpp"

#include <algorithm>
#include <atomic>
#include <cassert>

namespace tidegate {
namespace {

/// Counts before it tells the slot: whoever is told may give the reference back at once.
void count_in(ReadSlots::Slot& slot, EvictionPolicy::Node& node) noexcept {
  const std::atomic_ref references(node.references);
  references.fetch_add(1, std::memory_order_relaxed);
  // The tier's own reference is still there.
  if (!slot.make_counted(node)) references.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace

void HeldNodes::look() noexcept {
  const std::uint64_t change = sequence_.number();
  assert(Sequence::is_change(change));
  if (looked_at_ == change) return;
  looked_at_ = change;
  count_ = 0;
  slots_.for_each([this](ReadSlots::Slot& slot) {
    const Node* const node = slot.node();
    const auto* const at = reinterpret_cast<const std::byte*>(node);
    if (at < memory_.data() || at >= memory_.data() + memory_.size()) return;
    if (count_ < kMost) {
      nodes_[count_] = node;
      in_[count_] = &slot;
    }
    ++count_;
  });
}

bool HeldNodes::contain(const Node& node) noexcept {
  look();
  if (count_ <= kMost) return std::find(nodes_.begin(), nodes_.begin() + count_, &node) != nodes_.begin() + count_;
  bool held = false;
  slots_.for_each([&](const ReadSlots::Slot& slot) { held = held || slot.node() == &node; });
  return held;
}

void HeldNodes::make_counted(Node& node) noexcept {
  look();
  if (count_ > kMost) {
    slots_.for_each([&](ReadSlots::Slot& slot) {
      if (slot.node() == &node) count_in(slot, node);
    });
    return;
  }
  for (std::size_t at = 0; at < count_; ++at) {
    if (nodes_[at] == &node) count_in(*in_[at], node);
  }
}

}  // namespace tidegate
