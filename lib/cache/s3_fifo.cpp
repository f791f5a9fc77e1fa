#include "cache/s3_fifo.hpp"

#include <atomic>

#include "cache/heap_charge.hpp"

namespace tidegate {
namespace {

/// Hits count without a lock: of two at the same moment one may be lost.
std::uint8_t frequency_of(EvictionPolicy::Node& node) noexcept {
  return std::atomic_ref(node.frequency).load(std::memory_order_relaxed);
}
void set_frequency(EvictionPolicy::Node& node, unsigned frequency) noexcept {
  std::atomic_ref(node.frequency).store(static_cast<std::uint8_t>(frequency), std::memory_order_relaxed);
}

}  // namespace

S3Fifo::S3Fifo(std::uint32_t ghost_capacity)
    : EvictionPolicy(Hits::counter, heap_charge(sizeof(S3Fifo)) + GhostList::heap_bytes(ghost_capacity), 0),
      ghosts_(ghost_capacity) {}

void S3Fifo::hit(Node& node) noexcept {
  const unsigned frequency = frequency_of(node);
  if (frequency < kMaxFrequency) set_frequency(node, frequency + 1);
}

void S3Fifo::admit(Node& newcomer) noexcept {
  newcomer.frequency = 0;
  newcomer.part = ghosts_.take(newcomer.fingerprint()) ? Part::main : Part::small;
}

void S3Fifo::add(Node& node) { (node.part == Part::small ? small_ : main_).push(node); }

void S3Fifo::remove(Node& node) noexcept { (node.part == Part::small ? small_ : main_).remove(node); }

void S3Fifo::moved(Node& from, Node& to) { (from.part == Part::small ? small_ : main_).replace(from, to); }

EvictionPolicy::Node* S3Fifo::evict(const Node& /*incoming*/) {
  const std::uint64_t main_share = budget() - budget() / 10;
  if (main_.bytes() <= main_share && !small_.empty()) {
    if (Node* victim = evict_small(main_share)) return victim;
  }
  return evict_main();
}

std::uint32_t S3Fifo::heat(const Node& node) const noexcept {
  return EvictionPolicy::heat(node) + (node.part == Part::main ? kPromoteAt : 0);
}

void S3Fifo::push_main(Node& node) noexcept {
  node.part = Part::main;
  main_.push(node);
}

EvictionPolicy::Node* S3Fifo::evict_small(std::uint64_t ghost_bytes) {
  while (Node* oldest = small_.pop_oldest()) {
    if (frequency_of(*oldest) < kPromoteAt) {
      ghosts_.insert(oldest->fingerprint(), oldest->bytes, ghost_bytes);
      return oldest;
    }
    set_frequency(*oldest, 0);
    push_main(*oldest);
  }
  return nullptr;
}

EvictionPolicy::Node* S3Fifo::evict_main() noexcept {
  // Ends: each turn takes one from a counter, and all counters are finite.
  while (Node* oldest = main_.pop_oldest()) {
    const unsigned frequency = frequency_of(*oldest);
    if (frequency == 0) return oldest;
    set_frequency(*oldest, frequency - 1);
    push_main(*oldest);
  }
  return nullptr;
}

}  // namespace tidegate
