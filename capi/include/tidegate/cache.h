/* Tidegate C ABI: keys and bytes of stored answers, as pure functions.
 *
 * For programs that fill or read a cache tier themselves, so that every language agrees on
 * keys and records byte for byte. No runtime is needed; nothing is stored or looked up here.
 */
#ifndef TIDEGATE_CACHE_H
#define TIDEGATE_CACHE_H

#include "result.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of a fingerprint and of a key. */
#define TIDEGATE_DIGEST_BYTES 32

/* What a record tells besides its key and tensors. */
typedef struct tidegate_record_facts {
  uint32_t struct_size;
  uint32_t reserved;       /* 0 */
  int64_t expires_unix_ms; /* end of its life */
  int64_t recompute_ns;    /* what the model took; 0 = unknown; kept in whole microseconds */
} tidegate_record_facts;

/* The key of a text for the model of `fingerprint` (32 bytes; "fingerprint" of tidegate_model_info_json in
 * hex) into `key` (room for 32 bytes), while none of the model's answers has been invalidated.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -   Errors: - */
TIDEGATE_API tidegate_status tidegate_key_of_text(const uint8_t *fingerprint, const char *text, size_t length,
                                                  uint8_t *key, tidegate_error **err) TIDEGATE_NOEXCEPT;

/* The same for `count` tensors.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -   Errors: INVALID (sizes disagree) */
TIDEGATE_API tidegate_status tidegate_key_of_tensors(const uint8_t *fingerprint, const tidegate_tensor_view *tensors,
                                                     uint32_t count, uint8_t *key,
                                                     tidegate_error **err) TIDEGATE_NOEXCEPT;

/* The record that further tiers keep of `count` tensors under `key`.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: *record, tidegate_free it
 * Errors: TOO_LARGE (4 GiB of tensors or more) */
TIDEGATE_API tidegate_status tidegate_record_write(const uint8_t *key, const tidegate_tensor_view *tensors,
                                                   uint32_t count, const tidegate_record_facts *facts, char **record,
                                                   size_t *length, tidegate_error **err) TIDEGATE_NOEXCEPT;

/* The tensors of a record as a result, once its length, version, checksum and key have been verified; also if
 * its life is over. `facts` (may be NULL; else its struct_size must be set) tells that.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: *result, release it
 * Errors: CORRUPT (what differs) */
TIDEGATE_API tidegate_status tidegate_record_read(const uint8_t *key, const char *record, size_t length,
                                                  tidegate_record_facts *facts, tidegate_result **result,
                                                  tidegate_error **err) TIDEGATE_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
