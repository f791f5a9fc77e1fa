// Stream: an answer of an iterative model that arrives in chunks.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "tidegate/callback.hpp"
#include "tidegate/request.hpp"
#include "tidegate/result.hpp"
#include "tidegate/time.hpp"

namespace tidegate {

struct StreamOptions {
  /// Chunks kept for a consumer that has not asked for them, 1..4096. While so many wait
  /// the stream is parked: it takes no step, and nobody else is held up by it. It keeps its place
  /// in its slot (BatchingOptions::max_sequences), so give streams whose consumers may fall
  /// silent a deadline.
  std::uint32_t buffer_chunks = 8;
  /// The same in bytes of tensors: no step is taken while so many wait or more, so what waits is below this
  /// plus one chunk. 0 = BatchingOptions::stream_buffer_bytes of the model.
  std::uint64_t buffer_bytes = 0;
};

struct Chunk {
  std::uint64_t index = 0;  ///< counts the stream's chunks, from 0
  std::vector<Tensor> tensors;
};

/// What comes next: a chunk, or the one end. The end's `outputs` are what the model
/// answered besides the chunks, often nothing.
using StreamEvent = std::variant<Chunk, Result<Response>>;

/// The consumer's side of one stream: chunks in order, then exactly one end. Move-only; one
/// consumer at a time. Destruction cancels the request unless it has ended; a callback that
/// still waits is then told the end. Chunks that wait and the end stay readable after the
/// engine is gone (try_next, wait_next).
class Stream {
 public:
  using OnNext = UniqueFunction<void(StreamEvent)>;
  using OnReady = UniqueFunction<void()>;

  Stream(Stream&&) noexcept;
  Stream& operator=(Stream&&) noexcept;
  ~Stream();

  /// `on_next` runs once, with what comes next, on the completion executor and never
  /// inside this call; it may call `next` again. Never blocks. On an error it is destroyed
  /// uncalled. Errors: busy (another one waits), invalid_argument (the end has been taken),
  /// shutting_down (the completion executor has stopped), out_of_memory, host_failed.
  [[nodiscard]] Result<void> next(OnNext on_next);

  /// What is there now; nullopt if nothing is, or a callback waits.
  [[nodiscard]] std::optional<StreamEvent> try_next();

  /// Blocks until there is something. Not to be called by a completion callback: the end
  /// comes from there. After the end, or while a callback waits, an end that says so
  /// (invalid_argument, busy).
  [[nodiscard]] StreamEvent wait_next();

  /// Whether something is there now; then `on_ready` is destroyed uncalled. Otherwise it runs once when
  /// something is, takes nothing, and runs as `on_next` of `next` does: on the completion executor. If
  /// `try_next` was quicker it waits on. Errors: busy (another one waits), invalid_argument (the end has been taken).
  [[nodiscard]] Result<bool> when_ready(OnReady on_ready);

  /// Blocks until something is there (true), for `bound` at most. Not to be called by a completion callback.
  [[nodiscard]] bool wait_ready(Duration bound);

  /// The request ends with `cancelled` unless it has ended; chunks that wait stay.
  void cancel() noexcept;

  class Buffer;
  /// For the engine.
  explicit Stream(std::shared_ptr<Buffer> buffer) noexcept;

 private:
  std::shared_ptr<Buffer> buffer_;
};

}  // namespace tidegate
