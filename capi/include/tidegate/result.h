/* Tidegate C ABI: tensors and answers. */
#ifndef TIDEGATE_RESULT_H
#define TIDEGATE_RESULT_H

#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Type of one element; 0 = not stated. */
typedef int32_t tidegate_dtype;
enum {
  TIDEGATE_DTYPE_F32 = 1,
  TIDEGATE_DTYPE_F64 = 2,
  TIDEGATE_DTYPE_F16 = 3,
  TIDEGATE_DTYPE_BF16 = 4,
  TIDEGATE_DTYPE_I8 = 5,
  TIDEGATE_DTYPE_I16 = 6,
  TIDEGATE_DTYPE_I32 = 7,
  TIDEGATE_DTYPE_I64 = 8,
  TIDEGATE_DTYPE_U8 = 9,
  TIDEGATE_DTYPE_BOOL = 10 /* one byte, 0 or 1 */
};

/* A view of numbers in row-major order without gaps. */
typedef struct tidegate_tensor_view {
  uint32_t struct_size;
  tidegate_dtype dtype;
  uint32_t rank;        /* 0 = one number, at most 16 */
  uint32_t reserved;    /* 0 */
  const int64_t *shape; /* [rank], outermost first; may be NULL if rank is 0 */
  const void *data;     /* may be NULL if `bytes` is 0 */
  uint64_t bytes;
} tidegate_tensor_view;

/* Where an answer came from. */
typedef int32_t tidegate_source;
enum {
  TIDEGATE_SOURCE_MODEL = 1,  /* computed for this request */
  TIDEGATE_SOURCE_JOINED = 2, /* computed once for this and equal requests in flight */
  TIDEGATE_SOURCE_CACHE = 3,  /* read from a cache */
  TIDEGATE_SOURCE_SIMILAR = 4 /* computed for another question that means the same */
};

/* Where the time of a request went; zero where a step did not happen. */
typedef struct tidegate_timing {
  uint32_t struct_size;
  tidegate_source source;
  int64_t queue_ns;    /* accepted to batch formed */
  int64_t run_ns;      /* inside the model */
  int64_t total_ns;    /* accepted to completed */
  uint32_t batch_size; /* items of the batch that computed it */
  int32_t cache_tier;  /* 0 = memory, 1.. = further tiers, -1 = not from a cache */
  int32_t replica;     /* replica that computed it, -1 = none */
  uint32_t reserved;   /* 0 */
  int64_t dispatch_ns; /* batch formed to its start on a worker */
  /* Variant of the model that computed it ("f32", "int8", "replica.variant"), ending in NUL and borrowed
   * from the result; "" where it has no name and for answers from a cache. */
  const char *variant;
  size_t variant_length;
  uint32_t parts;     /* it was computed in: above 1 where it was larger than a batch; 0 = not computed */
  float similarity;   /* cosine of the two questions where `source` is SIMILAR; else 0 */
} tidegate_timing;

/* An answer, or a chunk or the end of a stream. Immutable: any number of threads may read it, one releases it. Keeps
 * its numbers alive on its own, also after the runtime is gone. */
typedef struct tidegate_result tidegate_result;

/* OK for every answer and chunk; of the end of a stream how it ended. BAD_HANDLE for what is no result.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -   Errors: - */
TIDEGATE_API tidegate_status tidegate_result_status(const tidegate_result *result) TIDEGATE_NOEXCEPT;

/* Why the stream ended that this is the end of; NULL where its status is OK. Borrowed from `result`: do
 * not release it.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -   Errors: - */
TIDEGATE_API const tidegate_error *tidegate_result_error(const tidegate_result *result) TIDEGATE_NOEXCEPT;

/* Number of output tensors; an encoder answers one, f32 [dimension]. 0 for NULL.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -   Errors: - */
TIDEGATE_API uint32_t tidegate_result_output_count(const tidegate_result *result) TIDEGATE_NOEXCEPT;

/* Describes output `index`. `view->struct_size` must be set. Shape and data are
 * borrowed from `result` and stay until it is released.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -   Errors: NOT_FOUND (index) */
TIDEGATE_API tidegate_status tidegate_result_output(const tidegate_result *result, uint32_t index,
                                                    tidegate_tensor_view *view, tidegate_error **err) TIDEGATE_NOEXCEPT;

/* Fills `timing`, whose struct_size must be set.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -   Errors: - */
TIDEGATE_API tidegate_status tidegate_result_timing(const tidegate_result *result, tidegate_timing *timing,
                                                    tidegate_error **err) TIDEGATE_NOEXCEPT;

/* Since: 1.0   Thread: Any   Blocks: no   Owns: takes `result` (NULL allowed)   Errors: - */
TIDEGATE_API void tidegate_result_release(tidegate_result *result) TIDEGATE_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
