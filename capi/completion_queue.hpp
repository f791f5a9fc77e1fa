// CompletionQueue: records between library threads and one consumer, with a
// descriptor that is readable exactly while records wait.
#pragma once

#include <atomic>
#include <memory>
#include <span>

#include "answer.hpp"
#include "mutex.hpp"

namespace tidegate::capi {

/// Thread-safe; drain and wait belong to one consumer at a time. Lock: mutex_ is a
/// leaf, no other lock is taken under it.
class CompletionQueue {
 public:
  /// Errors: io_error (no descriptor left).
  [[nodiscard]] static Result<std::shared_ptr<CompletionQueue>> create();

  explicit CompletionQueue(int descriptor) noexcept : descriptor_(descriptor) {}
  ~CompletionQueue();
  CompletionQueue(const CompletionQueue&) = delete;
  CompletionQueue& operator=(const CompletionQueue&) = delete;

  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }

  /// Appends a record. Allocates nothing.
  void push(Answer answer) noexcept;

  /// Takes up to `max` records, oldest first, as a list; clears the descriptor before
  /// and sets it again if records remain. Errors: busy.
  [[nodiscard]] Result<Answer> drain(std::size_t max) noexcept;

  /// OK once a record is there; EMPTY after the time-out, a wake-up or a signal.
  [[nodiscard]] tidegate_status wait(std::int64_t timeout_ns) noexcept;

  /// Makes the descriptor readable and ends one wait, this or the next; a drain in
  /// between does not swallow it. Async-signal-safe.
  void wakeup() noexcept;

  /// From now on no request may begin here (RequestTable::begin asks).
  void close() noexcept { closed_.store(true, std::memory_order_release); }
  [[nodiscard]] bool closed() const noexcept { return closed_.load(std::memory_order_acquire); }

  /// The consumer is gone: drops every record, present and to come.
  void abandon() noexcept;

 private:
  void signal() noexcept;
  void clear() noexcept;

  const int descriptor_;
  // Release/acquire: a submit that sees it also sees what closing did before.
  std::atomic<bool> closed_{false};
  // Lock-free, as signal handlers need. Release/acquire: what was done before the
  // wake-up is seen by the thread whose wait it ends.
  std::atomic<bool> woken_{false};
  static_assert(std::atomic<bool>::is_always_lock_free);
  std::atomic_flag draining_{};  // held by the consumer inside drain

  Mutex mutex_;
  Answer first_ TIDEGATE_GUARDED_BY(mutex_){};
  tidegate_result* last_ TIDEGATE_GUARDED_BY(mutex_) = nullptr;  // last of first_'s list
  bool abandoned_ TIDEGATE_GUARDED_BY(mutex_) = false;
};

/// Destroys a list of records without recursion.
void drop_list(Answer first) noexcept;

}  // namespace tidegate::capi
