/* Tidegate C ABI: settings.
 *
 * Settings are keys with dots in JSON. Nested objects and dotted keys are the
 * same: {"cache": {"memory": {"shards": 4}}} == {"cache.memory.shards": 4}.
 * "models" is a list of model objects (see model.h), "admission.tenants" of a model a list
 * of tenants that are not like the others. Every key, with its type,
 * unit, default and range, is in tidegate_config_schema_json().
 */
#ifndef TIDEGATE_CONFIG_H
#define TIDEGATE_CONFIG_H

#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Settings of a runtime to be created. Single owner. */
typedef struct tidegate_config tidegate_config;

/* All keys at their defaults, no models.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: *config, release it   Errors: - */
TIDEGATE_API tidegate_status tidegate_config_create(tidegate_config **config, tidegate_error **err) TIDEGATE_NOEXCEPT;

/* Sets the keys of a JSON object and leaves the others. All or nothing: on an
 * error the settings are as before. A list ("models") replaces the former list.
 * The error of an unknown key names the nearest one; that of a wrong value names
 * key, value and range.
 * Since: 1.0   Thread: Owner   Blocks: no   Owns: -   Errors: INVALID */
TIDEGATE_API tidegate_status tidegate_config_merge_json(tidegate_config *config, const char *json, size_t length,
                                                        tidegate_error **err) TIDEGATE_NOEXCEPT;

/* The settings in effect, defaults included, as one JSON object that merge_json
 * accepts. Ends in NUL; *length (may be NULL) excludes it.
 * Since: 1.0   Thread: Owner   Blocks: no   Owns: *text, tidegate_free it   Errors: - */
TIDEGATE_API tidegate_status tidegate_config_dump_json(const tidegate_config *config, char **text, size_t *length,
                                                       tidegate_error **err) TIDEGATE_NOEXCEPT;

/* Every key there is: {"runtime": [...], "model": [...], "tenant": [...]} of objects with key,
 * type, unit, default, minimum, maximum, values, since and text. Static; NULL
 * only when memory ran out.
 * Since: 1.0   Thread: Any   Blocks: no   Owns: -   Errors: - */
TIDEGATE_API const char *tidegate_config_schema_json(size_t *length) TIDEGATE_NOEXCEPT;

/* Since: 1.0   Thread: Owner   Blocks: no   Owns: takes `config` (NULL allowed)   Errors: - */
TIDEGATE_API void tidegate_config_release(tidegate_config *config) TIDEGATE_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
