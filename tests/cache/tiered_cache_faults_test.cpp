// Tiers that break their contract, and what the chain makes of them.
#include <doctest/doctest.h>

#include <stdexcept>

#include "cache/memory_cache.hpp"
#include "cache/tiered_cache.hpp"
#include "cache_fixtures.hpp"
#include "fake_tiers.hpp"
#include "support/manual_clock.hpp"

using namespace tidegate;
using namespace tidegate::test;
using std::chrono::milliseconds;
using std::chrono::minutes;

namespace {

using Slots = std::vector<std::optional<CacheEntry>>;

/// Puts a tier with this script in front of one that knows the answer, asks, and says
/// which tier answered (-1 = none). Checks that exactly one answer comes, at once.
class Ask {
 public:
  explicit Ask(ScriptedTier::Script script) {
    const CacheEntry entry = stored_answer(key_of(1), 8);
    good_->put_many(std::span(&entry, 1));
    CacheOptions options;
    options.tiers = {std::make_shared<ScriptedTier>("bad", std::move(script)), good_};
    cache_ = std::make_unique<TieredCache>(std::move(options), clock_);
    cache_->get_further(key_of(1), kNoDeadline, [this](std::optional<CacheHit> hit) {
      ++calls_;
      if (!hit) return;
      tier = hit->tier;
      value = value_of(hit->outputs);
    });
    CHECK(calls_ == 1);
    clock_->advance(minutes(1));
    CHECK(calls_ == 1);
    bad = cache_->stats()[1];
  }

  int tier = -1;
  float value = 0;
  CacheTierStats bad;

 private:
  std::shared_ptr<ManualClock> clock_ = std::make_shared<ManualClock>();
  std::shared_ptr<ScriptedTier> good_ = std::make_shared<ScriptedTier>("good");
  std::unique_ptr<TieredCache> cache_;
  int calls_ = 0;
};

CacheRecord with_flipped_byte(const CacheRecord& record, std::size_t at) {
  auto block = std::make_shared<std::vector<std::byte>>(record.bytes().begin(), record.bytes().end());
  (*block)[at] ^= std::byte{0x10};
  return CacheRecord(std::move(block));
}

}  // namespace

TEST_CASE("tiered cache: a tier that throws is a miss, and the next one is asked") {
  const Ask before([](auto, auto, auto) { throw std::runtime_error("down"); });
  CHECK(before.tier == 2);
  CHECK(before.value == 8);
  CHECK(before.bad.misses == 1);
  const Ask not_even_an_exception([](auto, auto, auto) { throw 1; });
  CHECK(not_even_an_exception.tier == 2);
}

TEST_CASE("tiered cache: a tier that answers and then throws has answered") {
  const Ask ask([](auto keys, auto, auto done) {
    done(Slots{stored_answer(keys[0], 6)});
    throw std::runtime_error("too late");
  });
  CHECK(ask.tier == 1);
  CHECK(ask.value == 6);
}

TEST_CASE("tiered cache: only the first of two answers counts") {
  const Ask hit_then_hit([](auto keys, auto, auto done) {
    const CacheKey key = keys[0];
    done(Slots{stored_answer(key, 6)});
    done(Slots{stored_answer(key, 7)});
  });
  CHECK(hit_then_hit.value == 6);
  CHECK(hit_then_hit.bad.hits == 1);
  const Ask miss_then_hit([](auto keys, auto, auto done) {
    const CacheKey key = keys[0];
    done(Slots{std::nullopt});
    done(Slots{stored_answer(key, 7)});
  });
  CHECK(miss_then_hit.tier == 2);
  CHECK(miss_then_hit.value == 8);
}

TEST_CASE("tiered cache: an answer with the wrong number of slots is a miss") {
  const Ask none([](auto, auto, auto done) { done(Slots{}); });
  CHECK(none.tier == 2);
  const Ask two([](auto keys, auto, auto done) { done(Slots{stored_answer(keys[0], 6), stored_answer(keys[0], 7)}); });
  CHECK(two.tier == 2);
  CHECK(two.bad.misses == 1);
}

TEST_CASE("tiered cache: another key's entry is discarded, whatever it claims to be") {
  const Ask honest([](auto, auto, auto done) { done(Slots{stored_answer(key_of(2), 6)}); });
  CHECK(honest.tier == 2);
  CHECK(honest.bad.misses == 1);
  const Ask mislabelled([](auto keys, auto, auto done) {
    CacheEntry entry = stored_answer(key_of(2), 6);
    entry.key = keys[0];
    done(Slots{entry});
  });
  CHECK(mislabelled.tier == 2);
  CHECK(mislabelled.value == 8);
}

