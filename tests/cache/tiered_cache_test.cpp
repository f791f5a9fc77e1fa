#include "cache/tiered_cache.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "cache_fixtures.hpp"
#include "fake_tiers.hpp"
#include "support/manual_clock.hpp"

using namespace tidegate;
using namespace tidegate::test;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;

namespace {

struct Chain {
  explicit Chain(std::vector<std::shared_ptr<CacheTier>> tiers, CacheOptions options = {}) {
    options.tiers = std::move(tiers);
    cache = std::make_unique<TieredCache>(std::move(options), clock);
  }

  struct Outcome {
    int calls = 0;
    std::optional<CacheHit> hit;
  };
  std::shared_ptr<Outcome> ask(const CacheKey& key, Deadline deadline = kNoDeadline) {
    auto outcome = std::make_shared<Outcome>();
    cache->get_further(key, deadline, [outcome](std::optional<CacheHit> hit) {
      ++outcome->calls;
      outcome->hit = std::move(hit);
    });
    return outcome;
  }

  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>();
  std::unique_ptr<TieredCache> cache;
};

}  // namespace

TEST_CASE("tiered cache: what was put is read back from memory, the same bits, until it expires") {
  Chain chain({});
  CHECK_FALSE(chain.cache->has_further_tiers());
  CHECK_FALSE(chain.cache->get_in_memory(key_of(1)));
  chain.cache->put(key_of(1), answer_of(0.1F));
  const auto hit = chain.cache->get_in_memory(key_of(1));
  REQUIRE(hit);
  CHECK(hit->tier == 0);
  CHECK(value_of(hit->outputs) == 0.1F);
  chain.clock->advance(hours(1));
  CHECK_FALSE(chain.cache->get_in_memory(key_of(1)));
  CHECK(value_of(hit->outputs) == 0.1F);
}

TEST_CASE("tiered cache: lives are shortened by at most the jitter, spread evenly, alike in every tier and each time") {
  const auto tier = std::make_shared<ScriptedTier>("tier");
  CacheOptions options;
  options.time_to_live = minutes(100);
  options.time_to_live_jitter_percent = 20;
  Chain chain({tier}, options);
  std::size_t in_quarter[4]{};
  for (std::uint64_t key = 0; key < 400; ++key) {
    chain.cache->put(key_of(key), answer_of(1));
    const Duration life = tier->stored(key_of(key))->time_to_live;
    REQUIRE(life > minutes(80));
    REQUIRE(life <= minutes(100));
    ++in_quarter[std::min<std::int64_t>((life - minutes(80)) / minutes(5), 3)];
    chain.cache->put(key_of(key), answer_of(2));
    CHECK(tier->stored(key_of(key))->time_to_live == life);
  }
  for (const std::size_t count : in_quarter) CHECK(count > 60);
  const Duration first = tier->stored(key_of(0))->time_to_live;
  chain.clock->advance(first - Duration(1));
  CHECK(chain.cache->get_in_memory(key_of(0)));
  chain.clock->advance(Duration(1));
  CHECK_FALSE(chain.cache->get_in_memory(key_of(0)));
}

TEST_CASE("tiered cache: with memory off and no tiers it stores and finds nothing") {
  CacheOptions options;
  options.memory.capacity_bytes = 0;
  Chain chain({}, options);
  chain.cache->put(key_of(1), answer_of(1));
  CHECK_FALSE(chain.cache->get_in_memory(key_of(1)));
  const auto outcome = chain.ask(key_of(1));
  CHECK(outcome->calls == 1);
  CHECK_FALSE(outcome->hit);
  CHECK(chain.cache->tier_names() == std::vector<std::string_view>{"memory"});
}

