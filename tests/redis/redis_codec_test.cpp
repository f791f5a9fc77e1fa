// RedisCodec: what is written is read back, and nothing else is.
#include "cache/redis/redis_codec.hpp"

#include <doctest/doctest.h>

#include <set>

#include "redis_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

std::shared_ptr<std::vector<std::byte>> bytes_of(const std::string& text) {
  const auto* const first = reinterpret_cast<const std::byte*>(text.data());
  return std::make_shared<std::vector<std::byte>>(first, first + text.size());
}

RedisCodec codec_with(const std::string& secret, const std::string& name_space = "default") {
  RedisCacheOptions options;
  options.hmac_key = secret;
  options.name_space = name_space;
  return RedisCodec(options);
}

}  // namespace

TEST_CASE("redis codec: names differ by namespace and every bit of the key") {
  std::set<std::string> names;
  for (const char* name_space : {"a", "b"}) {
    const RedisCodec codec = codec_with("", name_space);
    CacheKey key = redis_key(5);
    names.insert(codec.key_name(key));
    for (std::size_t bit = 0; bit < 256; ++bit) {
      key[bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
      names.insert(codec.key_name(key));
      key[bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
    }
  }
  CHECK(names.size() == 2 * 257);
}

TEST_CASE("redis codec: a value opens only under its key, namespace and secret") {
  const CacheEntry entry = redis_entry(1, 2);
  const std::int64_t now = unix_milliseconds();
  const RedisCodec codec = codec_with("s");
  const std::string value = codec.value_of(codec.key_name(entry.key), entry.record);
  CHECK(codec.open(entry.key, bytes_of(value), now).entry);
  CHECK(codec.open(redis_key(2), bytes_of(value), now).miss == &RedisCacheStats::forged);
  CHECK(codec_with("t").open(entry.key, bytes_of(value), now).miss == &RedisCacheStats::forged);
  CHECK(codec_with("s", "other").open(entry.key, bytes_of(value), now).miss == &RedisCacheStats::forged);
  CHECK(codec_with("").open(entry.key, bytes_of(value), now).miss == &RedisCacheStats::corrupt);
  for (std::size_t at = 0; at < value.size(); ++at) {
    std::string altered = value;
    altered[at] = static_cast<char>(altered[at] ^ 1);
    CHECK(codec.open(entry.key, bytes_of(altered), now).miss == &RedisCacheStats::forged);
    CHECK(codec.open(entry.key, bytes_of(value.substr(0, at)), now).miss == &RedisCacheStats::forged);
  }
}

TEST_CASE("redis codec: the life left is that of the record, by the wall clock now") {
  const RedisCodec codec = codec_with("");
  const CacheEntry entry = redis_entry(1, 2, std::chrono::hours(1));
  const auto open = [&](std::int64_t now) {
    return codec.open(entry.key, bytes_of(codec.value_of("n", entry.record)), now);
  };
  const std::int64_t now = unix_milliseconds();
  CHECK(open(now).entry->time_to_live > std::chrono::minutes(59));
  CHECK(open(now + 3'000'000).entry->time_to_live < std::chrono::minutes(11));
  CHECK(open(now + 3'600'001).miss == &RedisCacheStats::expired);
  const CacheEntry forever{redis_key(1), encode_record(redis_key(1), {}, std::numeric_limits<std::int64_t>::max()), {}};
  const auto opened = codec.open(forever.key, bytes_of(codec.value_of("n", forever.record)), now);
  REQUIRE(opened.entry);
  CHECK(opened.entry->time_to_live == std::chrono::hours(24 * 3650));
}
