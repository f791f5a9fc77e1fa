// Streams: opened, taken from, waited for, cancelled.
#include "tidegate/stream.h"

#include <utility>

#include "arguments.hpp"
#include "request.hpp"
#include "stream_notice.hpp"

using namespace tidegate::capi;  // NOLINT: the C functions below are the API of this namespace
using tidegate::Chunk;
using tidegate::Error;
using tidegate::ErrorCode;
using tidegate::Response;
using tidegate::Result;
using tidegate::Stream;
using tidegate::StreamEvent;
using tidegate::StreamOptions;

struct tidegate_stream : Handle<0x54477374> {
  tidegate_stream(std::shared_ptr<Runtime> object, std::shared_ptr<Stream> opened, std::shared_ptr<StreamNotice> told)
      : runtime(std::move(object)), stream(std::move(opened)), notice(std::move(told)) {}

  const std::shared_ptr<Runtime> runtime;
  // Shared with whoever closes its queue at this moment, nobody else.
  const std::shared_ptr<Stream> stream;
  const std::shared_ptr<StreamNotice> notice;  // empty without a queue
  std::atomic_flag taking{};                   // held by the consumer inside next and wait
  // The consumer's own: room for what comes next, made before it is taken, and whether the end was.
  Answer room{};
  bool ended = false;
};

namespace {

/// Holds the consumer's side of a stream for a scope.
class Turn {
 public:
  explicit Turn(std::atomic_flag& taking) noexcept
      : taking_(taking), held_(!taking.test_and_set(std::memory_order_acquire)) {}
  ~Turn() {
    if (held_) taking_.clear(std::memory_order_release);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  [[nodiscard]] bool held() const noexcept { return held_; }

 private:
  std::atomic_flag& taking_;
  const bool held_;
};

/// Errors: busy, invalid_argument (the end has been taken).
Result<void> check_turn(const Turn& turn, const tidegate_stream& stream) {
  if (!turn.held()) return Error(ErrorCode::busy, "another thread takes from this stream");
  if (stream.ended) return Error(ErrorCode::invalid_argument, "the stream's end has been taken");
  return {};
}

Result<StreamOptions> read_options(const tidegate_stream_options* given) {
  StreamOptions options;
  if (given == nullptr) return options;
  const auto known = read_struct(given, "options");
  if (!known) return known.error();
  if (known->buffer_chunks != 0) options.buffer_chunks = known->buffer_chunks;
  options.buffer_bytes = known->buffer_bytes;
  return options;
}

/// Fills the result; whether it is the end.
bool fill(tidegate_result& item, StreamEvent event) noexcept {
  if (auto* const chunk = std::get_if<Chunk>(&event)) {
    item.response.outputs = std::move(chunk->tensors);
    return false;
  }
  auto& end = std::get<Result<Response>>(event);
  if (end) {
    item.response = std::move(*end);
  } else {
    item.status = static_cast<tidegate_status>(end.error().code());
    item.error = make_error(end.error());
  }
  return true;
}

Result<void> open(const tidegate_request& request, const StreamOptions& options, const tidegate_cq* cq,
                  std::uint64_t tag, tidegate_stream** stream) {
  auto input = request.input();
  if (!input) return input.error();
  Runtime& runtime = *request.runtime;
  std::shared_ptr<StreamNotice> notice;
  if (cq != nullptr) {
    if (cq->queue->closed()) return Error(ErrorCode::shutting_down, "the completion queue is closed");
    auto record = std::make_unique<tidegate_result>();
    record->tag = tag;
    notice = std::make_shared<StreamNotice>(cq->queue, std::move(record));
  }
  auto engine = runtime.use();
  if (!engine) return engine.error();
  auto opened =
      (*engine)->stream({request.model, std::move(*input), engine_options(request.options, runtime.clock())}, options);
  if (!opened) return opened.error();
  auto handle =
      std::make_unique<tidegate_stream>(request.runtime, std::make_shared<Stream>(std::move(*opened)), notice);
  if (auto added = runtime.streams().add(handle->stream, cq != nullptr ? cq->queue.get() : nullptr); !added) {
    return added;
  }
  if (notice != nullptr) {
    auto ready = notice->arm(*handle->stream);
    if (ready && *ready) notice->tell();
    if (!ready) {
      runtime.streams().remove(handle->stream.get());
      return ready.error();
    }
  }
  *stream = handle.release();
  return {};
}

}  // namespace

tidegate_status tidegate_stream_open(tidegate_request* request, const tidegate_stream_options* options, tidegate_cq* cq,
                                     uint64_t tag, tidegate_stream** stream, tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check_output(stream, "stream"); !ok) return ok;
    if (auto ok = check(request, "request"); !ok) return ok;
    if (cq != nullptr) {
      if (auto ok = check(cq, "cq"); !ok) return ok;
      if (cq->runtime != request->runtime) {
        return Error(ErrorCode::invalid_argument, "the completion queue belongs to another runtime");
      }
    }
    const auto known = read_options(options);
    if (!known) return known.error();
    return open(*request, *known, cq, tag, stream);
  });
}

tidegate_status tidegate_stream_next(tidegate_stream* stream, tidegate_result** item, tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<tidegate_status> {
    if (auto ok = check_output(item, "item"); !ok) return ok.error();
    if (auto ok = check(stream, "stream"); !ok) return ok.error();
    const Turn turn(stream->taking);
    if (auto ok = check_turn(turn, *stream); !ok) return ok.error();
    if (stream->room == nullptr) stream->room = std::make_unique<tidegate_result>();
    for (;;) {
      if (auto event = stream->stream->try_next()) {
        stream->ended = fill(*stream->room, std::move(*event));
        *item = stream->room.release();
        return stream->ended ? TIDEGATE_DONE : TIDEGATE_OK;
      }
      if (stream->notice == nullptr) return TIDEGATE_EMPTY;
      const auto ready = stream->notice->arm(*stream->stream);
      if (!ready) return ready.error();
      if (!*ready) return TIDEGATE_EMPTY;
    }
  });
}

tidegate_status tidegate_stream_wait(tidegate_stream* stream, int64_t timeout_ns) noexcept {
  return guarded(nullptr, [&]() -> Result<tidegate_status> {
    if (auto ok = check(stream, "stream"); !ok) return ok.error();
    const auto bound = duration_argument(timeout_ns);
    if (!bound) return bound.error();
    const Turn turn(stream->taking);
    if (auto ok = check_turn(turn, *stream); !ok) return ok.error();
    return stream->stream->wait_ready(*bound) ? TIDEGATE_OK : TIDEGATE_EMPTY;
  });
}

tidegate_status tidegate_stream_cancel(tidegate_stream* stream) noexcept {
  const HandleState state = state_of(stream);
  if (state == HandleState::live) stream->stream->cancel();
  return status_of(state);
}

void tidegate_stream_release(tidegate_stream* stream) noexcept {
  if (!is_live(stream)) return;
  if (stream->notice != nullptr) stream->notice->mute();
  stream->runtime->streams().remove(stream->stream.get());
  delete stream;
}
