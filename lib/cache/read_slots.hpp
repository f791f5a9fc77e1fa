// ReadSlots: who reads which entries of the memory tier without its locks.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "base/thread_number.hpp"
#include "cache/eviction_policy.hpp"
#include "cache/heap_charge.hpp"

namespace tidegate {

/// Hazard pointers (Michael, "Hazard pointers: safe memory reclamation for lock-free objects", IEEE TPDS 2004): a
/// reader writes into a slot of its own which node it uses, and whoever wants to take a node away looks at all slots
/// first. Instead of waiting for a reader it makes of the slot a reference that is counted in the node, and tells the
/// slot so.
class ReadSlots {
 public:
  using Node = EvictionPolicy::Node;

  /// Thread-safe, but for `hold`.
  class Slot {
   public:
    [[nodiscard]] bool is_free() const noexcept { return held_.load(std::memory_order_relaxed) == 0; }
    /// By the thread whose slot it is; the slot is free.
    void hold(const Node& node) noexcept { held_.exchange(bits_of(node), std::memory_order_seq_cst); }
    enum class Was : std::uint8_t {
      own,
      counted,  ///< a reference of the node's, which is the caller's from now on
    };
    /// By any thread: what was held is not any more.
    [[nodiscard]] Was give_back() noexcept {
      return (held_.exchange(0, std::memory_order_acq_rel) & kCounted) != 0 ? Was::counted : Was::own;
    }
    /// Null = free.
    [[nodiscard]] const Node* node() const noexcept {
      // An acquire too: what readers of the node did before they let it go has happened.
      return reinterpret_cast<const Node*>(held_.load(std::memory_order_seq_cst) & ~kCounted);
    }
    /// False if the node has been given back meanwhile.
    [[nodiscard]] bool make_counted(const Node& node) noexcept {
      std::uintptr_t expected = bits_of(node);
      return held_.compare_exchange_strong(expected, expected | kCounted, std::memory_order_acq_rel);
    }

   private:
    static constexpr std::uintptr_t kCounted = 1;
    [[nodiscard]] static std::uintptr_t bits_of(const Node& node) noexcept {
      return reinterpret_cast<std::uintptr_t>(&node);
    }
    std::atomic<std::uintptr_t> held_{0};
  };

  /// A thread's slots and counters, in one cache line.
  struct alignas(64) Line {
    static constexpr std::size_t kSlots = 6;
    /// The last slot is for moments inside a look-up, so there is always a free one.
    [[nodiscard]] Slot& free_slot() noexcept {
      std::size_t slot = 0;
      while (slot < kSlots - 1 && !slots[slot].is_free()) ++slot;
      return slots[slot];
    }
    [[nodiscard]] bool is_last(const Slot& slot) const noexcept { return &slot == &slots.back(); }
    /// Written by one thread, read by all.
    static void count(std::atomic<std::uint64_t>& counter) noexcept {
      counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }

    std::array<Slot, kSlots> slots;
    std::atomic<std::uint64_t> hits{0};
    std::atomic<std::uint64_t> misses{0};
  };

  /// For so many threads, kThreadNumbers at most; others find no line. Of use to so many shards.
  ReadSlots(std::uint32_t threads, std::uint32_t shards) : shards_(shards), lines_(threads) {}

  /// What each shard bears of the memory it takes.
  [[nodiscard]] std::uint64_t bytes_each() const noexcept {
    const std::uint64_t lines = lines_.empty() ? 0 : heap_charge(sizeof(Line) * lines_.size() + alignof(Line));
    return (heap_charge(sizeof(ReadSlots) + kCountBytes) + lines + shards_ - 1) / shards_;
  }

  /// The calling thread's line; null if it has none.
  [[nodiscard]] Line* own_line() noexcept {
    const std::uint32_t number = thread_number();
    if (number >= lines_.size()) return nullptr;
    if (number >= used_.load(std::memory_order_relaxed)) use(number);
    return &lines_[number];
  }

  /// Shows each slot of the threads that have been here.
  template <class Visit>
  void for_each(Visit visit) noexcept {
    const std::uint32_t used = used_.load(std::memory_order_seq_cst);
    for (std::uint32_t line = 0; line < used; ++line) {
      for (Slot& slot : lines_[line].slots) visit(slot);
    }
  }

  struct Counts {
    std::uint64_t hits = 0;
    std::uint64_t misses = 0;
  };
  [[nodiscard]] Counts counts() const noexcept {
    Counts all;
    for (const Line& line : lines_) {
      all.hits += line.hits.load(std::memory_order_relaxed);
      all.misses += line.misses.load(std::memory_order_relaxed);
    }
    return all;
  }

 private:
  void use(std::uint32_t number) noexcept {
    std::uint32_t used = used_.load(std::memory_order_relaxed);
    while (used <= number && !used_.compare_exchange_weak(used, number + 1, std::memory_order_seq_cst)) {
    }
  }

  /// Of the shared pointer.
  static constexpr std::uint64_t kCountBytes = 16;

  const std::uint32_t shards_;
  std::vector<Line> lines_;
  std::atomic<std::uint32_t> used_{0};  ///< lines that have had a thread
};

}  // namespace tidegate
