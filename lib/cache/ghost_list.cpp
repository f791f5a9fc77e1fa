#include "cache/ghost_list.hpp"

#include "cache/heap_charge.hpp"

namespace tidegate {

GhostList::GhostList(std::uint32_t capacity) : ring_(capacity), slots_(std::size_t{2} * capacity) {}

std::uint64_t GhostList::heap_bytes(std::uint32_t capacity) noexcept {
  return heap_charge(sizeof(Ghost) * capacity) + heap_charge(sizeof(std::uint32_t) * 2 * capacity);
}

std::size_t GhostList::home(std::uint32_t fingerprint) const noexcept {
  return (fingerprint * 0x9E3779B1U) & (slots_.size() - 1);
}

std::size_t GhostList::find(std::uint32_t fingerprint) const noexcept {
  const std::size_t mask = slots_.size() - 1;
  std::size_t slot = home(fingerprint);
  while (slots_[slot] != 0 && ring_[slots_[slot] - 1].fingerprint != fingerprint) slot = (slot + 1) & mask;
  return slot;
}

void GhostList::insert(std::uint32_t fingerprint, std::uint64_t bytes, std::uint64_t byte_limit) {
  take(fingerprint);
  if (bytes > byte_limit) return;
  while (count_ > 0 && (count_ == ring_.size() || bytes_ + bytes > byte_limit)) forget_oldest();
  const std::size_t slot = find(fingerprint);
  const auto place = static_cast<std::uint32_t>((oldest_ + count_) & (ring_.size() - 1));
  ring_[place] = {bytes, fingerprint, static_cast<std::uint32_t>(slot + 1)};
  slots_[slot] = place + 1;
  ++count_;
  bytes_ += bytes;
}

bool GhostList::take(std::uint32_t fingerprint) noexcept {
  const std::size_t slot = find(fingerprint);
  if (slots_[slot] == 0) return false;
  Ghost& ghost = ring_[slots_[slot] - 1];
  bytes_ -= ghost.bytes;
  ghost.slot_plus_one = 0;
  erase_slot(slot);
  return true;
}

void GhostList::forget_oldest() noexcept {
  const Ghost& ghost = ring_[oldest_];
  if (ghost.slot_plus_one != 0) {
    bytes_ -= ghost.bytes;
    erase_slot(ghost.slot_plus_one - 1);
  }
  oldest_ = static_cast<std::uint32_t>((oldest_ + 1) & (ring_.size() - 1));
  --count_;
}

void GhostList::erase_slot(std::size_t slot) noexcept {
  // Shifts back whatever probed past the hole, so that a probe may stop at the first
  // empty slot (Knuth, volume 3, section 6.4, algorithm R).
  const std::size_t mask = slots_.size() - 1;
  std::size_t hole = slot;
  for (std::size_t next = (hole + 1) & mask; slots_[next] != 0; next = (next + 1) & mask) {
    const std::size_t wanted = home(ring_[slots_[next] - 1].fingerprint);
    if (((next - wanted) & mask) < ((next - hole) & mask)) continue;
    slots_[hole] = slots_[next];
    ring_[slots_[hole] - 1].slot_plus_one = static_cast<std::uint32_t>(hole + 1);
    hole = next;
  }
  slots_[hole] = 0;
}

}  // namespace tidegate
