// A server that breaks the protocol in every way the tier must survive: no answer is ever
// another key's, and the next look-up is served again.
#include "fake_redis.hpp"

#include <doctest/doctest.h>

#include "support/manual_clock.hpp"

using namespace tidegate;
using namespace tidegate::test;
using Act = FakeRedis::Act;

namespace {

RedisCacheOptions at(const FakeRedis& server) { return patient(server.port()); }

/// A server whose replies to MGET `spoil` changes while it is set.
class Spoiled {
 public:
  using Spoil = std::function<Act(std::string reply)>;

  Spoiled()
      : server_([this](const Command& command) -> std::optional<Act> {
          if (command[0] != "MGET") return std::nullopt;
          Spoil spoil;
          {
            const std::lock_guard lock(mutex_);
            spoil = std::exchange(spoil_, nullptr);
          }
          if (!spoil) return std::nullopt;
          return spoil(server_.as_redis(command));
        }),
        tier_(make_tier(at(server_))) {
    for (std::uint64_t i = 0; i < 3; ++i) REQUIRE(store_and_wait(*tier_, redis_entry(i, static_cast<float>(i))));
  }

  /// Looks up keys 0 to 2 once, the reply spoiled.
  Slots look_up_spoiled(Spoil spoil) {
    {
      const std::lock_guard lock(mutex_);
      spoil_ = std::move(spoil);
    }
    return all();
  }
  Slots all() { return look_up(*tier_, {redis_key(0), redis_key(1), redis_key(2)}); }

  /// Whatever is answered is right.
  static void check_true(const Slots& slots) {
    REQUIRE(slots.size() == 3);
    for (std::size_t i = 0; i < 3; ++i) {
      if (slots[i]) CHECK(float_of(*slots[i]) == static_cast<float>(i));
    }
  }
  void check_recovered() {
    for (int i = 0; i < 2; ++i) {
      const Slots slots = all();
      check_true(slots);
      for (const auto& slot : slots) CHECK(slot);
    }
  }
  [[nodiscard]] RedisCache& tier() { return *tier_; }
  [[nodiscard]] FakeRedis& server() { return server_; }

 private:
  std::mutex mutex_;
  Spoil spoil_;
  FakeRedis server_;
  std::shared_ptr<RedisCache> tier_;
};

bool all_missing(const Slots& slots) {
  return std::none_of(slots.begin(), slots.end(), [](const auto& slot) { return slot.has_value(); });
}

}  // namespace

TEST_CASE("redis faults: a reply cut at any byte is a miss, and the next look-up is served") {
  std::size_t size = 0;
  {
    Spoiled first;
    first.look_up_spoiled([&size](std::string reply) {
      size = reply.size();
      return Act{std::move(reply)};
    });
  }
  REQUIRE(size > 200);
  Spoiled spoiled;
  for (std::size_t cut = 0; cut < size; ++cut) {
    CAPTURE(cut);
    const Slots slots = spoiled.look_up_spoiled([cut](std::string reply) {
      return Act{reply.substr(0, cut), Act::close};
    });
    CHECK(all_missing(slots));
    spoiled.check_recovered();
  }
  CHECK(spoiled.tier().redis_stats().lost == 3 * size);
}

TEST_CASE("redis faults: any byte flipped is a miss or leaves the answer as it was") {
  Spoiled spoiled;
  const std::size_t size = spoiled.server().data().begin()->second.size();
  std::uint64_t missed = 0;
  for (std::size_t at = 4; at < 3 * size; ++at) {
    CAPTURE(at);
    // A flipped length may ask for more bytes than come, so the connection is closed then.
    const Slots slots = spoiled.look_up_spoiled([at](std::string reply) {
      if (at < reply.size()) reply[at] = static_cast<char>(reply[at] ^ 0x11);
      return Act{std::move(reply), Act::close};
    });
    Spoiled::check_true(slots);
    missed += all_missing(slots) ? 3 : static_cast<std::uint64_t>(std::count(slots.begin(), slots.end(), std::nullopt));
    // The next one may still meet the connection that is being closed.
    REQUIRE(eventually([&] { return !all_missing(spoiled.all()); }));
    spoiled.check_recovered();
    spoiled.check_recovered();
  }
  CHECK(missed > 2 * size);
}

