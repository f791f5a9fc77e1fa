#include "cache/key_index.hpp"

#include <algorithm>
#include <cstring>

#include "cache/heap_charge.hpp"

namespace tidegate {

std::uint64_t hash_of(const CacheKey& key) noexcept {
  // Digests are uniform, but keys come through a public interface too: every bit
  // counts, and the last two steps spread it (MurmurHash3's finalizer).
  std::uint64_t words[4];
  static_assert(sizeof(words) == sizeof(CacheKey));
  std::memcpy(words, key.data(), sizeof(words));
  std::uint64_t hash =
      words[0] + words[1] * 0x9E3779B97F4A7C15ULL + words[2] * 0xC2B2AE3D27D4EB4FULL + words[3] * 0x165667B19E3779F9ULL;
  hash = (hash ^ (hash >> 33)) * 0xFF51AFD7ED558CCDULL;
  hash = (hash ^ (hash >> 33)) * 0xC4CEB9FE1A85EC53ULL;
  return hash ^ (hash >> 33);
}

std::uint64_t KeyIndex::heap_bytes(std::size_t slots) noexcept { return heap_charge(slots * sizeof(Slot)); }

MemoryEntry* KeyIndex::find(const CacheKey& key, std::uint64_t hash) const noexcept {
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t at = hash & mask; slots_[at].entry != nullptr; at = (at + 1) & mask) {
    if (slots_[at].hash == hash && slots_[at].entry->key == key) return slots_[at].entry.get();
  }
  return nullptr;
}

void KeyIndex::insert(std::uint64_t hash, std::unique_ptr<MemoryEntry> entry) noexcept {
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = hash & mask;
  while (slots_[at].entry != nullptr) at = (at + 1) & mask;
  slots_[at] = {hash, std::move(entry)};
  ++count_;
}

std::unique_ptr<MemoryEntry> KeyIndex::remove(const MemoryEntry& entry) noexcept {
  const std::size_t mask = slots_.size() - 1;
  std::size_t hole = hash_of(entry.key) & mask;
  while (slots_[hole].entry.get() != &entry) hole = (hole + 1) & mask;
  std::unique_ptr<MemoryEntry> removed = std::move(slots_[hole].entry);
  --count_;
  // Shifts back whatever probed past the hole (Knuth, volume 3, 6.4, algorithm R).
  for (std::size_t next = (hole + 1) & mask; slots_[next].entry != nullptr; next = (next + 1) & mask) {
    const std::size_t wanted = slots_[next].hash & mask;
    if (((next - wanted) & mask) < ((next - hole) & mask)) continue;
    slots_[hole] = std::move(slots_[next]);
    hole = next;
  }
  return removed;
}

MemoryEntry* KeyIndex::any() const noexcept {
  const auto used = std::find_if(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.entry != nullptr; });
  return used != slots_.end() ? used->entry.get() : nullptr;
}

void KeyIndex::grow() {
  std::vector<Slot> old(slots_.size() * 2);
  old.swap(slots_);
  const std::size_t mask = slots_.size() - 1;
  for (Slot& slot : old) {
    if (slot.entry == nullptr) continue;
    std::size_t at = slot.hash & mask;
    while (slots_[at].entry != nullptr) at = (at + 1) & mask;
    slots_[at] = std::move(slot);
  }
}

}  // namespace tidegate
