/* Tidegate C ABI: the runtime, one engine with its threads, caches and models.
 *
 * Life: create -> load models -> submit ... -> drain -> shutdown -> release.
 * A runtime released without shutdown fails what is in flight and ends its
 * threads in the background. After fork() the child may not use it: every call
 * answers FORKED and release leaks it; create a runtime after the fork.
 */
#ifndef TIDEGATE_RUNTIME_H
#define TIDEGATE_RUNTIME_H

#include "config.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Reference-counted. Models, requests and completion queues keep it alive, so
 * handles may be released in any order. */
typedef struct tidegate_runtime tidegate_runtime;

/* Starts the engine and loads the models of `config` (NULL = all defaults, no
 * models). Copies the settings. Its threads have all signals blocked; it installs
 * no handler, prints nothing and reads no environment variable.
 * Since: 1.0   Thread: Any   Blocks: while models load   Owns: *runtime, release it
 * Errors: NOT_FOUND (model folder, module), CORRUPT, UNSUPPORTED, VERSION, EXISTS, IO */
TIDEGATE_API tidegate_status tidegate_runtime_create(const tidegate_config *config, tidegate_runtime **runtime,
                                                     tidegate_error **err) TIDEGATE_NOEXCEPT;

/* One more reference; answers `runtime`, or NULL if it is no runtime.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: a reference, release it   Errors: - */
TIDEGATE_API tidegate_runtime *tidegate_runtime_retain(tidegate_runtime *runtime) TIDEGATE_NOEXCEPT;

/* Gives one reference back. Never joins a thread.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: takes a reference (NULL allowed)   Errors: - */
TIDEGATE_API void tidegate_runtime_release(tidegate_runtime *runtime) TIDEGATE_NOEXCEPT;

/* Refuses new requests and waits until accepted ones are complete. What is left
 * after `timeout_ns` completes with SHUTTING_DOWN, and the call answers DEADLINE.
 * Completions can be drained during and after it. Idempotent.
 * Since: 1.0   Thread: Any, but never a library thread   Blocks: up to timeout_ns
 * Owns: -   Errors: DEADLINE (not all finished; details "observed": how many) */
TIDEGATE_API tidegate_status tidegate_runtime_drain(tidegate_runtime *runtime, int64_t timeout_ns,
                                                    tidegate_error **err) TIDEGATE_NOEXCEPT;

/* As drain, then ends the engine and joins its threads. A model that hangs keeps
 * its thread, or that of the tidegate_infer it runs in; the call does not wait for it. Nor does it
 * wait beyond timeout_ns for other threads that load, register or replace a model, drain, invalidate, save
 * or resize: the last of these calls then ends the engine before it returns. While a model hangs, callers of
 * tidegate_infer get 20 ms to leave.
 * Afterwards calls that need the engine answer SHUTTING_DOWN; completion queues can still
 * be drained and streams read. Idempotent.
 * Since: 1.0   Thread: Any, but never a library thread   Blocks: up to timeout_ns
 * Owns: -   Errors: DEADLINE (as drain, or such a call goes on; for all others the engine has ended) */
TIDEGATE_API tidegate_status tidegate_runtime_shutdown(tidegate_runtime *runtime, int64_t timeout_ns,
                                                       tidegate_error **err) TIDEGATE_NOEXCEPT;

/* Counters at this moment: {"requests": {...}, "open_streams": n, "cache": [...], "metrics": [...]}.
 * Ends in NUL; *length (may be NULL) excludes it.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: *text, tidegate_free it
 * Errors: SHUTTING_DOWN (after shutdown) */
TIDEGATE_API tidegate_status tidegate_runtime_stats_json(tidegate_runtime *runtime, char **text, size_t *length,
                                                         tidegate_error **err) TIDEGATE_NOEXCEPT;

/* All metrics as Prometheus text, exposition format 0.0.4.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: *text, tidegate_free it
 * Errors: SHUTTING_DOWN (after shutdown) */
TIDEGATE_API tidegate_status tidegate_metrics_render(tidegate_runtime *runtime, char **text, size_t *length,
                                                     tidegate_error **err) TIDEGATE_NOEXCEPT;

/* Which answers of a model. Names are UTF-8; TIDEGATE_NUL as length = up to the first NUL. */
typedef struct tidegate_cache_scope {
  uint32_t struct_size;
  uint32_t reserved; /* 0 */
  const char *model; /* NULL = the only model */
  size_t model_length;
  const char *tag; /* only what is asked for with this options.cache_tag; NULL = all */
  size_t tag_length;
  const uint8_t *version; /* 32 bytes: only of the version with this fingerprint; NULL = all; not with a tag */
} tidegate_cache_scope;

/* From the return on no request is given an answer of the scope that was computed, or began to be, before.
 * Other processes that share a further tier follow within 5 s while they have requests and it answers. `scope` NULL
 * = all of the only model. With a time-out, waits so long for the tiers to have taken it.
 * Since: 1.0   Thread: Any, but never a library thread   Blocks: up to timeout_ns
 * Owns: -   Errors: NOT_FOUND (model), UNAVAILABLE (a tier did not take it in time), SHUTTING_DOWN */
TIDEGATE_API tidegate_status tidegate_cache_invalidate(tidegate_runtime *runtime, const tidegate_cache_scope *scope,
                                                       int64_t timeout_ns, tidegate_error **err) TIDEGATE_NOEXCEPT;

/* Writes the file "cache.snapshot.file" now, as a drain does when it has ended. *answers (may be NULL): how many
 * are in it.
 * Since: 1.0   Thread: Any, but never a library thread   Blocks: until the file is on the disk
 * Owns: -   Errors: INVALID (there is no such file), IO, BUSY, SHUTTING_DOWN */
TIDEGATE_API tidegate_status tidegate_cache_save(tidegate_runtime *runtime, uint64_t *answers,
                                                 tidegate_error **err) TIDEGATE_NOEXCEPT;

/* Gives the memory cache another budget, everything counted: less under memory pressure, the old one when that is over;
 * "cache.memory.capacity_bytes" at most. What no longer fits is gone, and its memory given back, when this returns.
 * Answers that results still use stay valid and count.
 * Since: 1.0   Thread: Any   Blocks: while entries are moved, milliseconds for each 64 MiB   Owns: -
 * Errors: INVALID (more than it began with), SHUTTING_DOWN */
TIDEGATE_API tidegate_status tidegate_cache_resize(tidegate_runtime *runtime, uint64_t capacity_bytes,
                                                   tidegate_error **err) TIDEGATE_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
