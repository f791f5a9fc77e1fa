// The tier's own time: gathering, budgets, breaker, idleness. The clock stands still
// unless the test moves it.
#include "fake_redis.hpp"

#include <doctest/doctest.h>

#include "support/manual_clock.hpp"

using namespace tidegate;
using namespace tidegate::test;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

RedisCacheOptions at(const FakeRedis& server) {
  RedisCacheOptions options;
  options.address = "127.0.0.1:" + std::to_string(server.port());
  return options;
}

/// Also rings what the tier has set since the clock was moved, and which is due: the tier sends first and sets its
/// alarm then.
template <class Condition>
[[nodiscard]] bool eventually_at(ManualClock& clock, const Condition& condition) {
  return eventually([&] {
    clock.advance(Duration::zero());
    return condition();
  });
}

/// Look-ups that are under way, and what became of them.
class Asking {
 public:
  void ask(CacheTier& tier, std::uint64_t number, Deadline deadline = kNoDeadline) {
    const CacheKey key = redis_key(number);
    ++asked_;
    tier.get_many(std::span(&key, 1), deadline, [counts = counts_](Slots slots) {
      counts->hits += !slots.empty() && slots[0] ? 1 : 0;
      ++counts->ended;
    });
  }
  [[nodiscard]] bool all_ended() const { return ended() == asked_; }
  [[nodiscard]] int ended() const { return counts_->ended; }
  [[nodiscard]] int hits() const { return counts_->hits; }

 private:
  /// Outlives the test if the tier's thread does.
  struct Counts {
    std::atomic<int> ended{0};
    std::atomic<int> hits{0};
  };
  int asked_ = 0;
  const std::shared_ptr<Counts> counts_ = std::make_shared<Counts>();
};

/// Holds back every reply to commands of this name.
FakeRedis::Script holding(FakeRedis*& server, const std::string& name) {
  return [&server, name](const Command& command) -> std::optional<FakeRedis::Act> {
    if (command[0] == name) server->hold();
    return std::nullopt;
  };
}

/// Ends with an open breaker.
void run_into_silence(RedisCache& tier, ManualClock& clock) {
  Asking asking;
  asking.ask(tier, 1);
  REQUIRE(eventually([&] {
    if (tier.redis_stats().breaker == RedisBreaker::open) return true;
    if (asking.all_ended()) asking.ask(tier, 1);
    clock.advance_to_next_alarm();
    return false;
  }));
  REQUIRE(eventually([&] { return asking.all_ended(); }));
}

/// A server that keeps its replies to MGET back, one or all, while `keeps`.
struct Keeping {
  std::atomic<bool> keeps{false};
  std::atomic<int> kept{0};
  std::atomic<int> let{0};
  std::atomic<bool> ending{false};
  FakeRedis server{[this](const Command& command) -> std::optional<FakeRedis::Act> {
    if (command[0] != "MGET" || !keeps) return std::nullopt;
    const int number = ++kept;
    while (let < number && !ending) std::this_thread::yield();
    return std::nullopt;
  }};
  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>();
  std::shared_ptr<RedisCache> tier = make_tier(at(server), clock);

  Keeping() {
    CHECK_FALSE(look_up(*tier, 1));
    keeps = true;
  }
  ~Keeping() { ending = true; }
};

}  // namespace

