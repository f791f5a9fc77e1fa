// S3-FIFO eviction (Yang et al., "FIFO queues are all you need for cache eviction",
// SOSP 2023): a small queue for newcomers, a main queue for what proved useful, and
// ghosts of what left the small one.
#pragma once

#include <cstdint>

#include "cache/ghost_list.hpp"

namespace tidegate {

/// Orders entries; owns none of them and holds no bytes of theirs. A hit changes the
/// entry's own counter and nothing else. Thread-compatible.
class S3Fifo {
 public:
  enum class Queue : std::uint8_t { small, main };

  /// Part of every entry.
  struct Node {
    Node* newer = nullptr;
    Node* older = nullptr;
    std::uint64_t bytes = 0;        ///< its weight
    std::uint32_t fingerprint = 0;  ///< of its key
    std::uint8_t frequency = 0;     ///< hits since it was queued, at most kMaxFrequency
    Queue queue = Queue::small;
  };

  static constexpr std::uint8_t kMaxFrequency = 3;
  static constexpr std::uint8_t kPromoteAt = 2;  ///< hits that carry a newcomer into main

  explicit S3Fifo(std::uint32_t ghost_capacity) : ghosts_(ghost_capacity) {}

  static void touch(Node& node) noexcept {
    if (node.frequency < kMaxFrequency) ++node.frequency;
  }

  /// Where a new entry of this fingerprint belongs: main if its ghost is known (which
  /// is thereby forgotten), else small. Asked before room is made for it.
  [[nodiscard]] Queue admit(std::uint32_t fingerprint) noexcept;

  /// Appends as the newest of `queue`, with the counter it has.
  void push(Node& node, Queue queue) noexcept;
  void remove(Node& node) noexcept;

  /// Takes out the entry to evict when all entries together may weigh `budget`;
  /// null if there is none. A tenth of the budget belongs to the small queue.
  [[nodiscard]] Node* evict(std::uint64_t budget);

  [[nodiscard]] std::uint64_t bytes() const noexcept { return small_.bytes + main_.bytes; }

 private:
  struct List {
    Node* newest = nullptr;
    Node* oldest = nullptr;
    std::uint64_t bytes = 0;
  };

  [[nodiscard]] List& list(Queue queue) noexcept { return queue == Queue::small ? small_ : main_; }
  [[nodiscard]] Node* evict_small(std::uint64_t ghost_bytes);
  [[nodiscard]] Node* evict_main() noexcept;

  List small_;
  List main_;
  GhostList ghosts_;
};

}  // namespace tidegate