TEST_CASE("tiered cache: a put reaches every tier with its life and a record that decodes") {
  const auto near = std::make_shared<ScriptedTier>("near");
  const auto far = std::make_shared<ScriptedTier>("far");
  CacheOptions options;
  options.time_to_live = minutes(7);
  options.time_to_live_jitter_percent = 0;
  Chain chain({near, far}, options);
  chain.cache->put(key_of(1), answer_of(3));
  for (const auto& tier : {near, far}) {
    const auto entry = tier->stored(key_of(1));
    REQUIRE(entry);
    CHECK(entry->time_to_live == minutes(7));
    auto outputs = decode_record(key_of(1), entry->record, ChecksumPolicy::verify);
    REQUIRE(outputs);
    CHECK(value_of(*outputs) == 3);
  }
  CHECK(near->stored(key_of(1))->record.block() == far->stored(key_of(1))->record.block());
  CHECK(chain.cache->tier_names() == std::vector<std::string_view>{"memory", "near", "far"});
  const auto stats = chain.cache->stats();
  REQUIRE(stats.size() == 3);
  CHECK(stats[0].inserted == 1);
  CHECK(stats[1].inserted == 1);
  CHECK(stats[2].inserted == 1);
}

TEST_CASE("tiered cache: tiers are asked in order, and a hit fills the nearer ones with the life that is left") {
  const auto first = std::make_shared<ScriptedTier>("first");
  const auto second = std::make_shared<ScriptedTier>("second");
  const auto third = std::make_shared<ScriptedTier>("third");
  Chain chain({first, second, third});
  const CacheEntry entry = stored_answer(key_of(1), 5, minutes(2));
  second->put_many(std::span(&entry, 1));

  const auto outcome = chain.ask(key_of(1));
  CHECK(outcome->calls == 1);
  REQUIRE(outcome->hit);
  CHECK(outcome->hit->tier == 2);
  CHECK(value_of(outcome->hit->outputs) == 5);
  CHECK(third->lookups() == 0);
  CHECK_FALSE(third->stored(key_of(1)));
  REQUIRE(first->stored(key_of(1)));
  CHECK(first->stored(key_of(1))->time_to_live == minutes(2));
  CHECK(chain.clock->pending_alarms() == 0);

  REQUIRE(chain.cache->get_in_memory(key_of(1)));
  chain.clock->advance(minutes(2));
  CHECK_FALSE(chain.cache->get_in_memory(key_of(1)));

  const auto stats = chain.cache->stats();
  CHECK(stats[1].misses == 1);
  CHECK(stats[1].inserted == 1);
  CHECK(stats[2].hits == 1);
  CHECK(stats[3].hits + stats[3].misses == 0);
}

TEST_CASE("tiered cache: a tier cannot lengthen life beyond the chain's own") {
  const auto tier = std::make_shared<ScriptedTier>("tier");
  CacheOptions options;
  options.time_to_live = minutes(1);
  Chain chain({tier}, options);
  const CacheEntry entry = stored_answer(key_of(1), 5, Duration::max());
  tier->put_many(std::span(&entry, 1));
  CHECK(chain.ask(key_of(1))->hit);
  chain.clock->advance(minutes(1) - Duration(1));
  CHECK(chain.cache->get_in_memory(key_of(1)));
  chain.clock->advance(Duration(1));
  CHECK_FALSE(chain.cache->get_in_memory(key_of(1)));
}

TEST_CASE("tiered cache: a miss everywhere is one empty answer and no alarm left behind") {
  const auto first = std::make_shared<ScriptedTier>("first");
  const auto second = std::make_shared<ScriptedTier>("second");
  Chain chain({first, second});
  const auto outcome = chain.ask(key_of(1));
  CHECK(outcome->calls == 1);
  CHECK_FALSE(outcome->hit);
  CHECK(first->lookups() == 1);
  CHECK(second->lookups() == 1);
  CHECK(chain.clock->pending_alarms() == 0);
}

TEST_CASE(
    "tiered cache: a slow tier is awaited for the budget or a fifth of the time to the deadline, whichever is "
    "shorter") {
  const auto held = std::make_shared<HeldTier>("held");
  Chain chain({held});
  const auto by_budget = chain.ask(key_of(1));
  const auto by_deadline = chain.ask(key_of(2), chain.clock->now() + milliseconds(10));
  CHECK(held->take()->deadline == chain.clock->now() + milliseconds(5));
  CHECK(held->take()->deadline == chain.clock->now() + milliseconds(2));
  chain.clock->advance(milliseconds(2) - Duration(1));
  CHECK(by_deadline->calls == 0);
  chain.clock->advance(Duration(1));
  CHECK(by_deadline->calls == 1);
  CHECK(by_budget->calls == 0);
  chain.clock->advance(milliseconds(3));
  CHECK(by_budget->calls == 1);
  CHECK_FALSE(by_budget->hit);
  CHECK(chain.cache->stats()[1].misses == 2);
}