TEST_CASE("redis tier: look-ups that meet are gathered into one MGET of at most 64 keys") {
  FakeRedis* self = nullptr;
  FakeRedis server(holding(self, "MGET"));
  self = &server;
  const auto clock = std::make_shared<ManualClock>();
  const auto tier = make_tier(at(server), clock);
  Asking asking;
  asking.ask(*tier, 0);
  REQUIRE(eventually([&] { return server.held() == 1; }));
  for (std::uint64_t i = 1; i <= 63; ++i) asking.ask(*tier, i);
  // Neither full nor old enough: nothing is sent while the first one is out.
  CHECK(eventually([&] { return tier->redis_stats().commands == 1; }));
  asking.ask(*tier, 64);
  REQUIRE(eventually([&] { return tier->redis_stats().commands == 2; }));
  for (std::uint64_t i = 65; i < 75; ++i) asking.ask(*tier, i);
  REQUIRE(eventually([&] { return clock->next_alarm() == clock->now() + microseconds(100); }));
  clock->advance(microseconds(99));
  CHECK(tier->redis_stats().commands == 2);
  clock->advance(microseconds(1));
  REQUIRE(eventually([&] { return tier->redis_stats().commands == 3; }));
  server.release();
  REQUIRE(eventually([&] { return asking.all_ended(); }));
  const auto gets = server.seen("MGET");
  REQUIRE(gets.size() == 3);
  CHECK(gets[0].size() == 2);
  CHECK(gets[1].size() == 65);
  CHECK(gets[2].size() == 11);
  CHECK(tier->redis_stats().absent == 75);
}

