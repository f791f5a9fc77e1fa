// Shadow caches and the judgement whether caching pays.
#include "cache/miss_ratio_curve.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <thread>
#include <vector>

#include "cache/caching_benefit.hpp"
#include "cache/key_hash.hpp"
#include "cache/memory_cache.hpp"
#include "support/manual_clock.hpp"
#include "support/zipf.hpp"

using namespace tidegate;
using test::ManualClock;
using test::Zipf;

namespace {

constexpr std::size_t kAnswerBytes = 1024;

CacheKey key_of(std::uint32_t number) {
  CacheKey key{};
  for (std::size_t i = 0; i < 4; ++i) key[i] = static_cast<std::uint8_t>(number >> (8 * i));
  return key;
}

/// Hit ratio of a real memory tier over the second half of the requests.
double real_hit_ratio(CachePolicy policy, std::uint64_t capacity, std::uint32_t keys, int requests) {
  MemoryCache cache({capacity, 1, policy}, std::make_shared<ManualClock>());
  std::mt19937_64 random(17);
  Zipf zipf(keys);
  const CacheRecord record(std::make_shared<const std::vector<std::byte>>(kAnswerBytes));
  int hits = 0;
  for (int i = 0; i < requests; ++i) {
    const CacheKey key = key_of(zipf.draw(random));
    const bool hit = cache.get(key).has_value();
    hits += hit && i >= requests / 2 ? 1 : 0;
    if (!hit) cache.put({key, record, std::chrono::hours(1)});
  }
  return hits / (requests / 2.0);
}

}  // namespace

TEST_CASE("cache curve: shadows tell what real caches of those sizes and policies hit") {
  constexpr std::uint64_t kCapacity = 32ULL << 20;
  constexpr std::uint32_t kKeys = 200'000;
  constexpr int kRequests = 1'000'000;
  MissRatioCurve curve(kCapacity);
  CHECK(curve.sampled_one_in() == 64);
  const std::uint64_t bytes =
      MemoryCache::charge_of({}, CacheRecord(std::make_shared<const std::vector<std::byte>>(kAnswerBytes)));
  std::mt19937_64 random(17);
  Zipf zipf(kKeys);
  for (int i = 0; i < kRequests; ++i) {
    const std::uint64_t hash = hash_of(key_of(zipf.draw(random)));
    curve.asked(hash);
    curve.stored(hash, bytes);
  }
  const auto points = curve.points();
  REQUIRE(points.size() == 15);
  for (const CacheCurvePoint& point : points) {
    if (point.capacity_bytes != kCapacity && point.capacity_bytes != kCapacity * 4) continue;
    const double real = real_hit_ratio(point.policy, point.capacity_bytes, kKeys, kRequests);
    const double predicted = static_cast<double>(point.hits) / static_cast<double>(point.requests);
    CAPTURE(to_string(point.policy));
    CAPTURE(point.capacity_bytes);
    // The few hottest keys are in the sample or not: their share is the sample's error.
    CHECK(std::abs(predicted - real) < 0.12);
  }
  for (std::size_t i = 1; i < points.size(); ++i) {
    if (points[i].policy == points[i - 1].policy) CHECK(points[i].hits >= points[i - 1].hits);
  }
}

TEST_CASE("cache curve: its memory stays below 5 % of the cache, however large that is") {
  for (const std::uint64_t capacity : {8ULL << 20, 256ULL << 20, 4ULL << 30}) {
    MissRatioCurve curve(capacity);
    std::mt19937_64 random(3);
    for (int i = 0; i < 2'000'000; ++i) {
      const std::uint64_t hash = random();
      curve.asked(hash);
      curve.stored(hash, 1600);
    }
    CAPTURE(capacity);
    CHECK(curve.heap_bytes() * 20 < capacity);
  }
}

TEST_CASE("cache curve: what it says it will take is no less than it takes, and little more") {
  for (std::uint64_t capacity = 1 << 20; capacity < 2ULL << 30; capacity += capacity / 7) {
    const MissRatioCurve curve(capacity);
    CAPTURE(capacity);
    CHECK(curve.heap_bytes() <= MissRatioCurve::most_bytes(capacity));
    CHECK(MissRatioCurve::most_bytes(capacity) * 20 <= std::max<std::uint64_t>(capacity, 20 * curve.heap_bytes()));
  }
}

TEST_CASE("cache curve: threads may ask, store and read at once") {
  MissRatioCurve curve(8U << 20);
  std::vector<std::thread> threads;
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&curve, seed] {
      std::mt19937_64 random(seed);
      for (int i = 0; i < 20'000; ++i) {
        const std::uint64_t hash = random();
        curve.asked(hash);
        curve.stored(hash, 1600);
        if (i % 1000 == 0) static_cast<void>(curve.points());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::uint64_t requests = 0;
  for (const CacheCurvePoint& point : curve.points()) requests = point.requests;
  CHECK(requests > 800);
}

namespace {

using Lookup = CachingBenefit::Lookup;

CacheKey counted_key() { return CacheKey{}; }

/// `one_in` of the look-ups of a window hit; 0 = none.
void look_up(CachingBenefit& benefit, std::uint32_t window, std::uint32_t one_in) {
  for (std::uint32_t i = 1; i <= window; ++i) {
    benefit.looked_up(counted_key(), one_in != 0 && i % one_in == 0 ? Lookup::hit : Lookup::miss);
  }
}

}  // namespace

TEST_CASE("cache bypass: where nothing repeats and the model is fast, look-ups end but for one key in 64") {
  CachingBenefit benefit(std::chrono::microseconds(2));
  benefit.computed(std::chrono::microseconds(50));
  look_up(benefit, CachingBenefit::kWindow - 1, 50);  // saves 1 us of 2
  CHECK_FALSE(benefit.bypassing());
  look_up(benefit, 1, 0);
  CHECK(benefit.bypassing());
  std::mt19937_64 random(1);
  int used = 0;
  for (int i = 0; i < 64'000; ++i) {
    CacheKey key;
    for (std::uint8_t& byte : key) byte = static_cast<std::uint8_t>(random());
    used += benefit.uses_cache(key) ? 1 : 0;
  }
  CHECK(used > 800);
  CHECK(used < 1200);
}

TEST_CASE("cache bypass: it ends when probed keys repeat, and never begins where caching pays or nothing is known") {
  CachingBenefit benefit(std::chrono::microseconds(2));
  look_up(benefit, 3 * CachingBenefit::kWindow, 0);
  CHECK_FALSE(benefit.bypassing());  // what an answer costs is not known
  benefit.computed(std::chrono::milliseconds(1));
  look_up(benefit, CachingBenefit::kWindow, 100);  // saves 10 us of 2
  CHECK_FALSE(benefit.bypassing());
  look_up(benefit, CachingBenefit::kWindow, 0);
  CHECK(benefit.bypassing());
  look_up(benefit, CachingBenefit::kProbeWindow, 0);
  CHECK(benefit.bypassing());
  look_up(benefit, CachingBenefit::kProbeWindow, 64);
  CHECK_FALSE(benefit.bypassing());
  benefit.computed(Duration(-5));  // ignored
  look_up(benefit, CachingBenefit::kWindow, 100);
  CHECK_FALSE(benefit.bypassing());
}
