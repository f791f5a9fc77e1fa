// Look-ups without the lock: who holds what is kept, counted and given back, whatever becomes of the entry.
#include "cache/read_slots.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <barrier>
#include <cstring>
#include <optional>
#include <random>
#include <set>
#include <thread>

#include "cache/memory_cache.hpp"
#include "cache_fixtures.hpp"
#include "support/manual_clock.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

constexpr std::size_t kSlots = ReadSlots::Line::kSlots;

/// All of the value follows from its key.
CacheEntry filled(std::uint64_t number, std::size_t size, Duration life = std::chrono::hours(1)) {
  auto block = std::make_shared<std::vector<std::byte>>(size);
  std::mt19937_64 random(number);
  for (std::size_t at = 0; at + 8 <= size; at += 8) {
    const std::uint64_t word = random();
    std::memcpy(block->data() + at, &word, 8);
  }
  return {key_of(number), CacheRecord(std::move(block)), life};
}

bool is_of(const HeldValue& value, std::uint64_t number) {
  const CacheEntry right = filled(number, value.bytes().size());
  return value.key() == right.key && std::ranges::equal(value.bytes(), right.record.bytes());
}

struct Fixture {
  explicit Fixture(std::uint64_t capacity, CachePolicy policy = CachePolicy::s3_fifo)
      : cache(std::make_unique<MemoryCache>(MemoryCacheOptions{capacity, 1, policy}, clock)) {}

  HeldValue found(std::uint64_t number) const {
    auto hit = cache->find(key_of(number));
    REQUIRE(hit);
    return std::move(hit->value);
  }

  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>();
  std::unique_ptr<MemoryCache> cache;
};

void on_another_thread(const std::function<void()>& act) { std::thread(act).join(); }

}  // namespace

TEST_CASE("thread number: living threads have different ones, those of ended threads are given out again") {
  constexpr std::size_t kThreads = kThreadNumbers + 8;
  const auto numbers_of = [](std::size_t threads) {
    std::vector<std::uint32_t> numbers(threads);
    std::barrier all(static_cast<std::ptrdiff_t>(threads));
    std::vector<std::thread> running;
    for (std::uint32_t& number : numbers) {
      running.emplace_back([&] {
        number = thread_number();
        all.arrive_and_wait();
        if (number != kNoThreadNumber && thread_number() != number) number = kNoThreadNumber - 1;
      });
    }
    for (std::thread& thread : running) thread.join();
    return numbers;
  };
  for (int round = 0; round < 3; ++round) {
    std::vector<std::uint32_t> numbers = numbers_of(kThreads);
    const auto without = std::count(numbers.begin(), numbers.end(), kNoThreadNumber);
    CHECK(without >= 8);
    CHECK(without <= 12);  // those that other threads of this process have
    std::erase(numbers, kNoThreadNumber);
    CHECK(std::set(numbers.begin(), numbers.end()).size() == numbers.size());
    CHECK(std::ranges::all_of(numbers, [](std::uint32_t number) { return number < kThreadNumbers; }));
  }
  // Low ones first, so that few slots are looked at.
  CHECK(numbers_of(1).front() < 5);
}

TEST_CASE("reads: a thread may hold more values than it has slots, and all count once their entries have left") {
  Fixture f(1 << 20);
  constexpr std::uint64_t kHeld = 4 * kSlots;
  for (std::uint64_t number = 0; number < kHeld; ++number) f.cache->put(filled(number, 1000));
  const std::uint64_t full = f.cache->stats().bytes;
  std::vector<HeldValue> held;
  for (std::uint64_t number = 0; number < kHeld; ++number) held.push_back(f.found(number));
  CHECK(f.cache->stats().pinned == 0);
  for (std::uint64_t number = 0; number < kHeld; ++number) f.cache->erase(key_of(number));
  CHECK(f.cache->stats().pinned == kHeld * MemoryShard::charge_of(1000));
  CHECK(f.cache->stats().bytes == full);
  for (std::uint64_t number = 0; number < kHeld; ++number) CHECK(is_of(held[number], number));
  // What is let go in the middle gives its slot to the next look-up.
  f.cache->put(filled(100, 1000));
  for (std::uint64_t number = 0; number < kHeld; number += 2) held[number] = f.found(100);
  CHECK(f.cache->stats().pinned == kHeld / 2 * MemoryShard::charge_of(1000));
  held.clear();
  CHECK(f.cache->stats().pinned == 0);
  f.cache->erase(key_of(100));
  CHECK(f.cache->stats().bytes == full - kHeld * Arena::block_bytes(1000));
}

