// HeldValue: a value of the memory tier that somebody uses.
#pragma once

#include <atomic>
#include <span>
#include <utility>
#include <vector>

#include "cache/read_slots.hpp"

namespace tidegate {

class MemoryShard;

/// A reference to a value where it lies in the memory tier: valid whatever becomes of the
/// entry, the tier and its budget, which it counts against until the last reference is gone.
/// Copies and moves like a pointer; different ones may be used by different threads. It is either one of the references
/// that the entry counts or a slot of the thread that has found it, which may become one any time.
class HeldValue {
 public:
  using Node = EvictionPolicy::Node;

  HeldValue() = default;
  /// Takes over a slot that holds the node, or, where that is null, a counted reference.
  HeldValue(MemoryShard& shard, Node& node, ReadSlots::Slot* slot, std::span<const std::byte> bytes,
            std::uint16_t facts) noexcept
      : shard_(&shard), node_(&node), slot_(slot), bytes_(bytes), facts_(facts) {}
  /// The copy is counted.
  HeldValue(const HeldValue& other) noexcept
      : shard_(other.shard_), node_(other.node_), bytes_(other.bytes_), facts_(other.facts_) {
    if (node_ != nullptr) std::atomic_ref(node_->references).fetch_add(1, std::memory_order_relaxed);
  }
  HeldValue(HeldValue&& other) noexcept
      : shard_(other.shard_),
        node_(std::exchange(other.node_, nullptr)),
        slot_(other.slot_),
        bytes_(other.bytes_),
        facts_(other.facts_) {}
  HeldValue& operator=(HeldValue other) noexcept {
    std::swap(shard_, other.shard_);
    std::swap(node_, other.node_);
    std::swap(slot_, other.slot_);
    std::swap(bytes_, other.bytes_);
    std::swap(facts_, other.facts_);
    return *this;
  }
  ~HeldValue() {
    if (node_ == nullptr) return;
    // Once the slot is given back the entry may be gone, and all of the tier with it.
    if (slot_ != nullptr && slot_->give_back() == ReadSlots::Slot::Was::own) return;
    if (std::atomic_ref(node_->references).fetch_sub(1, std::memory_order_acq_rel) == 1) let_go();
  }

  /// What is held, where it was not known yet.
  void set_value(std::span<const std::byte> bytes, std::uint16_t facts) noexcept {
    bytes_ = bytes;
    facts_ = facts;
  }

  /// The record's body (see record_codec.hpp), or all of a plain value.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }
  [[nodiscard]] const CacheKey& key() const noexcept { return node_->key; }
  /// Within 6 %.
  [[nodiscard]] Duration recompute_cost() const noexcept;

  /// A copy: the record with a header that says this end, or the plain value.
  [[nodiscard]] CacheRecord record(std::int64_t expires_unix_ms) const;
  /// The outputs, which share the value. Errors: corrupt_data (a plain value; shapes that do not fit).
  [[nodiscard]] Result<std::vector<Tensor>> outputs() &&;

 private:
  void let_go() noexcept;

  MemoryShard* shard_ = nullptr;
  Node* node_ = nullptr;  ///< null = nothing
  ReadSlots::Slot* slot_ = nullptr;
  std::span<const std::byte> bytes_;
  std::uint16_t facts_ = 0;  ///< the node's own change when its entry leaves
};

}  // namespace tidegate
