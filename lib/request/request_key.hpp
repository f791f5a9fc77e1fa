// What makes two requests equal.
#pragma once

#include "request/cache_stamps.hpp"
#include "tidegate/cache.hpp"
#include "tidegate/request.hpp"

namespace tidegate {

/// SHA-256 over the canonical encoding: format tag, model fingerprint, kind of
/// input, then for a text its bytes, for tensors each one's type, rank, dimensions
/// and bytes, every field preceded by its length. Thread-safe; allocates
/// nothing. The stamps follow where there are any: an answer from before an invalidation lies under
/// a key that nobody asks for after it, whoever stores it and however late.
[[nodiscard]] CacheKey make_request_key(const Digest& model_fingerprint, const Input& input,
                                        const CacheStamps& stamps = {}) noexcept;

}  // namespace tidegate
