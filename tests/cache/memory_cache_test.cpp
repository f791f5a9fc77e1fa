#include "cache/memory_cache.hpp"

#include <doctest/doctest.h>
#include <malloc.h>

#include <random>

#include "cache/heap_charge.hpp"
#include "cache_fixtures.hpp"
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

TEST_CASE("memory cache: a hit shares the block and tells the life that is left") {
  Fixture f(1 << 20);
  const CacheEntry entry = entry_of(1, 100, seconds(10));
  CHECK_FALSE(f.cache.get(entry.key));
  f.cache.put(entry);
  f.clock->advance(seconds(4));
  const auto hit = f.cache.get(entry.key);
  REQUIRE(hit);
  CHECK(hit->key == entry.key);
  CHECK(hit->record.block() == entry.record.block());
  CHECK(hit->time_to_live == seconds(6));
  const CacheTierStats stats = f.cache.stats();
  CHECK(stats.hits == 1);
  CHECK(stats.misses == 1);
  CHECK(stats.inserted == 1);
  CHECK(stats.entries == 1);
}

TEST_CASE("memory cache: an entry is gone at the very moment it expires, and so are its bytes") {
  Fixture f(1 << 20);
  const std::uint64_t empty = f.cache.stats().bytes;
  f.cache.put(entry_of(1, 1000, seconds(10)));
  CHECK(f.cache.stats().bytes == empty + MemoryCache::charge_of(block_of(1000, 0)));
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
  CHECK(f.cache.stats().bytes == large - heap_charge(5000) + heap_charge(100));
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

TEST_CASE("memory cache: an evicted block lives on with whoever holds it") {
  Fixture f(64 << 10);
  f.cache.put(entry_of(1, 4000));
  const auto held = f.cache.get(key_of(1));
  REQUIRE(held);
  for (std::uint64_t i = 100; i < 300; ++i) f.cache.put(entry_of(i, 4000));
  CHECK_FALSE(f.cache.get(key_of(1)));
  CHECK(mark_of(held->record) == 1);
  CHECK(held->record.block().use_count() == 1);
}

TEST_CASE("memory cache: the cache's end frees every block it alone held") {
  std::weak_ptr<const std::vector<std::byte>> block;
  {
    Fixture f(1 << 20, 4);
    const CacheEntry entry = entry_of(1, 100);
    block = entry.record.block();
    f.cache.put(entry);
  }
  CHECK(block.expired());
}

TEST_CASE("memory cache: a block whose release calls the cache finds no lock held") {
  Fixture f(1 << 20);
  int released = 0;
  std::shared_ptr<const std::vector<std::byte>> block(new std::vector<std::byte>(50), [&](const auto* bytes) {
    delete bytes;
    ++released;
    CHECK_FALSE(f.cache.get(key_of(1)));
  });
  f.cache.put({key_of(1), CacheRecord(std::move(block)), hours(1)});
  f.cache.erase(key_of(1));
  CHECK(released == 1);
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
TEST_CASE("memory cache: the budget is what the allocator hands out, within 3 percent and 1 MiB") {
  const auto in_use = [] {
    const auto info = mallinfo2();
    return static_cast<std::uint64_t>(info.uordblks + info.hblkhd);
  };
  for (const std::size_t largest : {300U, 2000U, 20000U}) {
    constexpr std::uint64_t kCapacity = 64 << 20;
    std::mt19937_64 random(largest);
    const std::uint64_t before = in_use();
    Fixture f(kCapacity, 8);
    for (std::uint64_t i = 0; i < 2 * kCapacity / (largest / 2); ++i) f.cache.put(entry_of(i, random() % largest));
    const std::uint64_t held = in_use() - before;
    CHECK(f.cache.stats().evicted > 0);
    CHECK(held <= kCapacity + kCapacity * 3 / 100 + (1 << 20));
    // The charge is not padded either: a full cache really uses its budget.
    CHECK(held >= kCapacity * 9 / 10);
  }
}
#endif
