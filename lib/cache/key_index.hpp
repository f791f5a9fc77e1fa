// KeyIndex: finds the entry of a key.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "cache/eviction_policy.hpp"
#include "cache/index_search.hpp"
#include "cache/key_hash.hpp"

namespace tidegate {

/// Open addressing by groups of sixteen slots. A slot has a byte of the key's hash, which
/// is compared first and sixteen at a time, and the number of a node. A group counts
/// the entries that found it full and lie further on: a search goes on only then, and
/// erasing leaves no marks behind. At most seven eighths full. Lies in memory that its
/// owner gives it. Thread-compatible.
class KeyIndex {
 public:
  using Node = EvictionPolicy::Node;
  static constexpr std::size_t kGroup = IndexSearch::kGroup;
  static constexpr std::uint32_t kNone = IndexSearch::kNone;

  /// Bytes of memory for `slots`, a power of two of at least kGroup.
  [[nodiscard]] static constexpr std::size_t bytes_for(std::size_t slots) noexcept {
    return slots * (sizeof(std::uint32_t) + 1) + slots / kGroup;
  }

  /// An index without slots: everything is absent and it is full.
  KeyIndex() = default;
  /// Empty, in `memory` of bytes_for(slots), aligned to 16.
  KeyIndex(std::byte* memory, std::size_t slots) noexcept;

  /// The bytes of the index lie elsewhere from now on.
  void moved_to(std::byte* memory) noexcept { lay_out(memory); }

  /// Has the node that a search will probably compare brought near.
  void prefetch_node(std::uint64_t hash, const Node* nodes) const noexcept {
    if (numbers_ == nullptr) return;
    const std::size_t group = group_of(hash);
    __builtin_prefetch(numbers_ + group * kGroup);
    const std::uint32_t found = with_tag(group, tag_of(hash));
    if (found == 0) return;
    __builtin_prefetch(nodes + numbers_[group * kGroup + static_cast<std::size_t>(std::countr_zero(found))], 1);
  }

  /// The number of the key's node, kNone if absent. Compares all 256 bits. Node n is nodes[n].
  [[nodiscard]] std::uint32_t find(const CacheKey& key, std::uint64_t hash, const Node* nodes) const noexcept;
  /// The key must be absent and the index not full.
  void insert(std::uint64_t hash, std::uint32_t number) noexcept;
  /// The node must be present, with this hash.
  void remove(std::uint64_t hash, std::uint32_t number) noexcept;
  /// The node has another number from now on.
  void renumber(std::uint64_t hash, std::uint32_t from, std::uint32_t to) noexcept;
  /// Takes over all of another index, which may have fewer slots.
  void take_from(const KeyIndex& other, const Node* nodes) noexcept;

  /// The first node in a slot at or behind `slot`, which becomes the one after it; kNone at the end.
  [[nodiscard]] std::uint32_t next(std::size_t& slot) const noexcept;

  [[nodiscard]] bool full() const noexcept { return (count_ + 1) * 8 > slots() * 7; }
  [[nodiscard]] std::size_t groups() const noexcept { return numbers_ == nullptr ? 0 : mask_ + 1; }
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] std::size_t slots() const noexcept { return numbers_ == nullptr ? 0 : (mask_ + 1) * kGroup; }

 private:
  [[nodiscard]] std::size_t group_of(std::uint64_t hash) const noexcept { return hash & mask_; }
  [[nodiscard]] static std::uint8_t tag_of(std::uint64_t hash) noexcept { return IndexSearch::tag_of(hash); }
  [[nodiscard]] std::uint32_t with_tag(std::size_t group, std::uint8_t tag) const noexcept {
    return IndexSearch::with_tag(tags_ + group * kGroup, tag);
  }
  void lay_out(std::byte* memory) noexcept;

  std::uint32_t* numbers_ = nullptr;
  std::uint8_t* tags_ = nullptr;
  std::uint8_t* passed_ = nullptr;  ///< per group: entries further on that found it full; 255 = that or more, for good
  std::size_t mask_ = 0;            ///< of groups
  std::size_t count_ = 0;
};

}  // namespace tidegate