TEST_CASE("redis faults: values in the wrong order answer nothing") {
  Spoiled spoiled;
  const Slots slots = spoiled.look_up_spoiled([](std::string reply) {
    // Each value is as long as the others, so parts can be exchanged.
    const std::size_t head = 4;
    const std::size_t part = (reply.size() - head) / 3;
    return Act{reply.substr(0, head) + reply.substr(head + part, part) + reply.substr(head, part) +
               reply.substr(head + 2 * part)};
  });
  CHECK_FALSE(slots[0]);
  CHECK_FALSE(slots[1]);
  REQUIRE(slots[2]);
  CHECK(float_of(*slots[2]) == 2);
  CHECK(spoiled.tier().redis_stats().corrupt == 2);
  spoiled.check_recovered();
}

TEST_CASE("redis faults: a reply that comes twice ends the connection, and shifts no answer") {
  Spoiled spoiled;
  for (int i = 0; i < 20; ++i) {
    const Slots slots = spoiled.look_up_spoiled([](const std::string& reply) { return Act{reply + reply}; });
    Spoiled::check_true(slots);
    // The second copy may meet the next look-up or nobody.
    Spoiled::check_true(look_up(spoiled.tier(), {redis_key(0), redis_key(1), redis_key(2)}));
    REQUIRE(eventually([&] { return !all_missing(spoiled.all()); }));
    spoiled.check_recovered();
  }
  CHECK(spoiled.tier().redis_stats().connections > 2);
}

TEST_CASE("redis faults: too few or too many values, or none, are no answer") {
  Spoiled spoiled;
  for (const std::string reply : {"*2\r\n$-1\r\n$-1\r\n", "*4\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n", "*0\r\n", ":3\r\n",
                                  "+OK\r\n", "$-1\r\n", "$1\r\na\r\n"}) {
    CAPTURE(reply);
    CHECK(all_missing(spoiled.look_up_spoiled([&](const std::string&) { return Act{reply}; })));
    REQUIRE(eventually([&] { return !all_missing(spoiled.all()); }));
    spoiled.check_recovered();
    spoiled.check_recovered();
  }
}

TEST_CASE("redis faults: giant lengths and what is no protocol end the connection at once") {
  Spoiled spoiled;
  for (const std::string reply :
       {"*1000000000\r\n", "*9223372036854775807\r\n", "*-5\r\n", "HTTP/1.1 200 OK\r\n\r\n", "%1\r\n+a\r\n+b\r\n",
        "*3\r\n*1\r\n*1\r\n*1\r\n*1\r\n", "*3\r\n$-1\r\n$-1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
        // Each array would hold what the server need not send.
        "*3\r\n*1000\r\n*1000\r\n", "*3\r\n*510\r\n$-1\r\n*600\r\n"}) {
    CAPTURE(reply);
    CHECK(all_missing(spoiled.look_up_spoiled([&](const std::string&) { return Act{reply}; })));
    spoiled.check_recovered();
    spoiled.check_recovered();
  }
  CHECK(spoiled.tier().redis_stats().connections == 2 + 9);
  CHECK(all_missing(spoiled.look_up_spoiled(
      [](const std::string&) { return Act{"*3\r\n$1000000000\r\n" + std::string(6 << 20, 'x')}; })));
  spoiled.check_recovered();
}

