// Sequence: lets readers go on without the lock that writers take, and find out whether they may believe what they saw.
#pragma once

#include <atomic>
#include <cstdint>

namespace tidegate {

/// Odd while something changes (Lamport, "Concurrent reading and writing", CACM 1977; as a lock of Linux: seqlock).
class Sequence {
 public:
  /// A change, by whoever holds the lock.
  class Change {
   public:
    /// A locked instruction: what the writer reads afterwards (who holds what) is not older than the odd number.
    explicit Change(Sequence& sequence) noexcept : sequence_(sequence) {
      sequence_.number_.fetch_add(1, std::memory_order_seq_cst);
    }
    ~Change() {
      sequence_.number_.store(sequence_.number_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    }
    Change(const Change&) = delete;
    Change& operator=(const Change&) = delete;

   private:
    Sequence& sequence_;
  };

  [[nodiscard]] static bool is_change(std::uint64_t number) noexcept { return (number & 1) != 0; }
  /// Sequentially consistent: after a reader has published what it holds, it sees a change that has not seen that.
  [[nodiscard]] std::uint64_t number() const noexcept { return number_.load(std::memory_order_seq_cst); }

  /// Whether nothing has changed since `before`, and all that was read since then is so.
  [[nodiscard]] bool is_still(std::uint64_t before) const noexcept {
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wtsan"  // the reads before it are not shown to the thread sanitizer
#endif
    std::atomic_thread_fence(std::memory_order_acquire);
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
    return number_.load(std::memory_order_relaxed) == before;
  }

 private:
  std::atomic<std::uint64_t> number_{0};
};

}  // namespace tidegate
