// RedisCodec: names of keys, and values that are verified before they answer.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cache/redis/redis_counters.hpp"
#include "tidegate/cache.hpp"

namespace tidegate {

/// A key is "PREFIX:NAMESPACE:" and the 32 bytes of the digest. A value is a record, followed
/// by its HMAC-SHA256 over key and record where there is a secret. Immutable.
class RedisCodec {
 public:
  explicit RedisCodec(const RedisCacheOptions& options);

  [[nodiscard]] std::string key_name(const CacheKey& key) const;
  [[nodiscard]] std::string value_of(std::string_view key_name, const CacheRecord& record) const;

  /// An entry, or why the value is none.
  struct Opened {
    std::optional<CacheEntry> entry;
    RedisCount miss = nullptr;
  };
  /// Takes the value over as the record's block. `unix_ms`: the wall clock now.
  [[nodiscard]] Opened open(const CacheKey& key, std::shared_ptr<std::vector<std::byte>> value,
                            std::int64_t unix_ms) const;

 private:
  [[nodiscard]] Digest tag_of(std::string_view key_name, std::span<const std::byte> record) const;

  const std::string prefix_;
  const std::string secret_;
};

}  // namespace tidegate
