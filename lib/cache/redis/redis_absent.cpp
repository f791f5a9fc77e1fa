// make_redis_cache of a build without hiredis.
#include "base/try.hpp"
#include "cache/redis/redis_address.hpp"

namespace tidegate {

Result<std::shared_ptr<RedisCache>> make_redis_cache(RedisCacheOptions options, std::shared_ptr<Clock> clock) {
  (void)clock;
  TIDEGATE_CHECK(check_options(options));
  return Error(ErrorCode::unsupported,
               "this build of Tidegate has no Redis tier (cache.redis.address): install libhiredis-dev and configure "
               "with -DTIDEGATE_WITH_REDIS=ON");
}

}  // namespace tidegate
