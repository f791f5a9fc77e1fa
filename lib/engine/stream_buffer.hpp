// Stream::Buffer: what a stream has emitted and its consumer has not taken.
#pragma once

#include <condition_variable>
#include <optional>
#include <utility>
#include <vector>

#include "base/mutex.hpp"
#include "engine/visits.hpp"
#include "tidegate/stream.hpp"

namespace tidegate {

class Pipeline;

/// Between the pipeline, which pushes chunks and the end, and the consumer, who takes them.
/// Holds at most `buffer_chunks` chunks, and a chunk more than `buffer_bytes` bytes: the pipeline runs no
/// step of a stream whose buffer is full, and a step emits one chunk at most. Thread-safe; its lock is a leaf that may
/// be taken under Pipeline::mutex_. What throws when a chunk's delivery is posted is gone round: then the worker
/// delivers it.
class Stream::Buffer : public std::enable_shared_from_this<Buffer> {
 public:
  /// May throw std::bad_alloc. `opened`: when the request came.
  Buffer(const StreamOptions& options, std::shared_ptr<Executor> completions, TimePoint opened)
      : opened_(opened),
        completions_(std::move(completions)),
        most_bytes_(options.buffer_bytes),
        ring_(options.buffer_chunks) {}

  /// The request that fills it; once, before the consumer has the stream.
  void serve(std::weak_ptr<Pipeline> pipeline, std::shared_ptr<Visits> visits, std::uint64_t handle) noexcept {
    pipeline_ = std::move(pipeline);
    visits_ = std::move(visits);
    handle_ = handle;
  }
  [[nodiscard]] TimePoint opened() const noexcept { return opened_; }

  // ---- the pipeline's side ----------------------------------------------------

  /// The chunk's number. Dropped where the consumer has left. Not under a lock.
  std::uint64_t push(std::vector<Tensor>&& tensors) noexcept;

  /// Whether the stream may take no further step until the consumer takes a chunk, who then
  /// unparks it. Under Pipeline::mutex_, up to the scheduler's knowing it.
  [[nodiscard]] bool park_if_full() noexcept;

  /// Once, on the completion executor.
  void end(Result<Response> result) noexcept;

  // ---- the consumer's side ------------------------------------------------------

  [[nodiscard]] Result<void> next(OnNext on_next);
  [[nodiscard]] std::optional<StreamEvent> try_next();
  [[nodiscard]] StreamEvent wait_next();
  [[nodiscard]] Result<bool> when_ready(OnReady on_ready);
  [[nodiscard]] bool wait_ready(Duration bound);
  void cancel() noexcept;
  void abandon() noexcept;

 private:
  /// A posted `deliver`; says so if the executor drops it.
  struct Delivery;

  /// An event, and whether taking it made room for a parked stream. After the end nothing
  /// will be ready: the callback that waited for it is destroyed where no lock is held.
  struct Taken {
    StreamEvent event;
    bool unparks;
    OnReady unneeded;
  };
  [[nodiscard]] bool has_event() const noexcept TIDEGATE_REQUIRES(mutex_) { return count_ > 0 || end_.has_value(); }
  [[nodiscard]] bool is_full() const noexcept TIDEGATE_REQUIRES(mutex_) {
    return count_ == ring_.size() || bytes_ >= most_bytes_;
  }
  [[nodiscard]] Taken take() noexcept TIDEGATE_REQUIRES(mutex_);
  /// Tells the callback that waits, if there is something for it.
  void deliver() noexcept;
  void call(OnReady& on_ready) noexcept;
  void was_dropped() noexcept;
  /// Calls `act(pipeline, handle)` unless the engine is gone.
  template <class Act>
  void with_pipeline(Act&& act) noexcept;

  const TimePoint opened_;
  const std::shared_ptr<Executor> completions_;
  const std::uint64_t most_bytes_;
  std::weak_ptr<Pipeline> pipeline_{};
  std::shared_ptr<Visits> visits_{};
  std::uint64_t handle_ = 0;

  Mutex mutex_;
  std::condition_variable changed_;
  std::vector<Chunk> ring_ TIDEGATE_GUARDED_BY(mutex_);
  std::size_t first_ TIDEGATE_GUARDED_BY(mutex_) = 0;
  std::size_t count_ TIDEGATE_GUARDED_BY(mutex_) = 0;
  std::uint64_t bytes_ TIDEGATE_GUARDED_BY(mutex_) = 0;  ///< of the tensors in the ring
  std::uint64_t pushed_ TIDEGATE_GUARDED_BY(mutex_) = 0;
  std::optional<Result<Response>> end_ TIDEGATE_GUARDED_BY(mutex_);
  OnNext on_next_ TIDEGATE_GUARDED_BY(mutex_);
  OnReady on_ready_ TIDEGATE_GUARDED_BY(mutex_);  ///< never together with on_next_
  bool parked_ TIDEGATE_GUARDED_BY(mutex_) = false;
  bool posted_ TIDEGATE_GUARDED_BY(mutex_) = false;   ///< a Delivery is on its way
  bool dropped_ TIDEGATE_GUARDED_BY(mutex_) = false;  ///< the last Delivery was dropped
  bool end_taken_ TIDEGATE_GUARDED_BY(mutex_) = false;
  bool abandoned_ TIDEGATE_GUARDED_BY(mutex_) = false;
};

/// The request's callback: tells the buffer its end, also where it is dropped uncalled.
class StreamEnd {
 public:
  explicit StreamEnd(std::shared_ptr<Stream::Buffer> buffer) noexcept : buffer_(std::move(buffer)) {}
  StreamEnd(StreamEnd&&) noexcept = default;
  StreamEnd& operator=(StreamEnd&&) = delete;
  ~StreamEnd() {
    if (buffer_ != nullptr) buffer_->end(Error(ErrorCode::abandoned, "the executor dropped the end of the stream"));
  }
  void operator()(Result<Response> result) { std::exchange(buffer_, nullptr)->end(std::move(result)); }

 private:
  std::shared_ptr<Stream::Buffer> buffer_;
};

}  // namespace tidegate
