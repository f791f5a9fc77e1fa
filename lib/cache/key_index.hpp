// KeyIndex: finds the entry of a key.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "cache/eviction_policy.hpp"
#include "tidegate/cache.hpp"

namespace tidegate {

/// One entry of the memory tier.
struct MemoryEntry : EvictionPolicy::Node {
  CacheKey key{};
  CacheRecord record;
  TimePoint stale_at{};  ///< from then on whoever asks is told to renew it
};

/// 64 bits of a key, all of its bits mixed in, for index, shard and fingerprint.
[[nodiscard]] std::uint64_t hash_of(const CacheKey& key) noexcept;

/// Open addressing with linear probing, kept at most 3/4 full; owns the entries.
/// Grows only when told to, so that its owner can make room first. Thread-compatible.
class KeyIndex {
 public:
  /// `slots` is a power of two, at least 4.
  explicit KeyIndex(std::size_t slots) : slots_(slots) {}

  /// Has the slot where a search begins brought near.
  void prefetch(std::uint64_t hash) const noexcept { __builtin_prefetch(&slots_[hash & (slots_.size() - 1)]); }

  /// Null if absent. Compares all 256 bits.
  [[nodiscard]] MemoryEntry* find(const CacheKey& key, std::uint64_t hash) const noexcept;

  /// The key must be absent and the index not full.
  void insert(std::uint64_t hash, std::unique_ptr<MemoryEntry> entry) noexcept;

  /// The entry must be present.
  [[nodiscard]] std::unique_ptr<MemoryEntry> remove(const MemoryEntry& entry) noexcept;

  /// Some entry; null if there is none.
  [[nodiscard]] MemoryEntry* any() const noexcept;

  template <class Visit>
  void for_each(Visit visit) const {
    for (const Slot& slot : slots_) {
      if (slot.entry != nullptr) visit(*slot.entry);
    }
  }

  [[nodiscard]] bool full() const noexcept { return (count_ + 1) * 4 > slots_.size() * 3; }
  void grow();

  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] std::uint64_t heap_bytes() const noexcept { return heap_bytes(slots_.size()); }
  [[nodiscard]] std::uint64_t heap_bytes_grown() const noexcept { return heap_bytes(slots_.size() * 2); }
  [[nodiscard]] static std::uint64_t heap_bytes(std::size_t slots) noexcept;

 private:
  struct Slot {
    std::uint64_t hash = 0;
    std::unique_ptr<MemoryEntry> entry;  ///< null = empty
  };

  std::vector<Slot> slots_;
  std::size_t count_ = 0;
};

}  // namespace tidegate
