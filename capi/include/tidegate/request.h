/* Tidegate C ABI: requests.
 *
 * A submit answers without waiting for the model (for room in a full queue only with admit_timeout_ns):
 *   OK        accepted: exactly one completion with this tag will be in the queue,
 *             whatever happens (answer, deadline, cancel, failure, shutdown)
 *   DONE      the answer is in *result now and no completion follows; only with
 *             TIDEGATE_MAY_COMPLETE_INLINE, for answers held in memory
 *   negative  refused: nothing happened and no completion follows
 * Inputs are copied before the call returns: the buffers are the caller's again.
 */
#ifndef TIDEGATE_REQUEST_H
#define TIDEGATE_REQUEST_H

#include "cq.h"
#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the caches may do; 0 = default (USE). */
typedef int32_t tidegate_cache_mode;
enum {
  TIDEGATE_CACHE_USE = 1,     /* look up, and store what was computed */
  TIDEGATE_CACHE_REFRESH = 2, /* compute, then store */
  TIDEGATE_CACHE_BYPASS = 3,  /* neither; never joined to an equal request */
  TIDEGATE_CACHE_SIMILAR = 4  /* as USE; where "semantic.embedder" of the model is set, the answer to a question
                               * that means the same will do (TIDEGATE_SOURCE_SIMILAR) */
};

/* What goes first while replicas are scarce; 0 = default (INTERACTIVE). A request without a
 * deadline is ordered as if it had to be answered 20 ms, 100 ms or 1 s after its arrival. */
typedef int32_t tidegate_priority;
enum {
  TIDEGATE_PRIORITY_CRITICAL = 1,    /* before everything else */
  TIDEGATE_PRIORITY_INTERACTIVE = 2, /* somebody waits */
  TIDEGATE_PRIORITY_BATCH = 3        /* work that can wait; the first to give way in a full queue */
};

/* Which version of a model answers when it is replaced while the request waits; 0 = default (ANY). */
typedef int32_t tidegate_model_version;
enum {
  TIDEGATE_MODEL_VERSION_ANY = 1,   /* the newer one, where it takes inputs that the former has prepared */
  TIDEGATE_MODEL_VERSION_PINNED = 2 /* the one that has accepted it */
};

/* Flags of a request. Unknown ones are refused with UNSUPPORTED. */
enum { TIDEGATE_MAY_COMPLETE_INLINE = 1 };

typedef struct tidegate_request_options {
  uint32_t struct_size;
  uint32_t flags;
  int64_t timeout_ns;  /* from now; 0 = none */
  int64_t deadline_ns; /* as tidegate_clock_now_ns; 0 = none; not together with timeout_ns */
  tidegate_cache_mode cache;
  tidegate_priority priority;
  const char *tenant;   /* whose request it is, UTF-8, at most 256 bytes; copied; NULL = nobody's */
  size_t tenant_length; /* TIDEGATE_NUL = up to the first NUL */
  /* Completions of equal keys arrive in the order of acceptance, where "batching.ordering" of the
   * model is "per_key"; elsewhere INVALID. UTF-8, at most 256 bytes; copied; NULL = in no order. */
  const char *ordering_key;
  size_t ordering_key_length; /* TIDEGATE_NUL = up to the first NUL */
  /* What tidegate_cache_invalidate may call the answer by. UTF-8, at most 256 bytes; copied; NULL = nothing. */
  const char *cache_tag;
  size_t cache_tag_length; /* TIDEGATE_NUL = up to the first NUL */
  /* With TIDEGATE_CACHE_SIMILAR: what else must be equal before texts are compared, such as the system
   * prompt. UTF-8, at most 4096 bytes; copied; NULL = nothing. */
  const char *similar_within;
  size_t similar_within_length; /* TIDEGATE_NUL = up to the first NUL */
  tidegate_model_version version;
  int32_t reserved; /* 0 */
  /* How long the submit may block for room while the queue is full, instead of QUEUE_FULL at once; by class, then
   * in order of arrival. 0 = never; TIDEGATE_FOREVER = until the deadline or a shutdown. A function of a model's
   * table never blocks for it. No effect on a submit that first asks a further cache tier or the semantic one: it is
   * accepted, and may complete with QUEUE_FULL. */
  int64_t admit_timeout_ns;
} tidegate_request_options;

/* What a model would take in now, the caps of the runtime ("queue.*") included. A look, not a promise. */
typedef struct tidegate_queue_room {
  uint32_t struct_size;
  uint32_t waiting;       /* calls that block for room now */
  uint64_t items;         /* requests, with priority INTERACTIVE */
  uint64_t tokens;        /* of all of them */
  uint64_t bytes;         /* of their inputs */
  int64_t retry_after_ns; /* when there may be room; 0 where there is */
} tidegate_queue_room;

/* The room left in the queue of `model` (NULL = the only one) into `room`, whose struct_size must be set.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -   Errors: NOT_FOUND, SHUTTING_DOWN */
TIDEGATE_API tidegate_status tidegate_capacity(tidegate_runtime *runtime, const tidegate_model *model,
                                               tidegate_queue_room *room, tidegate_error **err) TIDEGATE_NOEXCEPT;

/* Says that a request is on its way, for as long as it is held. Single owner; keeps the runtime alive, and
 * the model: a host model's destroy(ctx) runs after the release. */
typedef struct tidegate_announcement tidegate_announcement;