TEST_CASE("tiered cache: past the deadline, or without a budget, no tier is asked") {
  const auto tier = std::make_shared<ScriptedTier>("tier");
  Chain chain({tier});
  CHECK(chain.ask(key_of(1), chain.clock->now())->calls == 1);
  CHECK(chain.ask(key_of(1), TimePoint::min())->calls == 1);
  CacheOptions options;
  options.lookup_budget = Duration(0);
  Chain without({tier}, options);
  CHECK(without.ask(key_of(1))->calls == 1);
  CHECK(tier->lookups() == 0);
  options.lookup_budget = Duration::max();
  Chain unbounded({tier}, options);
  CHECK(unbounded.ask(key_of(1))->calls == 1);
  CHECK(tier->lookups() == 1);
}

TEST_CASE("tiered cache: the budget is one for all tiers together") {
  const auto first = std::make_shared<HeldTier>("first");
  const auto second = std::make_shared<HeldTier>("second");
  Chain chain({first, second});
  const auto outcome = chain.ask(key_of(1));
  CHECK_FALSE(second->take());
  chain.clock->advance(milliseconds(4));
  first->take()->done({std::nullopt});
  CHECK(outcome->calls == 0);
  const auto asked = second->take();
  REQUIRE(asked);
  CHECK(asked->deadline == chain.clock->now() + milliseconds(1));
  chain.clock->advance(milliseconds(1));
  CHECK(outcome->calls == 1);
}

TEST_CASE("tiered cache: a tier that takes long is waited for beside the next one, and the first hit counts") {
  const auto slow = std::make_shared<HeldTier>("slow");
  const auto next = std::make_shared<HeldTier>("next");
  const auto last = std::make_shared<ScriptedTier>("last");
  last->put_many(std::vector{stored_answer(key_of(2), 2)});
  Chain chain({slow, next, last});
  const auto one = chain.ask(key_of(1));
  chain.clock->advance(milliseconds(1));
  CHECK_FALSE(next->take());
  chain.clock->advance(std::chrono::microseconds(250));  // a quarter of the budget
  auto asked = next->take();
  REQUIRE(asked);
  CHECK(asked->deadline == chain.clock->now() + std::chrono::microseconds(3750));
  SUBCASE("the next one's") {
    asked->done({stored_answer(key_of(1), 7)});
    REQUIRE(one->hit);
    CHECK(one->hit->tier == 2);
    CHECK_FALSE(slow->stored(key_of(1)));  // it may have the answer, too
    CHECK(chain.clock->pending_alarms() == 0);
    slow->take()->done({stored_answer(key_of(1), 8)});
    CHECK(one->calls == 1);
    CHECK(chain.cache->stats()[1].hits == 0);
    CHECK(chain.cache->stats()[1].misses == 1);
  }
  SUBCASE("the slow one's") {
    slow->take()->done({stored_answer(key_of(1), 8)});
    REQUIRE(one->hit);
    CHECK(one->hit->tier == 1);
    CHECK(last->lookups() == 0);
  }
  SUBCASE("nobody's, which is known when the last has answered") {
    asked->done({std::nullopt});
    CHECK(last->lookups() == 0);
    CHECK(one->calls == 0);
    slow->take()->done({std::nullopt});
    CHECK(last->lookups() == 1);
    CHECK(one->calls == 1);
    CHECK_FALSE(one->hit);
    CHECK(chain.clock->pending_alarms() == 0);
  }
  SUBCASE("of tiers that hang one after the other") {
    const auto two = chain.ask(key_of(2));
    chain.clock->advance(std::chrono::microseconds(1250));
    CHECK_FALSE(two->hit);
    chain.clock->advance(std::chrono::microseconds(1250));
    REQUIRE(two->hit);
    CHECK(two->hit->tier == 3);
    CHECK(value_of(two->hit->outputs) == 2);
  }
}

