// StreamRoster: the open streams of a runtime, so that closing a queue can end its streams.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "completion_queue.hpp"
#include "tidegate/stream.hpp"

namespace tidegate::capi {

/// Thread-safe. Lock: mutex_ is a leaf; no stream is called under it.
class StreamRoster {
 public:
  /// `queue` may be empty. Errors: shutting_down (the queue is closed).
  [[nodiscard]] Result<void> add(const std::shared_ptr<Stream>& stream, const CompletionQueue* queue) {
    const MutexLock lock(mutex_);
    // Under the lock that `of` takes after a close: a stream is seen there, or sees the queue closed.
    if (queue != nullptr && queue->closed()) {
      return Error(ErrorCode::shutting_down, "the completion queue is closed");
    }
    open_.emplace(stream.get(), Place{stream, queue});
    return {};
  }

  void remove(const Stream* stream) noexcept {
    const MutexLock lock(mutex_);
    open_.erase(stream);
  }

  [[nodiscard]] std::vector<std::shared_ptr<Stream>> of(const CompletionQueue* queue) const {
    std::vector<std::shared_ptr<Stream>> found;
    const MutexLock lock(mutex_);
    for (const auto& [key, place] : open_) {
      if (place.queue != queue) continue;
      if (auto stream = place.stream.lock()) found.push_back(std::move(stream));
    }
    return found;
  }

  [[nodiscard]] std::uint64_t size() const noexcept {
    const MutexLock lock(mutex_);
    return open_.size();
  }

 private:
  struct Place {
    std::weak_ptr<Stream> stream;
    const CompletionQueue* queue;
  };
  mutable Mutex mutex_;
  std::map<const Stream*, Place> open_ TIDEGATE_GUARDED_BY(mutex_){};
};

}  // namespace tidegate::capi
