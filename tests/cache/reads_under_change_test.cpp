// Look-ups without the lock while entries come, go and are moved; run under the thread sanitizer, too.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>

#include "cache/memory_cache.hpp"
#include "cache_fixtures.hpp"
#include "support/eventually.hpp"
#include "support/manual_clock.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int kLookUps = 20'000;
#else
constexpr int kLookUps = 300'000;
#endif

/// A value of words that all are its key's number, and as many as nothing else has.
CacheEntry of_words(std::uint64_t number, std::size_t words, Duration life = std::chrono::hours(1)) {
  auto block = std::make_shared<std::vector<std::byte>>(words * 8);
  for (std::size_t at = 0; at < words; ++at) std::memcpy(block->data() + at * 8, &number, 8);
  return {key_of(number), CacheRecord(std::move(block)), life};
}

bool is_of(const HeldValue& value, std::uint64_t number) {
  bool right = value.key() == key_of(number) && !value.bytes().empty();
  for (std::size_t at = 0; at + 8 <= value.bytes().size(); at += 8) {
    right = right && std::memcmp(value.bytes().data() + at, &number, 8) == 0;
  }
  return right;
}

struct Taken {
  HeldValue value;
  std::uint64_t number = 0;
};

/// Where threads leave values for others to let go.
class Exchange {
 public:
  /// What was there before, in exchange for `taken`.
  Taken swap(std::size_t place, Taken taken) {
    const std::lock_guard lock(mutex_);
    std::swap(places_[place % places_.size()], taken);
    return taken;
  }

 private:
  std::mutex mutex_;
  std::array<Taken, 8> places_;
};

}  // namespace

TEST_CASE("reads: an entry that stays is found by every look-up while all others come, go and are moved") {
  const auto clock = std::make_shared<ManualClock>();
  MemoryCache cache({600 << 10, 1, CachePolicy::ttl_only}, clock);
  constexpr std::uint64_t kStaying = 50;
  for (std::uint64_t number = 0; number < kStaying; ++number) {
    cache.put(of_words(number, 5 + number, std::chrono::hours(1000)));
  }
  std::atomic<bool> running{true};
  std::atomic<std::uint64_t> wrong{0};
  std::thread writer([&] {
    std::mt19937_64 random(1);
    for (std::uint64_t step = 0; running; ++step) {
      // Small ones for a while, then large ones: index and nodes grow, blocks are moved.
      const std::size_t words = step / 2000 % 2 == 0 ? 1 + random() % 8 : 100 + random() % 500;
      cache.put(of_words(1000 + random() % 5000, words));
      if (step % 16 == 0) cache.erase(key_of(1000 + random() % 5000));
    }
  });
  std::vector<std::thread> readers;
  for (std::uint64_t reader = 0; reader < 2; ++reader) {
    readers.emplace_back([&, reader] {
      std::mt19937_64 random(reader);
      for (int look_up = 0; look_up < kLookUps; ++look_up) {
        const std::uint64_t number = random() % kStaying;
        const auto hit = cache.find(key_of(number));
        if (!hit || !is_of(hit->value, number)) ++wrong;
        if (cache.find(key_of(100'000 + number))) ++wrong;
      }
    });
  }
  for (std::thread& reader : readers) reader.join();
  CHECK(eventually([&] { return cache.stats().evicted > 0; }));
  running = false;
  writer.join();
  CHECK(wrong == 0);
  const CacheTierStats stats = cache.stats();
  CHECK(stats.hits == 2 * kLookUps);
  CHECK(stats.misses == 2 * kLookUps);
  CHECK(stats.pinned == 0);
}

TEST_CASE("reads: whatever threads hold, hand on and let go is their key's value, and the budget holds") {
  constexpr std::uint64_t kCapacity = 300 << 10;
  for (const CachePolicy policy : {CachePolicy::s3_fifo, CachePolicy::ttl_only, CachePolicy::lru}) {
    CAPTURE(to_string(policy));
    const auto clock = std::make_shared<ManualClock>();
    auto cache = std::make_unique<MemoryCache>(MemoryCacheOptions{kCapacity, 2, policy}, clock);
    Exchange exchange;
    std::atomic<std::uint64_t> wrong{0};
    std::atomic<std::uint64_t> asked{0};
    const auto work = [&](std::uint64_t seed) {
      std::mt19937_64 random(seed);
      std::vector<Taken> held;
      for (int step = 0; step < kLookUps / 10; ++step) {
        const std::uint64_t number = random() % 200;
        switch (random() % 16) {
          case 0:
          case 1:
          case 2: cache->put(of_words(number, 1 + random() % 300, Duration(1 + random() % 200))); break;
          case 3: cache->erase(key_of(number)); break;
          case 4: clock->advance(Duration(1)); break;
          case 5:
            if (step % 64 == 0) cache->clear();
            if (step % 32 == 0) cache->resize(kCapacity / (1 + random() % 2));
            break;
          case 6: held.clear(); break;
          case 7: {
            const Taken other = exchange.swap(random(), held.empty() ? Taken{} : std::move(held.back()));
            if (!held.empty()) held.pop_back();
            if (other.number != 0 && !is_of(other.value, other.number)) ++wrong;
            break;
          }
          default:
            ++asked;
            if (auto hit = cache->find(key_of(number + 1))) {
              if (!is_of(hit->value, number + 1)) ++wrong;
              if (held.size() < 12) held.push_back({std::move(hit->value), number + 1});
            }
            for (const Taken& one : held) wrong += is_of(one.value, one.number) ? 0 : 1;
        }
        if (cache->stats().bytes > kCapacity) ++wrong;
      }
    };
    std::vector<std::thread> threads;
    for (std::uint64_t thread = 0; thread < 4; ++thread) threads.emplace_back(work, thread);
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
    const CacheTierStats stats = cache->stats();
    CHECK(stats.hits + stats.misses == asked);
    CHECK(stats.hits > asked / 20);
    // The tier ends while values of ended threads are held.
    cache.reset();
    for (std::size_t place = 0; place < 8; ++place) {
      const Taken last = exchange.swap(place, Taken{});
      if (last.number != 0) CHECK(is_of(last.value, last.number));
    }
  }
}
