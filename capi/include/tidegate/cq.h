/* Tidegate C ABI: completion queues.
 *
 * A completion queue gathers the ends of submitted requests for one event loop or
 * thread. Its descriptor is readable while records wait (level-triggered), so it
 * goes into epoll, asyncio, Go's poller or tokio as it is:
 *
 *   wait until the descriptor is readable
 *   tidegate_cq_drain(cq, records, sizeof records[0], 64, &n)
 *   for each record: look up `tag`, use result or error, release it
 *
 * Nobody needs to read the descriptor: drain clears it and sets it again if
 * records remain. It is written once each time the queue turns from empty to not
 * empty. Records never drop: each accepted request has its place from submit on.
 */
#ifndef TIDEGATE_CQ_H
#define TIDEGATE_CQ_H

#include "result.h"
#include "runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Many producers, one consumer. Keeps the runtime alive. */
typedef struct tidegate_cq tidegate_cq;

typedef int32_t tidegate_completion_kind;
enum {
  TIDEGATE_COMPLETION_INFER = 1, /* a request has ended */
  TIDEGATE_COMPLETION_STREAM = 2 /* a stream has something to take; see stream.h */
};

/* The end of one request, or word from a stream: 64 bytes in ABI 1.0; later versions append. */
typedef struct tidegate_completion {
  uint64_t tag;                  /* the number given to submit */
  uint64_t id;                   /* the id submit answered */
  tidegate_completion_kind kind; /* ignore kinds you do not know */
  tidegate_status status;        /* OK, or why there is no answer */
  tidegate_result *result;       /* the answer if status is OK, else NULL; release it */
  tidegate_error *error;         /* the error if status is negative, else NULL; release it */
  int64_t done_ns;               /* when it completed, clock of tidegate_clock_now_ns */
  uint64_t reserved[2];          /* 0 */
} tidegate_completion;

/* Since: 1.0   Thread: Any   Blocks: no   Owns: *cq, release it   Errors: IO (no descriptor left) */
TIDEGATE_API tidegate_status tidegate_cq_create(tidegate_runtime *runtime, tidegate_cq **cq,
                                                tidegate_error **err) TIDEGATE_NOEXCEPT;

/* The descriptor to poll for reading: an eventfd, non-blocking, close-on-exec. -1
 * if `cq` is not a queue. Duplicate it before giving it to an owner that closes.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -, it closes with the queue   Errors: - */
TIDEGATE_API int32_t tidegate_cq_fd(const tidegate_cq *cq) TIDEGATE_NOEXCEPT;

/* Takes up to `max` records, oldest first, and answers OK with *count >= 1, or
 * EMPTY with *count = 0. `stride` is the size of one record as the caller knows it.
 * Since: 1.0   Thread: Consumer   Blocks: no   Owns: result and error of each record
 * Errors: BUSY (another thread drains this queue now) */
TIDEGATE_API tidegate_status tidegate_cq_drain(tidegate_cq *cq, tidegate_completion *records, size_t stride,
                                               size_t max, size_t *count) TIDEGATE_NOEXCEPT;

/* Waits until a record is there (OK); EMPTY after the time-out, a wake-up or a
 * signal.
 * Since: 1.0   Thread: Consumer   Blocks: up to timeout_ns   Owns: -   Errors: - */
TIDEGATE_API tidegate_status tidegate_cq_wait(tidegate_cq *cq, int64_t timeout_ns) TIDEGATE_NOEXCEPT;

/* Ends a wait, this or the next one (a drain in between does not swallow it), and
 * makes the descriptor readable until the next drain or wait. May be called from a
 * signal handler.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -   Errors: - */
TIDEGATE_API tidegate_status tidegate_cq_wakeup(tidegate_cq *cq) TIDEGATE_NOEXCEPT;

/* Refuses further submits and streams to this queue and cancels its requests and streams in
 * flight; their records arrive as usual. Idempotent.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -   Errors: - */
TIDEGATE_API tidegate_status tidegate_cq_close(tidegate_cq *cq) TIDEGATE_NOEXCEPT;

/* Closes the queue and drops every record, present and to come.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: takes `cq` (NULL allowed)   Errors: - */
TIDEGATE_API void tidegate_cq_release(tidegate_cq *cq) TIDEGATE_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
