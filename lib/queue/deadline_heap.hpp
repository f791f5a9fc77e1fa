// DeadlineHeap: whose deadline comes next. Entries of waiters that ended otherwise
// are dropped lazily, so that a cancel or an answer costs O(1).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "queue/flight.hpp"
#include "queue/room.hpp"

namespace tidegate {

/// The earliest entry is always a live waiter's, and dead entries are at most half
/// of all (beyond kSlack), so `earliest` is exact and memory stays in proportion.
class DeadlineHeap {
 public:
  /// `waiters` decides who is alive; it must outlive the heap.
  explicit DeadlineHeap(const Slab<Waiter>& waiters) : waiters_(waiters) {}

  /// The next `push` allocates nothing.
  void make_room() { tidegate::make_room(heap_, heap_.size() + 1); }

  /// The waiter's deadline must not be kNoDeadline.
  void push(const Waiter& waiter);

  /// To be called after a waiter that was pushed has been released. Amortized O(log n)
  /// if it stood first, else O(1).
  void forget_one();

  /// A live waiter with deadline <= now; nullptr if there is none.
  [[nodiscard]] Waiter* first_due(TimePoint now) const noexcept {
    return earliest() > now || heap_.empty() ? nullptr : waiters_.find(heap_.front().waiter);
  }

  /// kNoDeadline if nobody has a deadline.
  [[nodiscard]] TimePoint earliest() const noexcept { return heap_.empty() ? kNoDeadline : heap_.front().when; }

  [[nodiscard]] std::size_t entries() const noexcept { return heap_.size(); }

  static constexpr std::size_t kSlack = 64;  ///< below this many entries, rebuilding is not worth it

 private:
  struct Entry {
    TimePoint when;
    std::uint64_t waiter;  ///< Slab id
  };
  [[nodiscard]] bool is_dead(const Entry& entry) const noexcept { return waiters_.find(entry.waiter) == nullptr; }

  const Slab<Waiter>& waiters_;
  std::vector<Entry> heap_;  ///< binary heap, earliest first
  std::size_t dead_ = 0;     ///< entries whose waiter has been released
};

}  // namespace tidegate