/* To be called when a request for `model` (NULL = the only one) begins to arrive, and released when its submit has
 * returned: where "batching.linger" of the model is "announced" a free replica waits for it, for
 * "batching.max_queue_delay_us" at most. Elsewhere *announcement is NULL, and the answer OK. A submit
 * announces itself while it looks up and tokenizes.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: *announcement, release it   Errors: NOT_FOUND, SHUTTING_DOWN */
TIDEGATE_API tidegate_status tidegate_announce(tidegate_runtime *runtime, const tidegate_model *model,
                                               tidegate_announcement **announcement,
                                               tidegate_error **err) TIDEGATE_NOEXCEPT;

/* The request has come, or never will.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: takes `announcement` (NULL allowed)   Errors: - */
TIDEGATE_API void tidegate_announcement_release(tidegate_announcement *announcement) TIDEGATE_NOEXCEPT;

/* Submits one text (UTF-8, may hold NUL bytes; TIDEGATE_NUL as length stops at the
 * first). `model` NULL = the only model. `options`, `id`, `err` may be NULL; so may
 * `result` unless the flag MAY_COMPLETE_INLINE is set. Costs the look-up in
 * memory and, on a miss, the tokenizing.
 * Since: 1.0   Thread: Any   Blocks: only with admit_timeout_ns   Owns: *result (if DONE), release it
 * Errors: NOT_FOUND, TOO_LARGE, QUEUE_FULL, QUOTA, OVERLOADED, UNSUPPORTED, SHUTTING_DOWN */
TIDEGATE_API tidegate_status tidegate_submit_text(tidegate_runtime *runtime, const tidegate_model *model,
                                                  const char *text, size_t length,
                                                  const tidegate_request_options *options, tidegate_cq *cq,
                                                  uint64_t tag, uint64_t *id, tidegate_result **result,
                                                  tidegate_error **err) TIDEGATE_NOEXCEPT;

/* Asks that a request ends now. Its completion arrives as always, with CANCELLED
 * or with what came first. Never blocks.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -
 * Errors: NOT_FOUND (already complete, or never accepted here), SHUTTING_DOWN */
TIDEGATE_API tidegate_status tidegate_cancel(tidegate_runtime *runtime, uint64_t id) TIDEGATE_NOEXCEPT;

/* A reusable request. Single owner; keeps the runtime alive. */
typedef struct tidegate_request tidegate_request;

/* An empty request for `model` (NULL = the only one).
 * Since: 1.0   Thread: Any   Blocks: no   Owns: *request, release it   Errors: - */
TIDEGATE_API tidegate_status tidegate_request_create(tidegate_runtime *runtime, const tidegate_model *model,
                                                     tidegate_request **request, tidegate_error **err) TIDEGATE_NOEXCEPT;

/* The request holds this text and no tensors from now on. Copied.
 * Since: 1.0   Thread: Owner   Blocks: no   Owns: -   Errors: - */
TIDEGATE_API tidegate_status tidegate_request_set_text(tidegate_request *request, const char *text, size_t length,
                                                       tidegate_error **err) TIDEGATE_NOEXCEPT;

/* Sets input tensor `index` (0 to 63, without gaps at submit) and drops a text.
 * Copied.
 * Since: 1.0   Thread: Owner   Blocks: no   Owns: -
 * Errors: INVALID (`bytes` does not match shape and type), UNSUPPORTED */
TIDEGATE_API tidegate_status tidegate_request_set_tensor(tidegate_request *request, uint32_t index,
                                                         const tidegate_tensor_view *tensor,
                                                         tidegate_error **err) TIDEGATE_NOEXCEPT;

/* Options of all further submits; NULL = defaults. timeout_ns counts from each submit.
 * Since: 1.0   Thread: Owner   Blocks: no   Owns: -   Errors: UNSUPPORTED */
TIDEGATE_API tidegate_status tidegate_request_set_options(tidegate_request *request,
                                                          const tidegate_request_options *options,
                                                          tidegate_error **err) TIDEGATE_NOEXCEPT;

/* As tidegate_submit_text. The request is unchanged and may be submitted again.
 * Since: 1.0   Thread: Owner   Blocks: only with admit_timeout_ns   Owns: *result (if DONE), release it
 * Errors: as tidegate_submit_text */
TIDEGATE_API tidegate_status tidegate_submit(tidegate_request *request, tidegate_cq *cq, uint64_t tag, uint64_t *id,
                                             tidegate_result **result, tidegate_error **err) TIDEGATE_NOEXCEPT;

/* Submits and waits for the answer. Without a deadline the batch that the request starts, or the next that
 * takes it up, may run on the calling thread, which spares two wake-ups; the call then lasts as long as
 * the model does, even if that hangs and the runtime is shut down. With a deadline the batch runs on a
 * library thread and the call returns by the deadline.
 * Since: 1.0   Thread: Owner, but never a library thread   Blocks: until complete
 * Owns: *result, release it   Errors: as tidegate_submit_text, and every way a request can end */
TIDEGATE_API tidegate_status tidegate_infer(tidegate_request *request, tidegate_result **result,
                                            tidegate_error **err) TIDEGATE_NOEXCEPT;

/* Since: 1.0   Thread: Owner   Blocks: no   Owns: takes `request` (NULL allowed)   Errors: - */
TIDEGATE_API void tidegate_request_release(tidegate_request *request) TIDEGATE_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
