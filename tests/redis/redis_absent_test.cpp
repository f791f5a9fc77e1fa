// A build without hiredis.
#include <doctest/doctest.h>

#include "tidegate/redis_cache.hpp"

using namespace tidegate;

TEST_CASE("redis absent: the error names the key, the package and the switch") {
  RedisCacheOptions options;
  options.address = "localhost";
  const auto tier = make_redis_cache(options);
  REQUIRE_FALSE(tier);
  CHECK(tier.error().code() == ErrorCode::unsupported);
  for (const std::string_view part : {"cache.redis.address", "libhiredis-dev", "TIDEGATE_WITH_REDIS=ON"}) {
    CHECK(tier.error().message().find(part) != std::string_view::npos);
  }
  options.address = "";
  CHECK(make_redis_cache(options).error().code() == ErrorCode::invalid_argument);
}
