// HeldNodes: which entries of a shard are read without its lock, as far as a change of the shard must know.
#pragma once

#include <array>
#include <span>

#include "cache/read_slots.hpp"
#include "cache/sequence.hpp"

namespace tidegate {

/// Looks at the slots once a change, when first asked: whoever publishes a node later sees the change and gives it back
/// unread. Used under the shard's lock, inside a change.
class alignas(64) HeldNodes {
 public:
  using Node = EvictionPolicy::Node;

  /// Of nodes that lie in `memory`. All three outlive it.
  HeldNodes(ReadSlots& slots, const Sequence& sequence, std::span<const std::byte> memory) noexcept
      : slots_(slots), sequence_(sequence), memory_(memory) {}

  /// Whether somebody holds the node by a slot. One who has let go since the look counts.
  [[nodiscard]] bool contain(const Node& node) noexcept;
  /// Whoever holds the node by a slot has a counted reference to it instead.
  void make_counted(Node& node) noexcept;

 private:
  static constexpr std::size_t kMost = 8;

  void look() noexcept;

  ReadSlots& slots_;
  const Sequence& sequence_;
  const std::span<const std::byte> memory_;
  std::uint64_t looked_at_ = 0;  ///< the change; 0 = none, as changes are odd
  std::size_t count_ = 0;        ///< beyond kMost the slots themselves are looked at
  std::array<const Node*, kMost> nodes_{};
  std::array<ReadSlots::Slot*, kMost> in_{};
};

}  // namespace tidegate
