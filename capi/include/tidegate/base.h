/* Tidegate C ABI: version, status numbers, strings, sized structs. */
#ifndef TIDEGATE_BASE_H
#define TIDEGATE_BASE_H

#include <stddef.h>
#include <stdint.h>

/* The version this header describes. A program runs on every library of equal
 * major and equal or greater minor version. */
#define TIDEGATE_ABI_MAJOR 1u
#define TIDEGATE_ABI_MINOR 0u
#define TIDEGATE_ABI_VERSION ((TIDEGATE_ABI_MAJOR << 16) | TIDEGATE_ABI_MINOR)

#if defined(__GNUC__)
#define TIDEGATE_API __attribute__((visibility("default")))
#define TIDEGATE_NODISCARD __attribute__((warn_unused_result))
#else
#define TIDEGATE_API
#define TIDEGATE_NODISCARD
#endif

#ifdef __cplusplus
#define TIDEGATE_NOEXCEPT noexcept
extern "C" {
#else
#define TIDEGATE_NOEXCEPT
#endif

/* Length of a string argument that ends at its first NUL. */
#define TIDEGATE_NUL SIZE_MAX
/* A time-out that never passes. */
#define TIDEGATE_FOREVER INT64_MAX

/* How a call or a request ended. 0: done. Positive: done, with information.
 * Negative: failed. Numbers are never reused; treat unknown negative ones as a
 * failure of no known kind. */
typedef int32_t tidegate_status;
enum {
  TIDEGATE_OK = 0,
  TIDEGATE_DONE = 1,             /* submit: the answer was handed back at once, no completion follows */
  TIDEGATE_EMPTY = 2,            /* drain, wait: nothing there */
  TIDEGATE_E_INTERNAL = -1,      /* a defect of the library */
  TIDEGATE_E_INVALID = -2,       /* the input is wrong; retrying cannot help */
  TIDEGATE_E_NOT_FOUND = -3,     /* no such model, file, id or key */
  TIDEGATE_E_EXISTS = -4,        /* the name is taken */
  TIDEGATE_E_UNSUPPORTED = -5,   /* valid, but this library or this file cannot do it */
  TIDEGATE_E_NO_MEMORY = -6,     /* an allocation failed or a byte budget is spent */
  TIDEGATE_E_IO = -7,            /* the operating system refused a read or write */
  TIDEGATE_E_DEADLINE = -8,      /* the deadline passed first */
  TIDEGATE_E_CANCELLED = -9,     /* cancelled by the caller */
  TIDEGATE_E_QUEUE_FULL = -10,   /* a cap of the queue is reached; detail "retry_after_ns" */
  TIDEGATE_E_OVERLOADED = -11,   /* refused early: it could not be served in time */
  TIDEGATE_E_UNAVAILABLE = -12,  /* no replica can take the request */
  TIDEGATE_E_SHUTTING_DOWN = -13, /* drain or shutdown has begun, or the queue is closed */
  TIDEGATE_E_BUSY = -14,         /* a single-consumer object is in use on another thread */
  TIDEGATE_E_BAD_HANDLE = -15,   /* not a live handle of the expected type */
  TIDEGATE_E_VERSION = -16,      /* library, module or file of another version */
  TIDEGATE_E_FORKED = -17,       /* the object was inherited through fork() */
  TIDEGATE_E_BACKEND = -18,      /* the model failed on this item */
  TIDEGATE_E_CORRUPT = -19,      /* stored bytes fail their checks */
  TIDEGATE_E_ABANDONED = -20,    /* the model gave this item no answer */
  TIDEGATE_E_HOST = -21,         /* a function supplied by the program failed or threw */
  TIDEGATE_E_TOO_LARGE = -22,    /* one item exceeds a limit */
  TIDEGATE_E_PREEMPTED = -23,    /* gave way to a request of a higher class in a full queue */
  TIDEGATE_E_QUOTA = -24,        /* the tenant's share or rate is used up; detail "retry_after_ns" */
  TIDEGATE_E_STUCK = -25         /* the model has not come back; its replica is out of use */
};

/* Every struct passed by pointer starts with its own size, so that structs can
 * grow. All other fields may be zero, which means "default". A caller newer than
 * the library that sets a field the library does not know gets UNSUPPORTED.
 * TIDEGATE_INIT(&s) zeroes a struct and sets its size. */
#define TIDEGATE_INIT(pointer) tidegate_init_struct((pointer), sizeof(*(pointer)))

static inline void tidegate_init_struct(void *object, size_t size) {
  unsigned char *bytes = (unsigned char *)object;
  size_t i;
  for (i = 0; i < size; ++i) bytes[i] = 0;
  *(uint32_t *)object = (uint32_t)size;
}

struct tidegate_error;

/* Version of the loaded library: major << 16 | minor.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -   Errors: - */
TIDEGATE_API uint32_t tidegate_abi_version(void) TIDEGATE_NOEXCEPT;

/* Release of the loaded library, "major.minor.patch". Static.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -   Errors: - */
TIDEGATE_API const char *tidegate_version_string(void) TIDEGATE_NOEXCEPT;

/* Whether a program built against `header_version` runs on the loaded library.
 * The error names both versions and the file that was loaded. Programs call
 * tidegate_check_abi() below, once, before anything else.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: *err   Errors: VERSION */
TIDEGATE_API tidegate_status tidegate_require_abi(uint32_t header_version,
                                                  struct tidegate_error **err) TIDEGATE_NOEXCEPT;

static inline tidegate_status tidegate_check_abi(struct tidegate_error **err) {
  return tidegate_require_abi(TIDEGATE_ABI_VERSION, err);
}

/* Identifier of a status, e.g. "queue_full"; "unknown" for other numbers. Static.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -   Errors: - */
TIDEGATE_API const char *tidegate_status_name(tidegate_status status) TIDEGATE_NOEXCEPT;

/* The HTTP status that says the same to a client: 200 for 0 and above, 429 with Retry-After from the detail
 * "retry_after_ns", 503 and 504 where a retry may succeed, 500 for numbers that are none of the statuses.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -   Errors: - */
TIDEGATE_API int32_t tidegate_status_http(tidegate_status status) TIDEGATE_NOEXCEPT;

/* The number of the gRPC status that says the same; 0 (OK) for 0 and above, 13 (INTERNAL) for numbers that
 * are none of the statuses.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -   Errors: - */
TIDEGATE_API int32_t tidegate_status_grpc(tidegate_status status) TIDEGATE_NOEXCEPT;

/* A fact of this build, or NULL: "version", "build_id", "compiler". Static.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -   Errors: - */
TIDEGATE_API const char *tidegate_build_info(const char *key) TIDEGATE_NOEXCEPT;

/* 1 if this build has the feature, else 0 (also for unknown names):
 * "runner.encoder", "runner.torchscript", "runner.synthetic", "runner.host",
 * "cache.memory", "cq.eventfd". A runner in a module still needs its file.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -   Errors: - */
TIDEGATE_API int32_t tidegate_has_feature(const char *name) TIDEGATE_NOEXCEPT;

/* The clock of all deadlines: CLOCK_MONOTONIC in nanoseconds.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -   Errors: - */
TIDEGATE_API int64_t tidegate_clock_now_ns(void) TIDEGATE_NOEXCEPT;

/* Frees a text that a function below says must be freed. NULL is allowed.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: takes `text`   Errors: - */
TIDEGATE_API void tidegate_free(char *text) TIDEGATE_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
