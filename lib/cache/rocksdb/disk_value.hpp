// DiskValue: what the disk store keeps beside a record to know how long it lives.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "tidegate/cache.hpp"

namespace tidegate::disk {

/// The wall-clock dates of an answer, Unix milliseconds.
struct Life {
  std::int64_t written = 0;
  std::int64_t expires = 0;

  /// What is left at `now`; zero or less = nothing. An answer written more than a minute
  /// after `now` has seen the clock set back: how old it is nobody knows, so nothing is
  /// left of it.
  [[nodiscard]] Duration left_at(std::int64_t now) const noexcept;
};

/// Follows the record: version, checksum over key and dates, the two dates. The record
/// has a checksum of its own.
inline constexpr std::size_t kTrailerBytes = 24;
using Trailer = std::array<std::byte, kTrailerBytes>;

[[nodiscard]] Trailer encode_trailer(const CacheKey& key, const Life& life) noexcept;

struct StoredValue {
  std::span<const std::byte> record;
  Life life;
};

/// Splits a stored value; empty unless trailer and record are whole, of this version and
/// of this very key.
[[nodiscard]] std::optional<StoredValue> read_value(const CacheKey& key, std::span<const std::byte> value) noexcept;

}  // namespace tidegate::disk
