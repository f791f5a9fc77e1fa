/* Tidegate C ABI: models, loaded from files or supplied by the program. */
#ifndef TIDEGATE_MODEL_H
#define TIDEGATE_MODEL_H

#include "result.h"
#include "runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Names one model of one runtime. Reference-counted; keeps the runtime alive. */
typedef struct tidegate_model tidegate_model;

/* Loads a model from a JSON object with the keys of the schema's "model" part:
 *   {"name": "minilm", "kind": "encoder", "folder": "/models/minilm", "threads": 1,
 *    "replicas": 2, "batching.max_batch_size": 32, "admission.max_queued_items": 1000}
 * kind "encoder" needs folder; "torchscript" needs file and sha256; "synthetic"
 * answers vectors made from the input's bytes, for trying things out.
 * `model` may be NULL: tidegate_model_get finds it later.
 * Since: 1.0   Thread: Any   Blocks: while it reads and checks the files, and for
 * seconds where it has to pack weights (precision bf16, int8 or auto, first load)
 * Owns: *model, release it
 * Errors: NOT_FOUND, CORRUPT, UNSUPPORTED, VERSION, EXISTS, IO, SHUTTING_DOWN */
TIDEGATE_API tidegate_status tidegate_model_load(tidegate_runtime *runtime, const char *json, size_t length,
                                                 tidegate_model **model, tidegate_error **err) TIDEGATE_NOEXCEPT;

/* A loaded model by name; empty name = the only one.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: *model, release it
 * Errors: NOT_FOUND, SHUTTING_DOWN */
TIDEGATE_API tidegate_status tidegate_model_get(tidegate_runtime *runtime, const char *name, size_t length,
                                                tidegate_model **model, tidegate_error **err) TIDEGATE_NOEXCEPT;

/* {"name", "kind", "fingerprint", "deterministic", "max_tokens", "variant", "notes"}.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: *text, tidegate_free it
 * Errors: SHUTTING_DOWN */
TIDEGATE_API tidegate_status tidegate_model_info_json(const tidegate_model *model, char **text, size_t *length,
                                                      tidegate_error **err) TIDEGATE_NOEXCEPT;

/* Why the last 256 batches are as they are, oldest first, and what has been learned about the
 * model's speed and its load: {"shape": {"replicas", "threads", "why"} (where `cores` is set), "profile": {...},
 * "load": {"replicas", "slots", "queued_items", "queued_tokens",
 * "slo_ns" (0: none), "observed_ns", "arrivals_10s", "arrivals_60s" and "served_10s": {"items_per_s", "tokens_per_s"},
 * "utilization_10s"}, "decisions": [{"number", "trigger", "stopped_by", "opened_by", "items",
 * "rows", "tokens", "longest", "passed_over", "left", "running", "oldest_wait_ns", "slack_ns" (where there is a
 * deadline), "predicted_ns", "predicted95_ns", "filler_rows" (computed for nothing, up to an allowed size),
 * "newest_first" (0 or 1), "cut_items" (0, or how many were cut by length), "cut_from_ns", "cut_to_ns" (predicted for
 * them before and after), "alone_ns", "actual_ns" (0: it still runs), "text"}, ...]}.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: *text, tidegate_free it
 * Errors: NOT_FOUND, SHUTTING_DOWN (after shutdown) */
TIDEGATE_API tidegate_status tidegate_model_explain_json(const tidegate_model *model, char **text, size_t *length,
                                                         tidegate_error **err) TIDEGATE_NOEXCEPT;

/* One more reference; answers `model`, or NULL if it is no model.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: a reference, release it   Errors: - */
TIDEGATE_API tidegate_model *tidegate_model_retain(tidegate_model *model) TIDEGATE_NOEXCEPT;

/* Gives one reference back. The model stays loaded.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: takes a reference (NULL allowed)   Errors: - */
TIDEGATE_API void tidegate_model_release(tidegate_model *model) TIDEGATE_NOEXCEPT;

