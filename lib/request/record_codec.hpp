// The stored form of an answer: the same bytes in every cache tier (docs/cache_record.md).
#pragma once

#include <span>
#include <vector>

#include "tidegate/cache.hpp"

namespace tidegate {

inline constexpr std::size_t kRecordHeaderBytes = 64;

/// What the header of a record tells about the answer, apart from whose it is.
struct RecordFacts {
  std::int64_t expires_unix_ms = 0;
  Duration recompute_cost{0};  ///< zero = unknown; kept in whole microseconds, up to 71 minutes
};

/// Encodes outputs under a key: header, then each tensor's bytes at a multiple of 64,
/// then types and shapes. Empty if a payload of 4 GiB or more would be needed: such an
/// answer is not stored.
[[nodiscard]] CacheRecord encode_record(const CacheKey& key, std::span<const Tensor> outputs,
                                        std::int64_t expires_unix_ms, Duration recompute_cost = Duration::zero());

/// The outputs, sharing the record's block. Errors: corrupt_data (what differs:
/// length, magic, version, checksum, key). `check` says whether the checksum is
/// verified: always for bytes that left the process.
enum class ChecksumPolicy : std::uint8_t { verify, trust };
[[nodiscard]] Result<std::vector<Tensor>> decode_record(const CacheKey& key, const CacheRecord& record,
                                                        ChecksumPolicy checksum);

/// When the record ends, as Unix milliseconds, after its header, checksum and key have
/// been verified; reads no tensor. Errors: corrupt_data.
[[nodiscard]] Result<std::int64_t> verify_record(const CacheKey& key, std::span<const std::byte> block);

/// What its header tells. Errors: corrupt_data, as `decode_record` without the checksum.
[[nodiscard]] Result<RecordFacts> record_facts(const CacheKey& key, std::span<const std::byte> block);

/// A record without its header is its body: with key and facts, the record again.
[[nodiscard]] CacheRecord join_record(const CacheKey& key, const RecordFacts& facts, std::span<const std::byte> body);

/// The outputs of a body whose bytes `owner` keeps alive. Errors: corrupt_data.
[[nodiscard]] Result<std::vector<Tensor>> decode_body(std::span<const std::byte> body,
                                                      const std::shared_ptr<const void>& owner);

}  // namespace tidegate
