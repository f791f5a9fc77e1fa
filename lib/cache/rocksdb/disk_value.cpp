#include "cache/rocksdb/disk_value.hpp"

#include <algorithm>
#include <cstring>

#include "base/crc32c.hpp"
#include "request/record_codec.hpp"

namespace tidegate::disk {
namespace {

constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kVersionAt = 0, kChecksumAt = 4, kWrittenAt = 8, kExpiresAt = 16;
constexpr std::int64_t kClockTolerance = 60'000;

std::uint32_t checksum_of(const CacheKey& key, std::span<const std::byte> trailer) noexcept {
  const std::uint32_t of_key = crc32c(std::as_bytes(std::span(key)));
  return crc32c(trailer.subspan(kWrittenAt), crc32c(trailer.first(kChecksumAt), of_key));
}

}  // namespace

Duration Life::left_at(std::int64_t now) const noexcept {
  if (written > now && written - now > kClockTolerance) return Duration::zero();
  // A clock set back a little must not lengthen a life.
  const std::int64_t left = std::min(expires - now, expires - written);
  constexpr std::int64_t kMost = std::chrono::duration_cast<std::chrono::milliseconds>(Duration::max()).count();
  return std::chrono::milliseconds(std::clamp<std::int64_t>(left, 0, kMost));
}

Trailer encode_trailer(const CacheKey& key, const Life& life) noexcept {
  Trailer trailer{};
  std::memcpy(trailer.data() + kVersionAt, &kVersion, sizeof(kVersion));
  std::memcpy(trailer.data() + kWrittenAt, &life.written, sizeof(life.written));
  std::memcpy(trailer.data() + kExpiresAt, &life.expires, sizeof(life.expires));
  const std::uint32_t checksum = checksum_of(key, trailer);
  std::memcpy(trailer.data() + kChecksumAt, &checksum, sizeof(checksum));
  return trailer;
}

std::optional<StoredValue> read_value(const CacheKey& key, std::span<const std::byte> value) noexcept {
  if (value.size() < kTrailerBytes) return std::nullopt;
  const auto trailer = value.last<kTrailerBytes>();
  std::uint32_t version = 0;
  std::uint32_t checksum = 0;
  StoredValue stored;
  std::memcpy(&version, trailer.data() + kVersionAt, sizeof(version));
  std::memcpy(&checksum, trailer.data() + kChecksumAt, sizeof(checksum));
  std::memcpy(&stored.life.written, trailer.data() + kWrittenAt, sizeof(stored.life.written));
  std::memcpy(&stored.life.expires, trailer.data() + kExpiresAt, sizeof(stored.life.expires));
  if (version != kVersion || checksum != checksum_of(key, trailer)) return std::nullopt;
  stored.record = value.first(value.size() - kTrailerBytes);
  if (!verify_record(key, stored.record)) return std::nullopt;
  return stored;
}

}  // namespace tidegate::disk
