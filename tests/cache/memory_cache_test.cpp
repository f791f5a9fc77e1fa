#include "cache/memory_cache.hpp"

#include <doctest/doctest.h>
#include <malloc.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <random>

#include "base/wall_time.hpp"
#include "cache_fixtures.hpp"
#include "request/record_codec.hpp"
#include "support/manual_clock.hpp"

using namespace tidegate;
using namespace tidegate::test;
using std::chrono::hours;
using std::chrono::seconds;

namespace {

struct Fixture {
  explicit Fixture(std::uint64_t capacity, std::uint32_t shards = 1) : cache({capacity, shards}, clock) {}
  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>();
  MemoryCache cache;
};

}  // namespace

TEST_CASE("memory cache: a hit has the value and tells the life that is left") {
  Fixture f(1 << 20);
  const CacheEntry entry = entry_of(1, 100, seconds(10));
  CHECK_FALSE(f.cache.get(entry.key));
  f.cache.put(entry);
  f.clock->advance(seconds(4));
  const auto hit = f.cache.get(entry.key);
  REQUIRE(hit);
  CHECK(hit->key == entry.key);
  CHECK(std::ranges::equal(hit->record.bytes(), entry.record.bytes()));
  CHECK(hit->time_to_live == seconds(6));
  const CacheTierStats stats = f.cache.stats();
  CHECK(stats.hits == 1);
  CHECK(stats.misses == 1);
  CHECK(stats.inserted == 1);
  CHECK(stats.entries == 1);
}

TEST_CASE("memory cache: an entry is gone at the very moment it expires, and so are its bytes") {
  Fixture f(1 << 20);
  f.cache.put(entry_of(1, 500, seconds(10)));
  f.cache.erase(key_of(1));
  // The array of nodes and the index have their first part now.
  const std::uint64_t empty = f.cache.stats().bytes;
  f.cache.put(entry_of(1, 1000, seconds(10)));
  CHECK(f.cache.stats().bytes == empty + Arena::block_bytes(1000));
  f.clock->advance(seconds(10) - Duration(1));
  CHECK(f.cache.get(key_of(1)));
  f.clock->advance(Duration(1));
  CHECK_FALSE(f.cache.get(key_of(1)));
  const CacheTierStats stats = f.cache.stats();
  CHECK(stats.expired == 1);
  CHECK(stats.misses == 1);
  CHECK(stats.entries == 0);
  CHECK(stats.bytes == empty);
}

TEST_CASE("memory cache: lives of nothing, less than nothing and for ever") {
  Fixture f(1 << 20);
  f.cache.put(entry_of(1, 10, Duration(0)));
  f.cache.put(entry_of(2, 10, Duration::min()));
  f.cache.put(entry_of(3, 10, Duration::max()));
  f.cache.put(entry_of(4, 10, Duration(1)));
  CHECK_FALSE(f.cache.get(key_of(1)));
  CHECK_FALSE(f.cache.get(key_of(2)));
  CHECK(f.cache.get(key_of(4)));
  f.clock->advance(hours(24 * 365 * 100));
  CHECK(f.cache.get(key_of(3)));
  CHECK_FALSE(f.cache.get(key_of(4)));
}

