/* Tidegate: batch, cache, route and scale models inside one process. C ABI 1.0.
 *
 * Include this header. It pulls in, in the order a program meets them:
 *   base.h     version, status numbers, strings, sized structs
 *   error.h    why a call failed
 *   config.h   settings from JSON
 *   runtime.h  the engine: create, drain, shut down, measure
 *   model.h    load a model, or supply one
 *   result.h   answers and tensors
 *   cq.h       completion queues with a pollable descriptor
 *   request.h  submit, cancel, infer
 *   stream.h   answers that arrive in chunks
 *   cache.h    keys and bytes of stored answers
 *
 * Tags on every function:
 *   Since   ABI version that added it
 *   Thread  Any: from any thread at any time. Owner: one thread at a time per
 *           object. Consumer: one thread at a time per completion queue.
 *   Blocks  whether the call waits for more than a short lock
 *   Owns    what must be released, and by whom
 *   Errors  statuses beyond those every call may give: INVALID (a NULL or a
 *           value out of range), BAD_HANDLE, FORKED, NO_MEMORY, INTERNAL
 *
 * On failure no ownership moves and every output is NULL or 0.
 */
#ifndef TIDEGATE_TIDEGATE_H
#define TIDEGATE_TIDEGATE_H

#include "cache.h"
#include "config.h"
#include "error.h"
#include "model.h"
#include "request.h"
#include "result.h"
#include "runtime.h"
#include "stream.h"

#endif