/* ---- a model supplied by the program -------------------------------------- */

/* A batch being run. Lives only inside run_batch, on the thread that called it;
 * so does every pointer taken from it. */
typedef struct tidegate_batch tidegate_batch;

/* Must answer or fail every item of the batch before it returns; items left out
 * fail with ABANDONED. A status other than OK fails the items not yet answered
 * with HOST. Called on a library thread, or on one that is inside tidegate_infer, by at most "replica.concurrency" threads
 * at a time. Must not wait for this runtime. Must not throw; a C++ exception that
 * leaves it all the same is caught and fails the items not yet answered with HOST. */
typedef tidegate_status (*tidegate_run_batch_fn)(void *ctx, tidegate_batch *batch);

/* Called exactly once, on any thread, after the last run_batch has returned. */
typedef void (*tidegate_destroy_fn)(void *ctx);

/* Called exactly once for every state that an iterative model has handed in, on any thread: when the
 * item is done, failed or given up, or has got another state. */
typedef void (*tidegate_release_state_fn)(void *ctx, void *state);

typedef struct tidegate_backend {
  uint32_t struct_size;
  uint32_t reserved; /* 0 */
  void *ctx;         /* passed to all functions */
  tidegate_run_batch_fn run_batch;
  tidegate_destroy_fn destroy; /* may be NULL */
  /* Not 0: iterative. Each run_batch is then one step of each of its items: it may emit a chunk, and
   * either answers, fails or proceeds. All steps of an item run on one replica, one at a time. */
  int32_t iterative;
  int32_t reserved2;                       /* 0 */
  tidegate_release_state_fn release_state; /* may be NULL */
} tidegate_backend;

/* What an item costs the batch of its next step; a 0 counts as 1. */
typedef struct tidegate_step_size {
  uint32_t struct_size;
  uint32_t rows;   /* of "batching.max_batch_size" */
  uint64_t tokens; /* of "batching.max_batch_tokens" */
} tidegate_step_size;

/* Serves `name` from a function of the program. `json` (NULL = defaults) sets
 * "batching.*", "admission.*", "replica.concurrency" and "fingerprint": a text
 * that names model and version. Without a fingerprint answers are never cached. With "rows" =
 * "leading" the tensors of an item lead with its rows, as many in each, and so must those of its
 * answer: a request of more rows than a batch then runs as several items, joined again.
 * The table is copied; on success `ctx` is the library's until destroy(ctx).
 * Since: 1.0   Thread: Any   Blocks: while it reads a latency profile ("calibration.folder"), and for 250 ms
 * at most while further cache tiers say what has been invalidated   Owns: takes table->ctx; *model, release it
 * Errors: EXISTS, UNSUPPORTED (table of a newer version), SHUTTING_DOWN */
TIDEGATE_API tidegate_status tidegate_model_register(tidegate_runtime *runtime, const char *name, size_t name_length,
                                                     const char *json, size_t json_length,
                                                     const tidegate_backend *table, tidegate_model **model,
                                                     tidegate_error **err) TIDEGATE_NOEXCEPT;

/* As tidegate_model_load for a model that is served already, named by "name": from now on by this
 * version. Requests that have begun are answered by the former, and so are those that wait for it
 * unless the new one takes inputs that it has prepared. No request is lost; handles of the model name
 * the new version. The former goes when it has nothing left to do. On failure nothing has changed.
 * Since: 1.0   Thread: Any   Blocks: as tidegate_model_load, and while its speed is measured
 * Owns: -   Errors: as tidegate_model_load, NOT_FOUND (no such model), and what the new version answers if
 * it fails on its samples */
TIDEGATE_API tidegate_status tidegate_model_replace(tidegate_runtime *runtime, const char *json, size_t length,
                                                    tidegate_error **err) TIDEGATE_NOEXCEPT;

