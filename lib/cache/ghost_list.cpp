#include "cache/ghost_list.hpp"

#include "cache/heap_charge.hpp"

namespace tidegate {

namespace {

/// A third of the slots stay empty, so that searches end soon.
constexpr std::size_t slots_for(std::uint32_t capacity) { return std::size_t{capacity} * 3 / 2 + 1; }

}  // namespace

GhostList::GhostList(std::uint32_t capacity) : ring_(capacity), slots_(slots_for(capacity)) {}

std::uint64_t GhostList::heap_bytes(std::uint32_t capacity) noexcept {
  return heap_charge(sizeof(Ghost) * capacity) + heap_charge(sizeof(std::uint32_t) * slots_for(capacity));
}

std::size_t GhostList::home(std::uint32_t fingerprint) const noexcept {
  // The product's upper half is the fingerprint's share of all slots.
  return (std::uint64_t{fingerprint * 0x9E3779B1U} * slots_.size()) >> 32;
}

std::size_t GhostList::find(std::uint32_t fingerprint) const noexcept {
  std::size_t slot = home(fingerprint);
  while (slots_[slot] != 0 && ring_[slots_[slot] - 1].fingerprint != fingerprint) slot = after(slot);
  return slot;
}

void GhostList::insert(std::uint32_t fingerprint, std::uint32_t bytes, std::uint64_t byte_limit) {
  take(fingerprint);
  if (bytes == 0 || bytes > byte_limit) return;
  while (count_ > 0 && (count_ == ring_.size() || bytes_ + bytes > byte_limit)) forget_oldest();
  const std::size_t slot = find(fingerprint);
  const std::size_t behind = std::size_t{oldest_} + count_;
  const auto place = static_cast<std::uint32_t>(behind < ring_.size() ? behind : behind - ring_.size());
  ring_[place] = {fingerprint, bytes};
  slots_[slot] = place + 1;
  ++count_;
  bytes_ += bytes;
}

bool GhostList::take(std::uint32_t fingerprint) noexcept {
  const std::size_t slot = find(fingerprint);
  if (slots_[slot] == 0) return false;
  Ghost& ghost = ring_[slots_[slot] - 1];
  bytes_ -= ghost.bytes;
  ghost.bytes = 0;
  erase_slot(slot);
  return true;
}

void GhostList::forget_oldest() noexcept {
  const Ghost& ghost = ring_[oldest_];
  if (ghost.bytes != 0) {
    bytes_ -= ghost.bytes;
    // No other ghost that is not taken has this fingerprint.
    erase_slot(find(ghost.fingerprint));
  }
  oldest_ = oldest_ + 1 == ring_.size() ? 0 : oldest_ + 1;
  --count_;
}

void GhostList::erase_slot(std::size_t slot) noexcept {
  // Shifts back whatever probed past the hole, so that a probe may stop at the first
  // empty slot (Knuth, volume 3, section 6.4, algorithm R).
  const auto distance = [this](std::size_t from, std::size_t to) {
    return to >= from ? to - from : to + slots_.size() - from;
  };
  std::size_t hole = slot;
  for (std::size_t next = after(hole); slots_[next] != 0; next = after(next)) {
    const std::size_t wanted = home(ring_[slots_[next] - 1].fingerprint);
    if (distance(wanted, next) < distance(hole, next)) continue;
    slots_[hole] = slots_[next];
    hole = next;
  }
  slots_[hole] = 0;
}

}  // namespace tidegate
