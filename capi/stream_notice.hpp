// StreamNotice: the one record with which a stream tells a completion queue that it has something.
#pragma once

#include <atomic>
#include <memory>

#include "completion_queue.hpp"
#include "tidegate/stream.hpp"

namespace tidegate::capi {

/// The record is made with the stream, is in the queue at most once and comes back when it has been
/// drained, so telling needs no memory. Thread-safe. Lock: mutex_ is a leaf.
class StreamNotice : public std::enable_shared_from_this<StreamNotice> {
 public:
  StreamNotice(std::shared_ptr<CompletionQueue> queue, Answer record) noexcept
      : queue_(std::move(queue)), record_(std::move(record)) {}

  /// The queue gets the record when `stream` has something; not if the record is in the queue now, for
  /// whoever drains it looks into the stream. True: something is there already, take it.
  /// Errors: invalid_argument (the end has been taken), out_of_memory.
  [[nodiscard]] Result<bool> arm(Stream& stream);

  /// The stream is released: from now on nothing is told.
  void mute() noexcept { muted_.store(true, std::memory_order_release); }

  /// A drain has met the record. False: nobody is to see it.
  [[nodiscard]] bool take_back(Answer record) noexcept;

  /// Puts the record into the queue unless it is there.
  void tell() noexcept;

 private:
  const std::shared_ptr<CompletionQueue> queue_;
  // Release/acquire: who sees it muted sees the stream released.
  std::atomic<bool> muted_{false};
  Mutex mutex_;
  Answer record_ TIDEGATE_GUARDED_BY(mutex_);  // empty while it is in the queue
};

}  // namespace tidegate::capi
