/* Tidegate C ABI: errors.
 *
 * Functions that can fail return a status and take a last parameter `err`, which
 * may be NULL. If it is not, *err becomes NULL on success and an error object on
 * failure, to be released by the caller. There is no "last error" of a thread.
 * With err = NULL a refused request allocates no memory for its error.
 */
#ifndef TIDEGATE_ERROR_H
#define TIDEGATE_ERROR_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Immutable; may be read by several threads and released by any. */
typedef struct tidegate_error tidegate_error;

/* The status the failed call returned. OK for NULL.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -   Errors: BAD_HANDLE as the answer */
TIDEGATE_API tidegate_status tidegate_error_code(const tidegate_error *error) TIDEGATE_NOEXCEPT;

/* One line of UTF-8: what failed, where, and the remedy where there is one.
 * Ends in NUL; *length (may be NULL) excludes it. Borrowed from `error`; never NULL.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -   Errors: - */
TIDEGATE_API const char *tidegate_error_message(const tidegate_error *error, size_t *length) TIDEGATE_NOEXCEPT;

/* A detail by key, or NULL when the error has none. Borrowed from `error`.
 *   "retryable"       "1" if the same call may succeed later, else "0"
 *   "retry_after_ns"  earliest moment a retry has a chance, from the failure on
 *   "observed"        the quantity that was refused
 *   "limit"           the limit it met
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -   Errors: - */
TIDEGATE_API const char *tidegate_error_detail(const tidegate_error *error, const char *key,
                                               size_t *length) TIDEGATE_NOEXCEPT;

/* Since: 1.0   Thread: Any   Blocks: no   Owns: takes `error` (NULL allowed)   Errors: - */
TIDEGATE_API void tidegate_error_release(tidegate_error *error) TIDEGATE_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