TEST_CASE("tiered cache: an answer after the budget completes nothing twice, but fills the memory") {
  const auto near = std::make_shared<ScriptedTier>("near");
  const auto held = std::make_shared<HeldTier>("held");
  Chain chain({near, held});
  const auto outcome = chain.ask(key_of(1));
  chain.clock->advance(milliseconds(5));
  CHECK(outcome->calls == 1);
  held->take()->done({stored_answer(key_of(1), 9)});
  CHECK(outcome->calls == 1);
  CHECK_FALSE(outcome->hit);
  const auto hit = chain.cache->get_in_memory(key_of(1));
  REQUIRE(hit);
  CHECK(value_of(hit->outputs) == 9);
  CHECK(near->stored(key_of(1)));
  CHECK(chain.cache->stats()[2].hits == 0);
  CHECK(chain.cache->stats()[2].misses == 1);
}

TEST_CASE("tiered cache: a late miss asks no further tier") {
  const auto held = std::make_shared<HeldTier>("held");
  const auto last = std::make_shared<ScriptedTier>("last");
  Chain chain({held, held, held, held, last});  // there is patience for four
  const auto outcome = chain.ask(key_of(1));
  chain.clock->advance(milliseconds(5));
  CHECK(outcome->calls == 1);
  while (auto late = held->take()) late->done({std::nullopt});
  CHECK(outcome->calls == 1);
  CHECK(last->lookups() == 0);
}

TEST_CASE("tiered cache: a look-up that outlives the cache ends as one miss") {
  const auto held = std::make_shared<HeldTier>("held");
  Chain chain({held});
  const auto answered = chain.ask(key_of(1));
  const auto timed_out = chain.ask(key_of(2));
  const auto forgotten = chain.ask(key_of(3));
  chain.cache.reset();
  held->take()->done({stored_answer(key_of(1), 1)});
  CHECK(answered->calls == 1);
  CHECK_FALSE(answered->hit);
  (void)held->take();
  chain.clock->advance(milliseconds(5));
  CHECK(timed_out->calls == 1);
  CHECK(forgotten->calls == 1);
}

TEST_CASE("tiered cache: when tier and clock both let go of a look-up it is still answered") {
  const auto dropping = std::make_shared<ScriptedTier>("dropping", [](auto, auto, auto) {});
  Chain chain({dropping});
  const auto outcome = chain.ask(key_of(1));
  CHECK(outcome->calls == 0);
  chain.cache.reset();
  chain.clock.reset();
  CHECK(outcome->calls == 1);
  CHECK_FALSE(outcome->hit);
}

TEST_CASE("tiered cache: answers and alarms that race complete each look-up once") {
  constexpr int kLookups = 4000;
  const auto held = std::make_shared<HeldTier>("held");
  const auto second = std::make_shared<ScriptedTier>("second");
  Chain chain({held, second});
  std::vector<std::atomic<int>> calls(kLookups);
  std::atomic<int> asked{0};
  std::atomic<int> wrong{0};
  std::atomic<bool> stop{false};

  std::thread tier_thread([&] {
    int answered = 0;
    while (answered < kLookups) {
      auto lookup = held->take();
      if (!lookup) {
        std::this_thread::yield();
        continue;
      }
      const bool hit = answered++ % 2 == 0;
      lookup->done({hit ? std::optional(stored_answer(lookup->key, 4)) : std::nullopt});
    }
    stop = true;
  });
  std::thread clock_thread([&] {
    while (!stop) chain.clock->advance(milliseconds(1));
  });
  for (int i = 0; i < kLookups; ++i) {
    chain.cache->get_further(key_of(static_cast<std::uint64_t>(i)), kNoDeadline, [&, i](std::optional<CacheHit> hit) {
      ++calls[static_cast<std::size_t>(i)];
      if (hit && (hit->tier != 1 || value_of(hit->outputs) != 4)) ++wrong;
    });
    ++asked;
  }
  tier_thread.join();
  clock_thread.join();
  chain.clock->advance(milliseconds(10));
  int once = 0;
  for (const auto& count : calls) once += count == 1 ? 1 : 0;
  CHECK(once == kLookups);
  CHECK(wrong == 0);
}
