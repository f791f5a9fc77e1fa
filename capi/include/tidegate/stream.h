/* Tidegate C ABI: streams, answers of iterative models taken chunk by chunk.
 *
 *   tidegate_stream_open(request, NULL, cq, tag, &stream, &err)
 *   for each record of kind TIDEGATE_COMPLETION_STREAM with this tag:
 *     while ((status = tidegate_stream_next(stream, &item, &err)) == TIDEGATE_OK)
 *       use the chunk, tidegate_result_release(item)
 *     TIDEGATE_EMPTY: another record will come      TIDEGATE_DONE: item is the end
 *   tidegate_stream_release(stream)
 *
 * Chunks come in order and without gaps, then exactly one end, whatever happens (answer,
 * deadline, cancel, failure, shutdown). A consumer that does not take its chunks holds up
 * nobody: with its buffer full its stream takes no further step, keeps its place
 * ("batching.max_sequences") and memory ends where the buffer does, so give streams whose
 * consumers may fall silent a deadline.
 */
#ifndef TIDEGATE_STREAM_H
#define TIDEGATE_STREAM_H

#include "request.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One stream; keeps the runtime alive. Single consumer; cancel from any thread. */
typedef struct tidegate_stream tidegate_stream;

typedef struct tidegate_stream_options {
  uint32_t struct_size;
  uint32_t buffer_chunks; /* chunks that wait at most, 1 to 4096; 0 = 8 */
  /* No step is taken while chunks of so many bytes wait, so at most one chunk more is held;
   * 0 = "batching.stream_buffer_bytes" of the model. */
  uint64_t buffer_bytes;
} tidegate_stream_options;

/* Starts the request as a stream; neither looked up in caches nor stored. The request is unchanged
 * and may be used again. With `cq` (NULL = none: poll or wait) a record with `tag`, id 0 and
 * neither result nor error arrives when there is something to take after the stream was opened or a
 * tidegate_stream_next has answered EMPTY; at most one per stream waits in the queue. The flag
 * MAY_COMPLETE_INLINE has no effect.
 * Since: 1.0   Thread: Owner (request)   Blocks: only with admit_timeout_ns   Owns: *stream, release it
 * Errors: as tidegate_submit_text; UNSUPPORTED (the model answers in one piece) */
TIDEGATE_API tidegate_status tidegate_stream_open(tidegate_request *request, const tidegate_stream_options *options,
                                                  tidegate_cq *cq, uint64_t tag, tidegate_stream **stream,
                                                  tidegate_error **err) TIDEGATE_NOEXCEPT;

/* Takes what comes next:
 *   OK        *item is a chunk
 *   DONE      *item is the end, once: tidegate_result_status tells how the stream ended,
 *             tidegate_result_error why, and its outputs are what the model answered besides the chunks
 *   EMPTY     nothing yet; *item is NULL
 *   negative  the call failed and took nothing
 * Tensors of *item are borrowed from it until it is released, which may be after the stream's.
 * Works after cancel, drain and shutdown, too.
 * Since: 1.0   Thread: Consumer   Blocks: no   Owns: *item, tidegate_result_release it
 * Errors: BUSY (another thread is in it), INVALID (the end has been taken) */
TIDEGATE_API tidegate_status tidegate_stream_next(tidegate_stream *stream, tidegate_result **item,
                                                  tidegate_error **err) TIDEGATE_NOEXCEPT;

/* Waits until there is something to take (OK), for at most `timeout_ns` (EMPTY).
 * Since: 1.0   Thread: Consumer, but never a library thread   Blocks: up to timeout_ns   Owns: -
 * Errors: BUSY (another thread is in it), INVALID (the end has been taken) */
TIDEGATE_API tidegate_status tidegate_stream_wait(tidegate_stream *stream, int64_t timeout_ns) TIDEGATE_NOEXCEPT;

/* The stream ends with CANCELLED unless it has ended. Chunks that wait stay, and so does the end.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -   Errors: - */
TIDEGATE_API tidegate_status tidegate_stream_cancel(tidegate_stream *stream) TIDEGATE_NOEXCEPT;

/* Cancels the stream unless it has ended and drops what waits. No drain that begins later hands
 * out a record of it.
 * Since: 1.0   Thread: Owner   Blocks: no   Owns: takes `stream` (NULL allowed)   Errors: - */
TIDEGATE_API void tidegate_stream_release(tidegate_stream *stream) TIDEGATE_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