/* The same with a function of the program, arguments as in tidegate_model_register. The former
 * version's destroy(ctx) runs after its last run_batch.
 * Since: 1.0   Thread: Any   Blocks: while it reads a latency profile ("calibration.folder")
 * Owns: takes table->ctx
 * Errors: NOT_FOUND (no such model), UNSUPPORTED (table of a newer version), SHUTTING_DOWN */
TIDEGATE_API tidegate_status tidegate_model_replace_host(tidegate_runtime *runtime, const char *name,
                                                         size_t name_length, const char *json, size_t json_length,
                                                         const tidegate_backend *table,
                                                         tidegate_error **err) TIDEGATE_NOEXCEPT;

/* Number of items, at least 1.
 * Since: 1.0   Thread: Owner   Blocks: no   Owns: -   Errors: 0 for NULL */
TIDEGATE_API uint32_t tidegate_batch_size(const tidegate_batch *batch) TIDEGATE_NOEXCEPT;

/* The text of an item, NUL-terminated besides; NULL if the item holds tensors.
 * Since: 1.0   Thread: Owner   Blocks: no   Owns: -   Errors: - */
TIDEGATE_API const char *tidegate_batch_text(const tidegate_batch *batch, uint32_t item,
                                             size_t *length) TIDEGATE_NOEXCEPT;

/* Describes input tensor `index` of an item. `view->struct_size` must be set.
 * Since: 1.0   Thread: Owner   Blocks: no   Owns: -   Errors: NOT_FOUND (ends a loop) */
TIDEGATE_API tidegate_status tidegate_batch_tensor(const tidegate_batch *batch, uint32_t item, uint32_t index,
                                                   tidegate_tensor_view *view) TIDEGATE_NOEXCEPT;

/* Answers an item with `count` tensors, copied, and ends it. A later answer replaces a former. Of an
 * iterative model `count` may be 0, with `outputs` NULL: the chunks were all.
 * Since: 1.0   Thread: Owner   Blocks: no   Owns: -   Errors: INVALID (sizes disagree) */
TIDEGATE_API tidegate_status tidegate_batch_answer(tidegate_batch *batch, uint32_t item,
                                                   const tidegate_tensor_view *outputs,
                                                   uint32_t count) TIDEGATE_NOEXCEPT;

/* Fails an item with a negative status and a text of the program's.
 * Since: 1.0   Thread: Owner   Blocks: no   Owns: -   Errors: - */
TIDEGATE_API tidegate_status tidegate_batch_fail(tidegate_batch *batch, uint32_t item, tidegate_status status,
                                                 const char *message, size_t length) TIDEGATE_NOEXCEPT;

/* ---- steps of an iterative model ------------------------------------------- */

/* The state handed in with tidegate_batch_proceed in the item's last step; NULL in its first.
 * Since: 1.0   Thread: Owner   Blocks: no   Owns: -   Errors: - */
TIDEGATE_API void *tidegate_batch_state(const tidegate_batch *batch, uint32_t item) TIDEGATE_NOEXCEPT;

/* This step's chunk for the consumer of the item, copied; tidegate_infer gets all chunks at once. A
 * later one of the same step replaces a former. Dropped if the item fails in this step.
 * Since: 1.0   Thread: Owner   Blocks: no   Owns: -
 * Errors: INVALID (sizes disagree), UNSUPPORTED (the model is not iterative) */
TIDEGATE_API tidegate_status tidegate_batch_emit(tidegate_batch *batch, uint32_t item,
                                                 const tidegate_tensor_view *chunk, uint32_t count) TIDEGATE_NOEXCEPT;

/* The item has another step. `next` (NULL = one row, one token) is what that costs its batch; `state`
 * (may be NULL, may be the one of this step) is what it gets.
 * Since: 1.0   Thread: Owner   Blocks: no   Owns: takes `state` until release_state(ctx, state)
 * Errors: UNSUPPORTED (the model is not iterative) */
TIDEGATE_API tidegate_status tidegate_batch_proceed(tidegate_batch *batch, uint32_t item, void *state,
                                                    const tidegate_step_size *next) TIDEGATE_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