TEST_CASE("redis tier: large values make smaller MGETs, a quarter of a megabyte expected each") {
  FakeRedis* self = nullptr;
  std::atomic<bool> holds{false};
  FakeRedis server([&](const Command& command) -> std::optional<FakeRedis::Act> {
    if (command[0] == "MGET" && holds) self->hold();
    return std::nullopt;
  });
  self = &server;
  const auto tier = make_tier(at(server), std::make_shared<ManualClock>());
  for (std::uint64_t i = 0; i < 40; ++i)
    REQUIRE(store_and_wait(*tier, redis_entry(i, 1, std::chrono::hours(1), 16'384)));
  for (std::uint64_t i = 0; i < 40; ++i) CHECK(look_up(*tier, i));
  holds = true;
  Asking asking;
  asking.ask(*tier, 0);
  REQUIRE(eventually([&] { return server.held() == 1; }));
  for (std::uint64_t i = 0; i < 12; ++i) asking.ask(*tier, i);
  server.release();
  REQUIRE(eventually([&] { return asking.all_ended(); }));
  for (const Command& get : server.seen("MGET")) CHECK(get.size() <= 5);
  CHECK(asking.hits() == 13);
}

TEST_CASE("redis tier: a look-up ends at its budget or its deadline, and the late value is discarded") {
  FakeRedis* self = nullptr;
  std::atomic<bool> holds{false};
  FakeRedis server([&](const Command& command) -> std::optional<FakeRedis::Act> {
    if (command[0] == "MGET" && holds) self->hold();
    return std::nullopt;
  });
  self = &server;
  const auto clock = std::make_shared<ManualClock>();
  const auto tier = make_tier(at(server), clock);
  CHECK_FALSE(look_up(*tier, 1));
  holds = true;
  Asking soon;
  Asking later;
  soon.ask(*tier, 1, clock->now() + milliseconds(1));
  later.ask(*tier, 2);
  REQUIRE(eventually([&] { return server.held() == 1; }));
  clock->advance(milliseconds(1));
  REQUIRE(eventually_at(*clock, [&] { return soon.all_ended(); }));
  CHECK(later.ended() == 0);
  CHECK(tier->redis_stats().timeouts == 1);
  clock->advance(milliseconds(4));
  REQUIRE(eventually_at(*clock, [&] { return later.all_ended(); }));
  CHECK(tier->redis_stats().timeouts == 2);
  CHECK(tier->stats().late == 2);
  server.release();
  // The next one gets its own answer, not the one that came late.
  REQUIRE(store_and_wait(*tier, redis_entry(3, 3)));
  std::optional<CacheEntry> found;
  REQUIRE(eventually([&] {
    found = look_up(*tier, 3);
    return found.has_value();
  }));
  CHECK(float_of(*found) == 3);
  CHECK(tier->redis_stats().discarded >= 1);
  CHECK(tier->redis_stats().connections == 2);
  CHECK(tier->redis_stats().breaker_openings == 0);
}

TEST_CASE("redis tier: a deadline that has passed is a miss at once") {
  FakeRedis server;
  const auto clock = std::make_shared<ManualClock>();
  const auto tier = make_tier(at(server), clock);
  Asking asking;
  asking.ask(*tier, 1, clock->now());
  CHECK(asking.all_ended());
  CHECK(server.commands() == 0);
}

TEST_CASE("redis tier: no reply for twice the budget makes it connect anew") {
  FakeRedis* self = nullptr;
  std::atomic<int> gets{0};
  FakeRedis server([&](const Command& command) -> std::optional<FakeRedis::Act> {
    if (command[0] == "MGET" && ++gets == 2) self->hold();
    return std::nullopt;
  });
  self = &server;
  const auto clock = std::make_shared<ManualClock>();
  const auto tier = make_tier(at(server), clock);
  CHECK_FALSE(look_up(*tier, 1));
  const TimePoint begin = clock->now();
  Asking asking;
  asking.ask(*tier, 1);
  REQUIRE(eventually([&] { return server.held() == 1; }));
  clock->advance(milliseconds(5));
  REQUIRE(eventually_at(*clock, [&] { return asking.all_ended() && clock->next_alarm() == begin + milliseconds(10); }));
  CHECK(tier->redis_stats().connections == 1);
  clock->advance(milliseconds(5));
  // Nobody needs to ask for it.
  REQUIRE(eventually_at(*clock, [&] { return tier->redis_stats().connections == 2; }));
  Asking next;
  next.ask(*tier, 2);
  REQUIRE(eventually([&] { return next.all_ended(); }));
  CHECK(tier->redis_stats().breaker == RedisBreaker::closed);
}

TEST_CASE("redis tier: once a reply is overdue, four look-ups go on waiting and no other does") {
  Keeping rig;
  Asking asking;
  asking.ask(*rig.tier, 1, rig.clock->now() + milliseconds(20));
  REQUIRE(eventually([&] { return rig.kept == 1; }));
  for (std::uint64_t i = 0; i < 63; ++i) asking.ask(*rig.tier, i, rig.clock->now() + milliseconds(20));
  // Gathered, so the network thread has taken all of them.
  REQUIRE(eventually([&] { return rig.clock->next_alarm() == rig.clock->now() + microseconds(100); }));
  rig.clock->advance(microseconds(999));
  CHECK(rig.tier->redis_stats().silent == 0);
  rig.clock->advance(microseconds(1));
  REQUIRE(eventually_at(*rig.clock, [&] { return asking.ended() == 60; }));
  CHECK(rig.tier->redis_stats().silent == 60);
  Asking late;
  for (std::uint64_t i = 0; i < 100; ++i) {
    late.ask(*rig.tier, i, rig.clock->now() + milliseconds(20));
    CHECK(late.all_ended());
  }
  CHECK(rig.tier->stats().late == 160);
  rig.clock->advance(milliseconds(4));
  REQUIRE(eventually_at(*rig.clock, [&] { return asking.all_ended(); }));
  CHECK(rig.tier->redis_stats().timeouts == 4);
  rig.keeps = false;
  rig.let = 1000;
  CHECK(eventually([&] { return rig.tier->redis_stats().discarded > 0; }));
  Asking again;
  again.ask(*rig.tier, 1, rig.clock->now() + milliseconds(20));
  CHECK(eventually([&] { return again.all_ended(); }));
  CHECK(rig.tier->redis_stats().silent == 160);
  CHECK(rig.tier->redis_stats().breaker_openings == 0);
}

TEST_CASE("redis tier: short deadlines open no breaker while the server answers within the budget") {
  Keeping rig;
  for (int i = 0; i < 60; ++i) {
    const std::uint64_t before = rig.tier->redis_stats().discarded;
    Asking asking;
    asking.ask(*rig.tier, 1, rig.clock->now() + microseconds(500));
    REQUIRE(eventually([&] { return rig.kept == i + 1; }));
    rig.clock->advance(milliseconds(1));
    REQUIRE(eventually_at(*rig.clock, [&] { return asking.all_ended(); }));
    rig.clock->advance(milliseconds(3));
    ++rig.let;
    REQUIRE(eventually_at(*rig.clock, [&] { return rig.tier->redis_stats().discarded > before; }));
  }
  CHECK(rig.tier->redis_stats().timeouts == 60);
  CHECK(rig.tier->redis_stats().breaker_openings == 0);
}

TEST_CASE("redis tier: a silent server opens the breaker within a few budgets, however short the deadlines are") {
  FakeRedis* self = nullptr;
  std::atomic<bool> holds{false};
  FakeRedis server([&](const Command&) -> std::optional<FakeRedis::Act> {
    if (holds) self->hold();
    return std::nullopt;
  });
  self = &server;
  auto options = at(server);
  options.connect_budget = milliseconds(5);
  const auto clock = std::make_shared<ManualClock>();
  const auto tier = make_tier(options, clock);
  CHECK_FALSE(look_up(*tier, 1));
  holds = true;
  const TimePoint begin = clock->now();
  Asking asking;
  asking.ask(*tier, 1, begin + milliseconds(1));
  REQUIRE(eventually([&] { return server.held() == 1; }));
  REQUIRE(eventually([&] {
    if (clock->next_alarm() <= begin + milliseconds(60)) clock->advance_to_next_alarm();
    return tier->redis_stats().breaker == RedisBreaker::open;
  }));
  // A connection that comes up late counts from then on.
  CHECK(clock->now() - begin <= milliseconds(45));
  CHECK(clock->now() - begin >= milliseconds(24));
  CHECK(asking.all_ended());
  CHECK(tier->redis_stats().timeouts == 1);
}

TEST_CASE("redis tier: five silent look-ups open the breaker, then nothing waits and nothing is sent") {
  FakeRedis* self = nullptr;
  FakeRedis server(holding(self, "MGET"));
  self = &server;
  const auto clock = std::make_shared<ManualClock>();
  const auto tier = make_tier(at(server), clock);
  run_into_silence(*tier, *clock);
  const RedisCacheStats before = tier->redis_stats();
  // One of the silent look-ups may have met the open breaker already.
  Asking asking;
  for (std::uint64_t i = 0; i < 100; ++i) {
    asking.ask(*tier, i);
    CHECK(asking.all_ended());
    store(*tier, redis_entry(i, 1));
  }
  CHECK(tier->redis_stats().refused - before.refused == 100);
  CHECK(tier->redis_stats().dropped_open == 100);
  CHECK(tier->stats().dropped == 100);
  CHECK(tier->stats().troubled == 1);
  CHECK(tier->redis_stats().commands == before.commands);
  CHECK(tier->redis_stats().connections == before.connections);
}

TEST_CASE("redis tier: after its time one probe goes out, and a good one closes the breaker") {
  FakeRedis* self = nullptr;
  FakeRedis server(holding(self, "MGET"));
  self = &server;
  const auto clock = std::make_shared<ManualClock>();
  const auto tier = make_tier(at(server), clock);
  run_into_silence(*tier, *clock);
  server.release();
  clock->advance(milliseconds(500));
  CHECK_FALSE(look_up(*tier, 1));
  CHECK(tier->redis_stats().breaker == RedisBreaker::open);
  CHECK(server.seen("PING").empty());
  clock->advance(seconds(1));
  // The caller that starts the probe does not wait for it.
  Asking asking;
  asking.ask(*tier, 1);
  CHECK(asking.all_ended());
  REQUIRE(eventually([&] { return tier->redis_stats().breaker == RedisBreaker::closed; }));
  CHECK(server.seen("PING").size() == 1);
  REQUIRE(store_and_wait(*tier, redis_entry(1, 1)));
  CHECK(look_up(*tier, 1));
}

TEST_CASE("redis tier: a probe without answer opens the breaker for twice as long") {
  FakeRedis* self = nullptr;
  std::atomic<bool> dead{false};
  FakeRedis server([&](const Command& command) -> std::optional<FakeRedis::Act> {
    if (dead || command[0] == "MGET") self->hold();
    return std::nullopt;
  });
  self = &server;
  const auto clock = std::make_shared<ManualClock>();
  const auto tier = make_tier(at(server), clock);
  run_into_silence(*tier, *clock);
  dead = true;
  clock->advance(milliseconds(1300));
  CHECK_FALSE(look_up(*tier, 1));
  REQUIRE(eventually([&] { return tier->redis_stats().breaker == RedisBreaker::half_open; }));
  REQUIRE(eventually([&] {
    clock->advance_to_next_alarm();
    return tier->redis_stats().breaker == RedisBreaker::open;
  }));
  CHECK(tier->redis_stats().breaker_openings == 2);
  clock->advance(milliseconds(1300));
  CHECK_FALSE(look_up(*tier, 1));
  CHECK(tier->redis_stats().breaker == RedisBreaker::open);
}

TEST_CASE("redis tier: idle, it asks for no alarm and sends nothing, however long") {
  FakeRedis server;
  const auto clock = std::make_shared<ManualClock>();
  const auto tier = make_tier(at(server), clock);
  REQUIRE(store_and_wait(*tier, redis_entry(1, 1)));
  CHECK(look_up(*tier, 1));
  REQUIRE(eventually([&] {
    clock->advance_to_next_alarm();
    return clock->pending_alarms() == 0;
  }));
  const std::size_t before = server.commands();
  clock->advance(std::chrono::hours(24));
  CHECK(clock->pending_alarms() == 0);
  CHECK(server.commands() == before);
}

TEST_CASE("redis tier: what waits for a server is bounded, look-ups as well as writes") {
  FakeRedis* self = nullptr;
  FakeRedis server([&self](const Command& command) -> std::optional<FakeRedis::Act> {
    if (command[0] == "MGET" || command[0] == "SET") self->hold();
    return std::nullopt;
  });
  self = &server;
  auto options = at(server);
  options.write_queue_items = 100;
  const auto clock = std::make_shared<ManualClock>();
  const auto tier = make_tier(options, clock);
  Asking first;
  first.ask(*tier, 0);
  REQUIRE(eventually([&] { return server.held() == 1; }));
  std::vector<CacheKey> keys(1000, redis_key(1));
  std::atomic<int> ended{0};
  for (int i = 0; i < 10; ++i) {
    tier->get_many(keys, kNoDeadline, [&ended](const Slots& slots) {
      CHECK((slots.empty() || slots.size() == 1000));
      ++ended;
    });
  }
  CHECK(ended == 2);
  CHECK(tier->redis_stats().overflowed == 2000);
  for (std::uint64_t i = 0; i < 1000; ++i) store(*tier, redis_entry(i, 1));
  // Up to 256 writes are with the server, 100 wait.
  CHECK(tier->redis_stats().dropped_full <= 900);
  CHECK(tier->redis_stats().dropped_full >= 644);
  server.release();
  CHECK(eventually([&] { return ended == 10; }));
}

TEST_CASE("redis tier: it goes within its bound though the server is silent, and every look-up ends") {
  FakeRedis* self = nullptr;
  FakeRedis server(holding(self, "SET"));
  self = &server;
  const auto started = std::chrono::steady_clock::now();
  Asking asking;
  {
    const auto tier = make_tier(at(server), std::make_shared<ManualClock>());
    for (std::uint64_t i = 0; i < 50; ++i) asking.ask(*tier, i);
    store(*tier, redis_entry(1, 1));
  }
  CHECK(eventually([&] { return asking.all_ended(); }));  // later than the tier, if its thread got no core meanwhile
  CHECK(std::chrono::steady_clock::now() - started < seconds(10));
}

TEST_CASE("redis tier: it may go inside the callback of its own last look-up") {
  FakeRedis server;
  auto tier = make_tier(at(server));
  std::promise<void> promise;
  auto ended = promise.get_future();
  CacheTier& it = *tier;
  const CacheKey key = redis_key(1);
  auto kept = std::make_shared<std::shared_ptr<RedisCache>>(std::move(tier));
  it.get_many(std::span(&key, 1), kNoDeadline, [kept, &promise](const Slots&) {
    kept->reset();
    promise.set_value();
  });
  kept.reset();
  CHECK(ended.wait_for(seconds(20)) == std::future_status::ready);
}
