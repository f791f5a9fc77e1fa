// Many threads on one memory cache; run under the thread sanitizer.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <thread>

#include "cache/memory_cache.hpp"
#include "cache_fixtures.hpp"
#include "support/manual_clock.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

/// Values that do not say the number of their key.
std::uint64_t wrong_among(const std::vector<HeldValue>& held) {
  return static_cast<std::uint64_t>(std::count_if(held.begin(), held.end(), [](const HeldValue& value) {
    std::uint64_t mark = 0;
    std::memcpy(&mark, value.bytes().data(), sizeof(mark));
    return value.key() != key_of(mark);
  }));
}

}  // namespace

TEST_CASE("memory cache: hammered by threads it stays right and within its budget") {
  constexpr std::uint64_t kCapacity = 150 << 10;
  constexpr int kWriters = 4;
  constexpr int kOperations = 15000;
  const auto clock = std::make_shared<ManualClock>();
  MemoryCache cache({kCapacity, 4}, clock);
  std::atomic<int> running{kWriters};
  std::atomic<std::uint64_t> gets{0};
  std::atomic<std::uint64_t> hits{0};
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<std::uint64_t> over_budget{0};

  const auto work = [&](std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<HeldValue> held;
    for (int i = 0; i < kOperations; ++i) {
      const std::uint64_t key = random() % 300;
      switch (random() % 8) {
        case 0:
        case 1: cache.put(entry_of(key, 8 + random() % 2000, Duration(1 + random() % 100))); break;
        case 2: cache.erase(key_of(key)); break;
        case 3:
          clock->advance(Duration(1));
          if (i % 64 == 0) cache.clear();
          if (i % 64 == 32)
            for_each_entry(
                cache, [&](const CacheEntry& entry) { wrong += entry.key == key_of(mark_of(entry.record)) ? 0 : 1; });
          break;
        default:
          ++gets;
          if (auto hit = cache.find(key_of(key))) {
            ++hits;
            if (held.size() < 16) held.push_back(std::move(hit->value));
            wrong += wrong_among(held);
          } else {
            held.clear();
          }
      }
    }
    --running;
  };
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < kWriters; ++t) threads.emplace_back(work, t);
  threads.emplace_back([&] {
    while (running > 0) {
      if (cache.stats().bytes > kCapacity) ++over_budget;
      std::this_thread::yield();
    }
  });
  for (std::thread& thread : threads) thread.join();

  CHECK(wrong == 0);
  CHECK(over_budget == 0);
  CHECK(hits > 0);
  const CacheTierStats stats = cache.stats();
  CHECK(stats.hits == hits);
  CHECK(stats.hits + stats.misses == gets);
}
