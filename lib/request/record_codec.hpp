// The stored form of an answer: the same bytes in every cache tier.
#pragma once

#include <span>
#include <vector>

#include "tidegate/cache.hpp"

namespace tidegate {

/// Encodes outputs under a key: 64-byte header (magic, version, payload length,
/// CRC-32C, expiry as Unix milliseconds, key digest), shapes and types, then each
/// tensor's bytes at a multiple of 64. Little-endian.
[[nodiscard]] CacheRecord encode_record(const CacheKey& key, std::span<const Tensor> outputs,
                                        std::int64_t expires_unix_ms);

/// The outputs, sharing the record's block. Errors: corrupt_data (what differs:
/// length, magic, version, checksum, key). `check` says whether the checksum is
/// verified: always for bytes that left the process.
enum class ChecksumPolicy : std::uint8_t { verify, trust };
[[nodiscard]] Result<std::vector<Tensor>> decode_record(const CacheKey& key, const CacheRecord& record,
                                                        ChecksumPolicy checksum);

/// When the record ends, as Unix milliseconds, after its header, checksum and key have
/// been verified; reads no tensor. Errors: corrupt_data.
[[nodiscard]] Result<std::int64_t> verify_record(const CacheKey& key, std::span<const std::byte> block);

}  // namespace tidegate
