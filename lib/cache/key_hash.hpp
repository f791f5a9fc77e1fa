// 64 bits of a key.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tidegate/cache.hpp"

namespace tidegate {

/// All bits of the key mixed in, for index and shard.
[[nodiscard]] inline std::uint64_t hash_of(const CacheKey& key) noexcept {
  // Digests are uniform, but keys come through a public interface too: every bit
  // counts, and the last two steps spread it (MurmurHash3's finalizer).
  std::uint64_t words[4];
  static_assert(sizeof(words) == sizeof(CacheKey));
  std::memcpy(words, key.data(), sizeof(words));
  std::uint64_t hash =
      words[0] + words[1] * 0x9E3779B97F4A7C15ULL + words[2] * 0xC2B2AE3D27D4EB4FULL + words[3] * 0x165667B19E3779F9ULL;
  hash = (hash ^ (hash >> 33)) * 0xFF51AFD7ED558CCDULL;
  hash = (hash ^ (hash >> 33)) * 0xC4CEB9FE1A85EC53ULL;
  return hash ^ (hash >> 33);
}

/// For the standard library's tables.
struct KeyHash {
  [[nodiscard]] std::size_t operator()(const CacheKey& key) const noexcept { return hash_of(key); }
};

}  // namespace tidegate