TEST_CASE("tiered cache: an expired entry is discarded and counted") {
  for (const Duration life : {Duration(0), Duration(-1), Duration::min()}) {
    const Ask ask([life](auto keys, auto, auto done) { done(Slots{stored_answer(keys[0], 6, life)}); });
    CHECK(ask.tier == 2);
    CHECK(ask.bad.misses == 1);
    CHECK(ask.bad.expired == 1);
  }
}

TEST_CASE("tiered cache: a record that is damaged anywhere, or empty, is discarded") {
  const std::size_t size = stored_answer(key_of(1), 6).record.bytes().size();
  for (std::size_t at = 0; at < size; ++at) {
    const Ask ask([at](auto keys, auto, auto done) {
      CacheEntry entry = stored_answer(keys[0], 6);
      entry.record = with_flipped_byte(entry.record, at);
      done(Slots{entry});
    });
    CHECK(ask.tier == 2);
    CHECK(ask.value == 8);
  }
  const Ask empty([](auto keys, auto, auto done) { done(Slots{CacheEntry{keys[0], CacheRecord(), minutes(1)}}); });
  CHECK(empty.tier == 2);
}

TEST_CASE("tiered cache: a tier that throws on put keeps the answer from nobody else") {
  class Refusing final : public CacheTier {
   public:
    [[nodiscard]] std::string_view name() const noexcept override { return "refusing"; }
    void get_many(std::span<const CacheKey> keys, Deadline, Lookup done) override { done(Slots(keys.size())); }
    void put_many(std::span<const CacheEntry>) override { throw std::runtime_error("full"); }
    void erase_many(std::span<const CacheKey>) override {}
  };
  const auto clock = std::make_shared<ManualClock>();
  const auto good = std::make_shared<ScriptedTier>("good");
  CacheOptions options;
  options.tiers = {std::make_shared<Refusing>(), good};
  TieredCache cache(options, clock);
  cache.put(key_of(1), answer_of(2));
  CHECK(good->stored(key_of(1)));
  CHECK(cache.get_in_memory(key_of(1)));
  CHECK(cache.stats()[1].inserted == 0);
  CHECK(cache.stats()[2].inserted == 1);

  TieredCache fresh(options, clock);
  std::optional<CacheHit> hit;
  fresh.get_further(key_of(1), kNoDeadline, [&hit](std::optional<CacheHit> found) { hit = std::move(found); });
  REQUIRE(hit);
  CHECK(hit->tier == 2);
}

TEST_CASE("tiered cache: a silent tier costs the budget, never the answer") {
  const auto clock = std::make_shared<ManualClock>();
  std::vector<CacheTier::Lookup> kept;
  CacheOptions options;
  options.tiers = {
      std::make_shared<ScriptedTier>("silent", [&kept](auto, auto, auto done) { kept.push_back(std::move(done)); }),
      std::make_shared<ScriptedTier>("never asked")};
  TieredCache cache(options, clock);
  int calls = 0;
  for (std::uint64_t i = 0; i < 100; ++i) {
    cache.get_further(key_of(i), kNoDeadline, [&calls](std::optional<CacheHit> hit) {
      CHECK_FALSE(hit);
      ++calls;
    });
  }
  CHECK(calls == 0);
  clock->advance(milliseconds(5));
  CHECK(calls == 100);
  CHECK(clock->pending_alarms() == 0);
}

TEST_CASE("tiered cache: a memory cache serves as a further tier too") {
  const auto clock = std::make_shared<ManualClock>();
  const auto second = std::make_shared<MemoryCache>(MemoryCacheOptions{1 << 20, 2}, clock);
  CacheOptions options;
  options.memory.capacity_bytes = 8192;
  options.memory.shards = 1;
  options.tiers = {second};
  TieredCache cache(options, clock);
  for (std::uint64_t i = 0; i < 200; ++i) cache.put(key_of(i), answer_of(static_cast<float>(i)));
  std::size_t from_memory = 0;
  std::size_t from_second = 0;
  for (std::uint64_t i = 0; i < 200; ++i) {
    if (const auto near = cache.get_in_memory(key_of(i))) {
      ++from_memory;
      CHECK(value_of(near->outputs) == static_cast<float>(i));
      continue;
    }
    cache.get_further(key_of(i), kNoDeadline, [&, i](std::optional<CacheHit> hit) {
      REQUIRE(hit);
      CHECK(value_of(hit->outputs) == static_cast<float>(i));
      ++from_second;
    });
  }
  CHECK(from_memory + from_second == 200);
  CHECK(from_second > 100);
}