TEST_CASE("redis faults: error replies are counted by their cause, and are misses") {
  struct Case {
    std::string reply;
    std::uint64_t RedisCacheStats::*count;
  };
  for (const Case& one : {Case{"MOVED 3999 127.0.0.1:6381", &RedisCacheStats::moved},
                          Case{"LOADING Redis is loading", &RedisCacheStats::loading},
                          Case{"NOAUTH Authentication required.", &RedisCacheStats::no_auth},
                          Case{"NOPERM no permission", &RedisCacheStats::no_auth},
                          Case{"ERR something", &RedisCacheStats::other_errors}}) {
    CAPTURE(one.reply);
    Spoiled spoiled;
    CHECK(all_missing(spoiled.look_up_spoiled([&](const std::string&) { return Act{"-" + one.reply + "\r\n"}; })));
    CHECK(spoiled.tier().redis_stats().*one.count == 1);
    CHECK(spoiled.tier().redis_stats().failed == 3);
    CHECK(spoiled.tier().redis_stats().connections == 2);
    spoiled.check_recovered();
  }
}

TEST_CASE("redis faults: a server that only loads opens the breaker after twenty calls") {
  FakeRedis server([](const Command& command) -> std::optional<Act> {
    if (command[0] == "MGET") return Act{"-LOADING Redis is loading the dataset in memory\r\n"};
    return std::nullopt;
  });
  const auto tier = make_tier(at(server), std::make_shared<ManualClock>());
  for (int i = 0; i < 20; ++i) CHECK_FALSE(look_up(*tier, 1));
  CHECK(eventually([&] { return tier->redis_stats().breaker == RedisBreaker::open; }));
  CHECK(tier->redis_stats().loading == 20);
}

TEST_CASE("redis faults: refused writes are dropped for a while, and look-ups go on") {
  for (const std::string error : {"OOM command not allowed", "READONLY You can't write"}) {
    CAPTURE(error);
    FakeRedis server([&](const Command& command) -> std::optional<Act> {
      if (command[0] == "SET" && command.size() == 5) return Act{"-" + error + "\r\n"};
      return std::nullopt;
    });
    const auto clock = std::make_shared<ManualClock>();
    const auto tier = make_tier(at(server), clock);
    CHECK_FALSE(look_up(*tier, 1));
    for (std::uint64_t i = 0; i < 30; ++i) {
      store(*tier, redis_entry(i, 1));
      REQUIRE(eventually([&] { return tier->redis_stats().dropped_refused == i + 1; }));
      CHECK_FALSE(look_up(*tier, 1));
    }
    const RedisCacheStats stats = tier->redis_stats();
    CHECK(stats.out_of_memory + stats.read_only == 1);
    CHECK(stats.breaker == RedisBreaker::closed);
    CHECK(stats.absent == 31);
    clock->advance(std::chrono::milliseconds(1100));
    store(*tier, redis_entry(1, 1));
    REQUIRE(eventually([&] { return tier->redis_stats().dropped_refused == 31; }));
    CHECK(tier->redis_stats().out_of_memory + tier->redis_stats().read_only == 2);
  }
}

TEST_CASE("redis faults: hung up in the middle of many commands, each look-up ends once and right") {
  std::atomic<int> count{0};
  FakeRedis server([&](const Command& command) -> std::optional<Act> {
    if (command[0] == "MGET" && ++count % 7 == 0) return Act{"*1\r\n$5", Act::close};
    return std::nullopt;
  });
  auto options = at(server);
  options.max_keys_per_get = 2;
  const auto tier = make_tier(options);
  for (std::uint64_t i = 0; i < 50; ++i) REQUIRE(store_and_wait(*tier, redis_entry(i, static_cast<float>(i))));
  std::atomic<int> ended{0};
  std::atomic<int> wrong{0};
  constexpr int kThreads = 4;
  constexpr int kEach = 500;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        const auto number = static_cast<std::uint64_t>((i * 7 + t) % 50);
        const auto key = redis_key(number);
        tier->get_many(std::span(&key, 1), kNoDeadline, [&, number](const Slots& slots) {
          if (!slots.empty() && slots[0] && float_of(*slots[0]) != static_cast<float>(number)) ++wrong;
          ++ended;
        });
        if (i % 10 == 0) std::this_thread::yield();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(eventually([&] { return ended == kThreads * kEach; }));
  CHECK(wrong == 0);
  const RedisCacheStats stats = tier->redis_stats();
  CHECK(stats.hits + misses(stats) == kThreads * kEach);
}
