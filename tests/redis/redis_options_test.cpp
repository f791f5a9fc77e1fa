// Options of the Redis tier: what is refused, and that the error names it.
#include <doctest/doctest.h>

#include "cache/redis/redis_address.hpp"
#include "support/temporary_folder.hpp"
#include "tidegate/config.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

std::string refusal(const RedisCacheOptions& options) {
  const auto tier = make_redis_cache(options);
  return tier ? "" : std::string(tier.error().message());
}

bool holds(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

RedisCacheOptions with_address() {
  RedisCacheOptions options;
  options.address = "127.0.0.1:1";
  return options;
}

}  // namespace

TEST_CASE("redis options: addresses are read in each form, and others are refused with the forms") {
  CHECK(parse_redis_address("h")->port == 6379);
  CHECK(parse_redis_address("h:1")->port == 1);
  CHECK(parse_redis_address("h:1")->host == "h");
  CHECK(parse_redis_address("[::1]:7")->host == "::1");
  CHECK(parse_redis_address("[::1]:7")->port == 7);
  CHECK(parse_redis_address("[::1]")->port == 6379);
  CHECK(parse_redis_address("unix:/run/redis")->path == "/run/redis");
  for (const std::string& address : {std::string(), std::string(":1"), std::string("h:"), std::string("h:0"),
                                     std::string("h:65536"), std::string("h:1x"), std::string("[::1"),
                                     std::string("[::1]1"), std::string("unix:"), "unix:/" + std::string(200, 'x')}) {
    CAPTURE(address);
    const auto parsed = parse_redis_address(address);
    REQUIRE_FALSE(parsed);
    CHECK(holds(std::string(parsed.error().message()), "cache.redis.address"));
  }
}

TEST_CASE("redis options: values out of range and contradictions are refused by name") {
  auto options = with_address();
  options.max_keys_per_get = 0;
  CHECK(holds(refusal(options), "cache.redis.max_keys_per_get is 0; it must be 1 to 1024"));
  options = with_address();
  options.get_budget = Duration(0);
  CHECK(holds(refusal(options), "cache.redis.get_budget"));
  options = with_address();
  options.name_space = "a:b";
  CHECK(holds(refusal(options), "cache.redis.namespace"));
  options = with_address();
  options.key_prefix = "";
  CHECK(holds(refusal(options), "cache.redis.key_prefix"));
  options = with_address();
  options.password = "a";
  options.password_file = "b";
  CHECK(holds(refusal(options), "cache.redis.password_file are both given"));
  options = with_address();
  options.username = "a";
  CHECK(holds(refusal(options), "without a password"));
  options = with_address();
  options.tls_cert_file = "a";
  CHECK(holds(refusal(options), "go together"));
}

TEST_CASE("redis options: files of secrets and certificates that cannot be used are named") {
  const TemporaryFolder folder;
  folder.write("empty", "\nsecond");
  folder.write("good", "secret\r\nsecond");
  auto options = with_address();
  options.password_file = "/no/such/password";
  CHECK(holds(refusal(options), "/no/such/password"));
  options.password_file = folder.file("empty");
  CHECK(holds(refusal(options), "first line"));
  options = with_address();
  options.hmac_key_file = folder.file("good");
  CHECK(refusal(options).empty());
  CHECK(read_secrets(options)->hmac_key == "secret");
  options.tls = RedisTls::on;
  options.tls_ca_file = folder.file("empty");
  CHECK(holds(refusal(options), "cache.redis.tls_ca_file"));
}

TEST_CASE("redis options: the configuration reaches the tier and never tells its secrets") {
  const auto config = parse_config(R"({"cache": {"redis": {"address": "10.1.2.3:4", "database": 2, "tls": "on",
      "password": "sesame", "hmac_key": "mine", "namespace": "prod", "get_budget_us": 700}}})");
  REQUIRE(config);
  CHECK(config->redis.address == "10.1.2.3:4");
  CHECK(config->redis.database == 2);
  CHECK(config->redis.tls == RedisTls::on);
  CHECK(config->redis.password == "sesame");
  CHECK(config->redis.hmac_key == "mine");
  CHECK(config->redis.name_space == "prod");
  CHECK(config->redis.get_budget == std::chrono::microseconds(700));
  const std::string dump = dump_config(*config);
  CHECK(holds(dump, "10.1.2.3:4"));
  CHECK_FALSE(holds(dump, "sesame"));
  CHECK_FALSE(holds(dump, "mine"));
}

TEST_CASE("redis options: an engine made from a description has the tier, and a wrong one is refused") {
  auto config =
      parse_config(R"({"cache.redis.address": "127.0.0.1:1", "models": [{"name": "s", "kind": "synthetic"}]})");
  REQUIRE(config);
  auto engine = create_engine(*config);
  REQUIRE(engine);
  CHECK(engine->cache_stats().size() == 2);
  CHECK(engine->metrics().value("tidegate_redis_breaker_state") == 0);
  const auto answer = engine->infer_and_wait({.input = std::string("no server, still an answer")});
  CHECK(answer);
  // The request's, and two for what was invalidated: when the model was added, and with its first request.
  CHECK(engine->metrics().value("tidegate_redis_misses_total") == 3);
  config->redis.address = "nowhere:port";
  const auto refused = create_engine(*config);
  REQUIRE_FALSE(refused);
  CHECK(holds(std::string(refused.error().message()), "nowhere:port"));
}
