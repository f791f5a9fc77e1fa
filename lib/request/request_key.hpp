// What makes two requests equal.
#pragma once

#include "tidegate/cache.hpp"
#include "tidegate/request.hpp"

namespace tidegate {

/// SHA-256 over the canonical encoding: format tag, model fingerprint, kind of
/// input, then for a text its bytes, for tensors each one's type, rank, dimensions
/// and bytes, every field preceded by its length. Thread-safe; allocates
/// nothing.
[[nodiscard]] CacheKey make_request_key(const Digest& model_fingerprint, const Input& input) noexcept;

}  // namespace tidegate
