// The keys and bytes under which answers lie in the further cache tiers, for programs that fill
// or read such a tier themselves.
#pragma once

#include <span>
#include <vector>

#include "tidegate/cache.hpp"
#include "tidegate/request.hpp"

namespace tidegate {

/// The key of a request to a model of this fingerprint (ModelInfo::fingerprint), of whose answers none has been
/// invalidated: SHA-256 over the encoding in docs/cache_key.md. Allocates nothing.
[[nodiscard]] CacheKey request_key(const Digest& model_fingerprint, const Input& input) noexcept;

/// What a record holds besides its key.
struct StoredAnswer {
  std::vector<Tensor> outputs;
  std::int64_t expires_unix_ms = 0;  ///< end of its life
  Duration recompute_cost{0};        ///< what the model took for it; zero = unknown; kept in whole microseconds
};

/// The bytes of docs/cache_record.md. Errors: too_large (4 GiB of tensors or more).
[[nodiscard]] Result<CacheRecord> write_answer(const CacheKey& key, const StoredAnswer& answer);

/// The answer, once length, version, checksum and key have been verified; also if its life is over. Its
/// tensors are copies. Errors: corrupt_data (what differs).
[[nodiscard]] Result<StoredAnswer> read_answer(const CacheKey& key, std::span<const std::byte> record);

}  // namespace tidegate