TEST_CASE("reads: a held value outlives whatever ends its entry, and is let go on any thread") {
  const std::vector<std::function<void(Fixture&)>> ends{
      [](Fixture& f) { f.cache->erase(key_of(1)); },
      [](Fixture& f) { f.cache->put(filled(1, 300)); },
      [](Fixture& f) { f.cache->clear(); },
      [](Fixture& f) { f.cache->resize(5000); },
      [](Fixture& f) { f.cache.reset(); },
      [](Fixture& f) {
        f.clock->advance(std::chrono::hours(2));
        CHECK_FALSE(f.cache->find(key_of(1)));
      },
      [](Fixture& f) {
        // Each hit twice, so that S3-FIFO finds them worth as much.
        for (std::uint64_t number = 2; number < 1000; ++number) {
          f.cache->put(filled(number, 900));
          for (int hit = 0; hit < 3; ++hit) CHECK(f.cache->find(key_of(number)));
        }
        CHECK_FALSE(f.cache->find(key_of(1)));
      },
  };
  for (const CachePolicy policy : {CachePolicy::s3_fifo, CachePolicy::ttl_only, CachePolicy::lru}) {
    for (std::size_t end = 0; end < ends.size(); ++end) {
      CAPTURE(to_string(policy));
      CAPTURE(end);
      Fixture f(256 << 10, policy);
      f.cache->put(filled(1, 2000));
      std::optional<HeldValue> first = f.found(1);
      std::optional<HeldValue> second = f.found(1);
      std::optional<HeldValue> copy = *first;
      const std::byte* const where = first->bytes().data();
      first.reset();
      ends[end](f);
      CHECK(second->bytes().data() == where);
      CHECK(is_of(*second, 1));
      on_another_thread([&] { second.reset(); });
      CHECK(is_of(*copy, 1));
      if (f.cache) CHECK(f.cache->stats().pinned == MemoryShard::charge_of(2000));
      on_another_thread([held = std::move(copy)] { CHECK(is_of(*held, 1)); });
      if (f.cache) CHECK(f.cache->stats().pinned == 0);
    }
  }
}

TEST_CASE("reads: a value held by a slot or by a copy stays where it is while its neighbours are moved") {
  constexpr std::uint64_t kCapacity = 200 << 10;
  Fixture f(kCapacity);
  std::mt19937_64 random(1);
  struct Held {
    HeldValue value;
    std::uint64_t number;
    const std::byte* where;
  };
  std::vector<Held> held;
  std::uint64_t wrong = 0;
  for (std::uint64_t step = 0; step < 20'000; ++step) {
    // Large and small in turns, so that room comes in pieces and the array of nodes grows and shrinks.
    const std::size_t size = step / 1000 % 2 == 0 ? 16 + random() % 100 : 1000 + random() % 4000;
    f.cache->put(filled(step % 3000, size / 8 * 8));
    if (step % 7 == 0) {
      if (auto hit = f.cache->find(key_of(random() % 3000))) {
        std::uint64_t number = 0;
        while (key_of(number) != hit->value.key()) ++number;
        HeldValue value = random() % 2 == 0 ? std::move(hit->value) : HeldValue(hit->value);
        held.push_back({std::move(value), number, nullptr});
        held.back().where = held.back().value.bytes().data();
      }
    }
    if (held.size() > 8) held.erase(held.begin() + static_cast<std::ptrdiff_t>(random() % held.size()));
    for (const Held& one : held) wrong += one.value.bytes().data() == one.where ? 0 : 1;
    if (step % 50 == 0) {
      for (const Held& one : held) wrong += is_of(one.value, one.number) ? 0 : 1;
    }
    if (f.cache->stats().bytes > kCapacity) ++wrong;
  }
  CHECK(wrong == 0);
  CHECK(f.cache->stats().evicted > 1000);
}

TEST_CASE("reads: values that a thread held at its end are kept, beside those of the next thread with its slots") {
  Fixture f(1 << 20);
  std::vector<HeldValue> held;
  constexpr std::uint64_t kThreads = 5;
  for (std::uint64_t thread = 0; thread < kThreads; ++thread) {
    on_another_thread([&] {
      for (std::uint64_t number = thread * 3; number < thread * 3 + 3; ++number) {
        f.cache->put(filled(number, 500));
        held.push_back(f.found(number));
      }
    });
  }
  f.cache->clear();
  CHECK(f.cache->stats().pinned == 3 * kThreads * MemoryShard::charge_of(500));
  for (std::uint64_t number = 0; number < held.size(); ++number) CHECK(is_of(held[number], number));
  held.clear();
  CHECK(f.cache->stats().pinned == 0);
}

TEST_CASE("reads: more threads than there are slots for find, hold and count all the same") {
  constexpr std::uint64_t kThreads = kThreadNumbers + 16;
  constexpr std::uint64_t kKeys = 20;
  Fixture f(1 << 20);
  for (std::uint64_t number = 0; number < kKeys; ++number) f.cache->put(filled(number, 200));
  std::barrier all(kThreads);
  std::atomic<std::uint64_t> wrong{0};
  std::vector<std::thread> threads;
  for (std::uint64_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      all.arrive_and_wait();
      std::vector<HeldValue> held;
      for (std::uint64_t step = 0; step < kKeys; ++step) {
        const std::uint64_t number = (thread + step) % kKeys;
        auto hit = f.cache->find(key_of(number));
        if (!hit || !is_of(hit->value, number)) ++wrong;
        if (hit && step % 2 == 0) held.push_back(std::move(hit->value));
        if (f.cache->find(key_of(kKeys + number))) ++wrong;
      }
      all.arrive_and_wait();
      if (thread == 0) f.cache->clear();
      all.arrive_and_wait();
      for (std::uint64_t at = 0; at < held.size(); ++at) {
        if (!is_of(held[at], (thread + 2 * at) % kKeys)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  const CacheTierStats stats = f.cache->stats();
  CHECK(stats.hits == kThreads * kKeys);
  CHECK(stats.misses == kThreads * kKeys);
  CHECK(stats.pinned == 0);
  CHECK(stats.entries == 0);
}
