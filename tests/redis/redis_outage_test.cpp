// A real redis-server that goes away, hangs, pauses, fills up or follows another.
#include "redis_server.hpp"

using namespace tidegate;
using namespace tidegate::test;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

RedisCacheOptions quick(std::uint16_t port) {
  RedisCacheOptions options;
  options.address = "127.0.0.1:" + std::to_string(port);
  options.breaker_first_open = milliseconds(20);
  options.breaker_longest_open = milliseconds(100);
  return options;
}

/// Stores and looks up until an answer comes back.
bool comes_back(RedisCache& tier, std::uint64_t number) {
  return eventually([&] {
    if (look_up(tier, number)) return true;
    store(tier, redis_entry(number, 1));
    return false;
  });
}

}  // namespace

TEST_CASE("redis outage: a server that was never there costs misses, and is used once it comes") {
  if (!has_redis_server()) return;
  RedisServer server;
  server.stop();
  const auto tier = make_tier(quick(server.port()));
  for (int i = 0; i < 20; ++i) {
    CHECK_FALSE(look_up(*tier, 1));
    store(*tier, redis_entry(1, 1));
  }
  CHECK(tier->redis_stats().breaker_openings > 0);
  server.start();
  CHECK(comes_back(*tier, 1));
}

TEST_CASE("redis outage: a restart loses the answers, not the tier") {
  if (!has_redis_server()) return;
  RedisServer server;
  const auto tier = make_tier(quick(server.port()));
  REQUIRE(comes_back(*tier, 1));
  server.stop();
  for (int i = 0; i < 10; ++i) CHECK_FALSE(look_up(*tier, 1));
  server.start();
  CHECK(comes_back(*tier, 2));
  CHECK(comes_back(*tier, 1));
}

TEST_CASE("redis outage: a hung server costs four look-ups their budget, then none waits") {
  if (!has_redis_server()) return;
  RedisServer server;
  auto options = quick(server.port());
  options.breaker_first_open = seconds(10);
  const auto tier = make_tier(options);
  REQUIRE(comes_back(*tier, 1));
  server.hang();
  const RedisCacheStats before = tier->redis_stats();
  CHECK(eventually([&] {
    CHECK_FALSE(look_up(*tier, {redis_key(1)}, std::chrono::steady_clock::now() + seconds(1)).at(0));
    return tier->redis_stats().breaker == RedisBreaker::open;
  }));
  const RedisCacheStats stats = tier->redis_stats();
  CHECK(stats.timeouts + stats.lost - before.timeouts - before.lost <= 4);
  CHECK(stats.breaker == RedisBreaker::open);
  for (int i = 0; i < 1000; ++i) {
    bool ended = false;
    const CacheKey key = redis_key(1);
    tier->get_many(std::span(&key, 1), kNoDeadline, [&ended](const Slots&) { ended = true; });
    CHECK(ended);
  }
  server.go_on();
}

TEST_CASE("redis outage: a server that hung and goes on is used again") {
  if (!has_redis_server()) return;
  RedisServer server;
  const auto tier = make_tier(quick(server.port()));
  REQUIRE(comes_back(*tier, 1));
  server.hang();
  REQUIRE(eventually([&] {
    look_up(*tier, 1);
    return tier->redis_stats().breaker != RedisBreaker::closed;
  }));
  server.go_on();
  CHECK(comes_back(*tier, 1));
}

TEST_CASE("redis outage: paused clients are a timeout, and late replies answer nobody else") {
  if (!has_redis_server()) return;
  RedisServer server;
  const auto tier = make_tier(quick(server.port()));
  REQUIRE(comes_back(*tier, 1));
  server.run({"CLIENT", "PAUSE", "1000", "ALL"});
  CHECK_FALSE(look_up(*tier, 1));
  CHECK(tier->redis_stats().timeouts > 0);
  REQUIRE(comes_back(*tier, 7));
  std::optional<CacheEntry> found;
  REQUIRE(eventually([&] { return (found = look_up(*tier, 7)).has_value(); }));
  CHECK(found->key == redis_key(7));
}

TEST_CASE("redis outage: a full server takes no writes and still answers") {
  if (!has_redis_server()) return;
  RedisServer server;
  const auto tier = make_tier(patient(server.port()));
  REQUIRE(store_and_wait(*tier, redis_entry(1, 1)));
  server.run({"CONFIG", "SET", "maxmemory-policy", "noeviction"});
  server.run({"CONFIG", "SET", "maxmemory", "1"});
  store(*tier, redis_entry(2, 2));
  REQUIRE(eventually([&] { return tier->redis_stats().out_of_memory > 0; }));
  CHECK(tier->redis_stats().dropped_refused == 1);
  CHECK(look_up(*tier, 1));
  CHECK(tier->redis_stats().breaker == RedisBreaker::closed);
}

TEST_CASE("redis outage: a read-only replica answers and takes no writes") {
  if (!has_redis_server()) return;
  RedisServer leader;
  const auto writer = make_tier(patient(leader.port()));
  REQUIRE(store_and_wait(*writer, redis_entry(1, 5)));
  RedisServer replica({"--replicaof", "127.0.0.1 " + std::to_string(leader.port())});
  REQUIRE(eventually([&] { return replica.run({"DBSIZE"}).integer == 1; }));
  const auto reader = make_tier(patient(replica.port()));
  const auto found = look_up(*reader, 1);
  REQUIRE(found);
  CHECK(float_of(*found) == 5);
  store(*reader, redis_entry(2, 1));
  REQUIRE(eventually([&] { return reader->redis_stats().dropped_refused == 1; }));
  CHECK(reader->redis_stats().read_only > 0);
  CHECK(look_up(*reader, 1));
}
