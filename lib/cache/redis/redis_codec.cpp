#include "cache/redis/redis_codec.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/hmac_sha256.hpp"
#include "request/record_codec.hpp"

namespace tidegate {
namespace {

constexpr std::size_t kTagBytes = 32;
/// No record lives longer, whatever a foreign clock made of its end.
constexpr std::int64_t kLongestLifeMs = std::int64_t{3650} * 24 * 3600 * 1000;

}  // namespace

RedisCodec::RedisCodec(const RedisCacheOptions& options)
    : prefix_(options.key_prefix + ":" + options.name_space + ":"), secret_(options.hmac_key) {}

std::string RedisCodec::key_name(const CacheKey& key) const {
  std::string name;
  name.reserve(prefix_.size() + key.size());
  name += prefix_;
  name.append(reinterpret_cast<const char*>(key.data()), key.size());
  return name;
}

Digest RedisCodec::tag_of(std::string_view key_name, std::span<const std::byte> record) const {
  // The length first, so that no two pairs of key and record read the same.
  return hmac_sha256(secret_, fmt::format("{}:{}", key_name.size(), key_name), record);
}

std::string RedisCodec::value_of(std::string_view key_name, const CacheRecord& record) const {
  const auto bytes = record.bytes();
  std::string value;
  value.reserve(bytes.size() + kTagBytes);
  value.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (secret_.empty()) return value;
  const Digest tag = tag_of(key_name, bytes);
  value.append(reinterpret_cast<const char*>(tag.data()), tag.size());
  return value;
}

RedisCodec::Opened RedisCodec::open(const CacheKey& key, std::shared_ptr<std::vector<std::byte>> value,
                                    std::int64_t unix_ms) const {
  if (!secret_.empty()) {
    if (value->size() < kTagBytes) return {std::nullopt, &RedisCacheStats::forged};
    const std::size_t size = value->size() - kTagBytes;
    const std::span<const std::byte> bytes(*value);
    if (!equal_in_constant_time(tag_of(key_name(key), bytes.first(size)), bytes.subspan(size))) {
      return {std::nullopt, &RedisCacheStats::forged};
    }
    value->resize(size);
  }
  const auto expiry = verify_record(key, *value);
  if (!expiry) return {std::nullopt, &RedisCacheStats::corrupt};
  if (*expiry <= unix_ms) return {std::nullopt, &RedisCacheStats::expired};
  // Both are milliseconds since 1970, so only a hostile expiry could overflow.
  const std::int64_t left = std::min(*expiry, unix_ms + kLongestLifeMs) - unix_ms;
  return {CacheEntry{key, CacheRecord(std::move(value)), std::chrono::milliseconds(left)}, nullptr};
}

}  // namespace tidegate