TEST_CASE("memory cache: keys that differ in one bit are two keys") {
  Fixture f(1 << 20);
  const CacheKey base{};
  for (std::size_t bit = 0; bit < 256; ++bit) {
    CacheKey key = base;
    key[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    f.cache.put({key, block_of(16, bit), hours(1)});
  }
  CHECK_FALSE(f.cache.get(base));
  std::size_t wrong = 0;
  for (std::size_t bit = 0; bit < 256; ++bit) {
    CacheKey key = base;
    key[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    const auto hit = f.cache.get(key);
    if (!hit || mark_of(hit->record) != bit) ++wrong;
  }
  CHECK(wrong == 0);
}

TEST_CASE("memory cache: a put replaces what the key had") {
  Fixture f(1 << 20);
  f.cache.put(entry_of(1, 5000, seconds(1)));
  const std::uint64_t large = f.cache.stats().bytes;
  f.cache.put({key_of(1), block_of(100, 77), seconds(20)});
  f.clock->advance(seconds(10));
  const auto hit = f.cache.get(key_of(1));
  REQUIRE(hit);
  CHECK(mark_of(hit->record) == 77);
  CHECK(f.cache.stats().entries == 1);
  CHECK(f.cache.stats().bytes == large - Arena::block_bytes(5000) + Arena::block_bytes(100));
}

TEST_CASE("memory cache: an entry above an eighth of a shard is refused and takes its older answer with it") {
  Fixture f(1 << 20);
  f.cache.put(entry_of(1, 100));
  f.cache.put({key_of(1), block_of((1 << 20) / 8, 2), hours(1)});
  CHECK_FALSE(f.cache.get(key_of(1)));
  CHECK(f.cache.stats().rejected == 1);
  CHECK(f.cache.stats().evicted == 0);
  f.cache.put(entry_of(2, (1 << 20) / 8 - 400));
  CHECK(f.cache.get(key_of(2)));
}

TEST_CASE("memory cache: capacity 0 is off, and a capacity too small for anything refuses everything") {
  Fixture off(0, 8);
  off.cache.put(entry_of(1, 10));
  CHECK_FALSE(off.cache.get(key_of(1)));
  off.cache.erase(key_of(1));
  CHECK(off.cache.stats().rejected == 0);
  CHECK(off.cache.stats().misses == 0);
  CHECK(off.cache.stats().bytes == 0);
  for (const std::uint64_t capacity : {1U, 100U, 4095U}) {
    Fixture tiny(capacity, 256);
    tiny.cache.put(entry_of(1, 10));
    CHECK_FALSE(tiny.cache.get(key_of(1)));
    CHECK(tiny.cache.stats().rejected == 1);
    CHECK(tiny.cache.stats().bytes == 0);
  }
}

TEST_CASE("memory cache: bytes stay within every capacity, however small, for every number of shards") {
  for (std::uint64_t capacity = 4096; capacity < (1U << 20); capacity = capacity * 5 / 3 + 1) {
    for (std::uint32_t shards = 1; shards <= 256; shards *= 2) {
      Fixture f(capacity, shards);
      CHECK(f.cache.stats().bytes <= capacity);
      for (std::uint64_t i = 0; i < 300; ++i) f.cache.put(entry_of(i, (i * 37) % 700));
      const CacheTierStats stats = f.cache.stats();
      CHECK(stats.bytes <= capacity);
      CHECK(stats.inserted + stats.rejected == 300);
      CHECK(stats.entries == stats.inserted - stats.evicted);
    }
  }
}

TEST_CASE("memory cache: a held value stays, whole, after eviction, replacement, erasure, clear and the cache's end") {
  for (int end = 0; end < 5; ++end) {
    CAPTURE(end);
    auto f = std::make_unique<Fixture>(64 << 10);
    f->cache.put(entry_of(1, 4000));
    auto hit = f->cache.find(key_of(1));
    REQUIRE(hit);
    const HeldValue held = hit->value;
    hit.reset();
    if (end == 0) {
      for (std::uint64_t i = 100; i < 300; ++i) f->cache.put(entry_of(i, 4000));
    } else if (end == 1) {
      f->cache.put({key_of(1), block_of(4000, 2), hours(1)});
      CHECK(mark_of(f->cache.get(key_of(1))->record) == 2);
    } else if (end == 2) {
      f->cache.erase(key_of(1));
    } else if (end == 3) {
      f->cache.clear();
      CHECK(f->cache.stats().entries == 0);
    } else {
      f.reset();
    }
    if (f != nullptr) {
      CHECK(f->cache.stats().pinned >= 4000);
      CHECK(f->cache.stats().bytes <= 64 << 10);
    }
    CHECK(held.key() == key_of(1));
    CHECK(std::ranges::equal(held.bytes(), block_of(4000, 1).bytes()));
  }
}

TEST_CASE("memory cache: the last holder gives the memory back, whoever that is") {
  Fixture f(64 << 10);
  f.cache.put(entry_of(1, 4000));
  std::optional<HeldValue> first = f.cache.find(key_of(1))->value;
  std::optional<HeldValue> second = first;
  f.cache.erase(key_of(1));
  const std::uint64_t held = f.cache.stats().bytes;
  first.reset();
  CHECK(f.cache.stats().bytes == held);
  second.reset();
  CHECK(f.cache.stats().bytes == held - Arena::block_bytes(4000));
  CHECK(f.cache.stats().pinned == 0);
}

TEST_CASE("memory cache: when held values of entries that left take a quarter of a shard, nothing is stored") {
  Fixture f(256 << 10);
  std::vector<HeldValue> held;
  std::uint64_t number = 0;
  while (f.cache.stats().rejected == 0) {
    f.cache.put(entry_of(++number, 4000));
    if (auto hit = f.cache.find(key_of(number))) held.push_back(std::move(hit->value));
    f.cache.erase(key_of(number));
    REQUIRE(f.cache.stats().bytes <= 256 << 10);
  }
  CHECK(f.cache.stats().pinned > 64 << 10);
  CHECK(f.cache.stats().pinned < 72 << 10);
  held.pop_back();
  held.pop_back();
  f.cache.put(entry_of(++number, 4000));
  CHECK(f.cache.get(key_of(number)));
}

TEST_CASE("memory cache: a stored record comes out as a record with the life that is left") {
  Fixture f(1 << 20);
  const std::vector<Tensor> outputs{Tensor::vector_of(std::vector<float>{1, 2, 3})};
  const std::int64_t now = unix_milliseconds();
  f.cache.put(
      {key_of(1), encode_record(key_of(1), outputs, now + 100'000, std::chrono::milliseconds(3)), seconds(100)});
  f.clock->advance(seconds(40));
  const auto entry = f.cache.get(key_of(1));
  REQUIRE(entry);
  const auto expiry = verify_record(key_of(1), entry->record.bytes());
  REQUIRE(expiry);
  CHECK(*expiry >= now + 60'000);
  CHECK(*expiry <= unix_milliseconds() + 60'000);
  CHECK(entry->recompute_cost > std::chrono::microseconds(2800));
  CHECK(entry->recompute_cost <= std::chrono::milliseconds(3));
  auto hit = f.cache.find(key_of(1));
  auto decoded = std::move(hit->value).outputs();
  REQUIRE(decoded);
  hit.reset();
  f.cache.clear();
  CHECK(decoded->front().as<float>()[2] == 3);
  // Another key's record is a plain value: kept, but no answer.
  f.cache.put({key_of(2), encode_record(key_of(1), outputs, 0), seconds(100)});
  CHECK_FALSE(std::move(f.cache.find(key_of(2))->value).outputs());
}

TEST_CASE("memory cache: for_each shows every living entry once") {
  Fixture f(1 << 20, 4);
  for (std::uint64_t i = 0; i < 500; ++i) f.cache.put(entry_of(i, 100 + i, seconds(i % 2 == 0 ? 10 : 1000)));
  f.clock->advance(seconds(20));
  std::map<CacheKey, std::uint64_t> seen;
  for_each_entry(f.cache, [&](const CacheEntry& entry) {
    ++seen[entry.key];
    CHECK(entry.time_to_live == seconds(980));
    CHECK(entry.record.bytes().size() == 100 + mark_of(entry.record));
    f.cache.erase(entry.key);  // no lock is held
  });
  CHECK(seen.size() == 250);
  CHECK(f.cache.stats().pinned == 0);
}

TEST_CASE("memory cache: expired entries go little by little while others are stored") {
  Fixture f(1 << 20);
  for (std::uint64_t i = 0; i < 200; ++i) f.cache.put(entry_of(i, 100, seconds(1)));
  f.clock->advance(seconds(2));
  for (std::uint64_t i = 0; i < 200; ++i) f.cache.put(entry_of(1000 + i % 2, 100));
  CHECK(f.cache.stats().entries == 2);
}

TEST_CASE("memory cache: as a tier it answers each key in its slot, before get_many returns") {
  Fixture f(1 << 20, 2);
  const std::vector<CacheEntry> entries{entry_of(1, 10), entry_of(2, 20), entry_of(3, 30)};
  CacheTier& tier = f.cache;
  tier.put_many(entries);
  const std::vector<CacheKey> gone{key_of(2)};
  tier.erase_many(gone);
  const std::vector<CacheKey> keys{key_of(3), key_of(2), key_of(1), key_of(3)};
  std::vector<std::optional<CacheEntry>> answer;
  tier.get_many(keys, kNoDeadline, [&answer](auto found) { answer = std::move(found); });
  REQUIRE(answer.size() == 4);
  CHECK(mark_of(answer[0]->record) == 3);
  CHECK_FALSE(answer[1]);
  CHECK(mark_of(answer[2]->record) == 1);
  CHECK(answer[3]->key == key_of(3));
  CHECK(tier.name() == "memory");
  tier.get_many({}, kNoDeadline, [&answer](auto found) { answer = std::move(found); });
  CHECK(answer.empty());
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
namespace {

std::uint64_t resident_bytes() {
  std::uint64_t all = 0;
  std::uint64_t resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * 4096;
}

}  // namespace

TEST_CASE("memory cache: what is resident stays within 3 percent and 1 MiB of the budget, and follows a smaller one") {
  for (const std::size_t largest : {300U, 2000U, 20000U}) {
    constexpr std::uint64_t kCapacity = 32 << 20;
    std::mt19937_64 random(largest);
    Fixture f(kCapacity, 8);
    malloc_trim(0);
    const std::uint64_t before = resident_bytes();
    const auto grown = [before] { return resident_bytes() - std::min(before, resident_bytes()); };
    std::vector<HeldValue> held(64);
    for (std::uint64_t i = 0; i < 4 * kCapacity / (largest / 2); ++i) {
      const std::uint64_t key = random() % (kCapacity / largest * 8);
      if (auto hit = f.cache.find(key_of(key))) held[random() % held.size()] = std::move(hit->value);
      f.cache.put(entry_of(key, random() % largest));
      if (i % 16 == 0) f.cache.erase(key_of(random() % 1000));
    }
    CHECK(f.cache.stats().evicted > 0);
    CHECK(grown() <= kCapacity + kCapacity * 3 / 100 + (1 << 20));
    // A full cache really uses its budget.
    CHECK(f.cache.stats().bytes >= kCapacity * 9 / 10);
    held.clear();
    f.cache.resize(kCapacity / 4);
    CHECK(f.cache.stats().entries > 0);
    CHECK(f.cache.stats().bytes <= kCapacity / 4);
    CHECK(grown() <= kCapacity / 4 + kCapacity / 100 + (1 << 20));
  }
}
#endif
