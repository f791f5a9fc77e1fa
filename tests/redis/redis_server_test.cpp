// The tier against a real redis-server.
#include "redis_server.hpp"

#include <sys/wait.h>

#include <cstdlib>

using namespace tidegate;
using namespace tidegate::test;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_CASE("redis server: an answer comes back whole, with the life it has left") {
  if (!has_redis_server()) return;
  RedisServer server;
  const auto tier = make_tier(patient(server.port()));
  CHECK_FALSE(look_up(*tier, 1));
  REQUIRE(store_and_wait(*tier, redis_entry(1, 2.5F, std::chrono::minutes(10), 384)));
  const auto found = look_up(*tier, 1);
  REQUIRE(found);
  CHECK(float_of(*found) == 2.5F);
  CHECK(found->time_to_live <= std::chrono::minutes(10));
  CHECK(found->time_to_live > std::chrono::minutes(9));
  const RedisReply keys = server.run({"KEYS", "tidegate:default:*"});
  REQUIRE(keys.elements.size() == 1);
  const RedisReply left = server.run({"PTTL", std::string(keys.elements[0].as_text())});
  CHECK(left.integer <= 600'000);
  CHECK(left.integer > 540'000);
  const RedisCacheStats stats = tier->redis_stats();
  CHECK(stats.hits == 1);
  CHECK(stats.absent == 1);
  CHECK(misses(stats) == 1);
  CHECK(dropped(stats) == 0);
}

TEST_CASE("redis server: one look-up of many keys answers each in its place, duplicates included") {
  if (!has_redis_server()) return;
  RedisServer server;
  const auto tier = make_tier(patient(server.port()));
  std::vector<CacheKey> keys;
  for (std::uint64_t i = 0; i < 500; ++i) {
    if (i % 3 == 0) store(*tier, redis_entry(i, static_cast<float>(i)));
    keys.push_back(redis_key(i));
  }
  keys.push_back(redis_key(3));
  REQUIRE(eventually([&] { return tier->redis_stats().written == 167; }));
  const Slots slots = look_up(*tier, keys);
  REQUIRE(slots.size() == 501);
  for (std::uint64_t i = 0; i < 500; ++i) {
    REQUIRE(slots[i].has_value() == (i % 3 == 0));
    if (slots[i]) CHECK(float_of(*slots[i]) == static_cast<float>(i));
  }
  CHECK(float_of(*slots[500]) == 3);
}

TEST_CASE("redis server: erased and too large answers are not there") {
  if (!has_redis_server()) return;
  RedisServer server;
  auto options = patient(server.port());
  options.max_value_bytes = 2000;
  const auto tier = make_tier(options);
  REQUIRE(store_and_wait(*tier, redis_entry(1, 1)));
  store(*tier, redis_entry(2, 1, std::chrono::hours(1), 1000));
  store(*tier, redis_entry(3, 1, Duration(0)));
  CHECK(tier->redis_stats().dropped_unfit == 2);
  tier->erase_many(std::vector{redis_key(1)});
  CHECK(eventually([&] { return !look_up(*tier, 1); }));
  CHECK_FALSE(look_up(*tier, 2));
}

TEST_CASE("redis server: processes of one namespace share answers, those of another have their own") {
  if (!has_redis_server()) return;
  RedisServer server;
  const auto one = make_tier(patient(server.port()));
  const auto other = make_tier(patient(server.port()));
  auto options = patient(server.port());
  options.name_space = "untouched";
  const auto elsewhere = make_tier(options);
  REQUIRE(store_and_wait(*one, redis_entry(1, 1)));
  CHECK_FALSE(look_up(*elsewhere, 1));
  REQUIRE(store_and_wait(*elsewhere, redis_entry(1, 7)));
  CHECK(float_of(*look_up(*other, 1)) == 1);
  CHECK(float_of(*look_up(*elsewhere, 1)) == 7);
}

TEST_CASE("redis server: two processes share answers") {
  if (!has_redis_server()) return;
  RedisServer server;
  const pid_t child = ::fork();
  if (child == 0) {
    bool good = false;
    {
      const auto tier = make_tier(patient(server.port()));
      store(*tier, redis_entry(1, 4));
      good = eventually([&] { return tier->redis_stats().written == 1; });
    }
    ::_exit(good ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  REQUIRE(status == 0);
  const auto tier = make_tier(patient(server.port()));
  const auto found = look_up(*tier, 1);
  REQUIRE(found);
  CHECK(float_of(*found) == 4);
}

TEST_CASE("redis server: what is queued is written before the tier goes") {
  if (!has_redis_server()) return;
  RedisServer server;
  const auto reader = make_tier(patient(server.port()));
  bool all = false;
  // A quarter of a second is all it takes for that: a machine that stands still so long gets another chance.
  for (std::uint64_t first = 0; first < 5000 && !all; first += 1000) {
    {
      const auto tier = make_tier(patient(server.port()));
      REQUIRE(store_and_wait(*tier, redis_entry(first + 999, 1)));
      for (std::uint64_t i = 0; i < 100; ++i) store(*tier, redis_entry(first + i, static_cast<float>(i)));
    }
    all = true;
    for (std::uint64_t i = 0; i < 100; ++i) all = look_up(*reader, first + i).has_value() && all;
  }
  CHECK(all);
}

TEST_CASE("redis server: signing in needs the right user and password") {
  if (!has_redis_server()) return;
  RedisServer server;
  server.run({"ACL", "SETUSER", "gate", "on", ">sesame", "~tidegate:*", "+@all"});
  server.run({"CONFIG", "SET", "requirepass", "open"});
  auto options = patient(server.port());
  {
    const auto stranger = make_tier(options);
    CHECK_FALSE(look_up(*stranger, 1));
    CHECK(stranger->redis_stats().no_auth > 0);
  }
  options.password = "wrong";
  {
    const auto mistaken = make_tier(options);
    CHECK_FALSE(look_up(*mistaken, 1));
    CHECK(mistaken->redis_stats().no_auth > 0);
    CHECK(mistaken->redis_stats().failed == 1);
  }
  options.password = "open";
  options.database = 3;
  const auto member = make_tier(options);
  CHECK(store_and_wait(*member, redis_entry(1, 1)));
  CHECK(look_up(*member, 1));
  options.database = 0;
  options.username = "gate";
  options.password = "sesame";
  const auto user = make_tier(options);
  CHECK(store_and_wait(*user, redis_entry(1, 2)));
  CHECK(float_of(*look_up(*user, 1)) == 2);
  CHECK(float_of(*look_up(*member, 1)) == 1);
}

TEST_CASE("redis server: whoever has no secret can neither plant nor alter an answer") {
  if (!has_redis_server()) return;
  RedisServer server;
  auto options = patient(server.port());
  const auto open = make_tier(options);
  options.hmac_key = "only we know";
  const auto sealed = make_tier(options);
  REQUIRE(store_and_wait(*open, redis_entry(1, 1)));
  REQUIRE(look_up(*open, 1));
  CHECK_FALSE(look_up(*sealed, 1));
  CHECK(sealed->redis_stats().forged == 1);

  REQUIRE(store_and_wait(*sealed, redis_entry(2, 2)));
  REQUIRE(look_up(*sealed, 2));
  for (const auto& element : server.run({"KEYS", "tidegate:default:*"}).elements) {
    const std::string name(element.as_text());
    std::string value(server.run({"GET", name}).as_text());
    value[70] = static_cast<char>(value[70] ^ 1);
    server.run({"SET", name, value});
  }
  CHECK_FALSE(look_up(*sealed, 2));
  CHECK(sealed->redis_stats().forged == 2);
}

TEST_CASE("redis server: a value under another key, or cut, or of another version, answers nothing") {
  if (!has_redis_server()) return;
  RedisServer server;
  const auto tier = make_tier(patient(server.port()));
  REQUIRE(store_and_wait(*tier, redis_entry(1, 1)));
  const std::string name(server.run({"KEYS", "tidegate:default:*"}).elements.at(0).as_text());
  const std::string value(server.run({"GET", name}).as_text());
  std::string of_two = name;
  const CacheKey two = redis_key(2);
  of_two.replace(name.size() - two.size(), two.size(), reinterpret_cast<const char*>(two.data()), two.size());
  server.run({"SET", of_two, value});
  CHECK_FALSE(look_up(*tier, 2));
  CHECK(tier->redis_stats().corrupt == 1);
  for (const std::size_t cut : {std::size_t{0}, std::size_t{10}, value.size() - 1}) {
    server.run({"SET", name, value.substr(0, cut)});
    CHECK_FALSE(look_up(*tier, 1));
  }
  std::string versioned = value;
  versioned[4] = 9;
  server.run({"SET", name, versioned});
  CHECK_FALSE(look_up(*tier, 1));
  server.run({"DEL", name});
  server.run({"LPUSH", name, "not a string"});
  CHECK_FALSE(look_up(*tier, 1));
  CHECK(tier->redis_stats().corrupt == 5);
  server.run({"SET", name, value});
  CHECK(look_up(*tier, 1));
}

TEST_CASE("redis server: a Unix socket serves as well") {
  if (!has_redis_server()) return;
  const TemporaryFolder folder;
  const std::string path = folder.file("s");
  RedisServer server({"--unixsocket", path});
  auto options = patient(server.port());
  options.address = "unix:" + path;
  const auto tier = make_tier(options);
  CHECK(store_and_wait(*tier, redis_entry(1, 3)));
  CHECK(look_up(*tier, 1));
}

TEST_CASE("redis server: a host name is looked up") {
  if (!has_redis_server()) return;
  RedisServer server;
  auto options = patient(server.port());
  options.address = "localhost:" + std::to_string(server.port());
  const auto tier = make_tier(options);
  CHECK(store_and_wait(*tier, redis_entry(1, 3)));
  CHECK(look_up(*tier, 1));
}

TEST_CASE("redis server: over TLS only a server with the right name and authority is spoken to") {
  if (!has_redis_server()) return;
  const TemporaryFolder folder;
  const std::string key = folder.file("key.pem");
  const std::string certificate = folder.file("cert.pem");
  const std::string make =
      "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=cache.test -addext "
      "subjectAltName=DNS:cache.test -keyout " +
      key + " -out " + certificate + " 2>/dev/null";
  if (std::system(make.c_str()) != 0) {
    MESSAGE("skipped: the openssl program cannot make a certificate");
    return;
  }
  const std::uint16_t tls_port = free_port();
  RedisServer server({"--tls-port", std::to_string(tls_port), "--tls-cert-file", certificate, "--tls-key-file", key,
                      "--tls-ca-cert-file", certificate, "--tls-auth-clients", "no"});
  auto options = patient(tls_port);
  options.tls = RedisTls::on;
  options.tls_ca_file = certificate;
  options.tls_server_name = "cache.test";
  const auto tier = make_tier(options);
  CHECK(store_and_wait(*tier, redis_entry(1, 3, std::chrono::hours(1), 100'000)));
  const auto found = look_up(*tier, 1);
  REQUIRE(found);
  CHECK(float_of(*found) == 3);

  options.tls_server_name = "other.test";
  const auto wrong_name = make_tier(options);
  CHECK_FALSE(look_up(*wrong_name, 1));
  CHECK(wrong_name->redis_stats().lost == 1);
  options.tls_server_name = "cache.test";
  options.tls_ca_file = "";
  const auto unknown_authority = make_tier(options);
  CHECK_FALSE(look_up(*unknown_authority, 1));
  CHECK(unknown_authority->redis_stats().lost == 1);
}
