// The budget of memory counts everything, and holds after every operation.
#include <doctest/doctest.h>

#include <random>

#include "cache/cache_fixtures.hpp"
#include "cache/key_hash.hpp"
#include "cache/miss_ratio_curve.hpp"
#include "cache/negative_cache.hpp"
#include "cache/tiered_cache.hpp"
#include "fake_tiers.hpp"
#include "support/manual_clock.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

constexpr std::uint64_t kMiB = 1ULL << 20;

struct Rig {
  explicit Rig(CachePolicy policy, std::uint64_t capacity, CachePerModel per_model = CachePerModel::off) {
    CacheOptions options;
    options.memory.capacity_bytes = capacity;
    options.memory.shards = 4;
    options.memory.policy = policy;
    options.memory.per_model = per_model;
    options.memory.curve = per_model == CachePerModel::on ? CacheCurve::off : CacheCurve::on;
    options.negative_time_to_live = std::chrono::seconds(5);
    cache = std::make_unique<TieredCache>(std::move(options), clock);
  }
  [[nodiscard]] std::uint64_t bytes() const { return cache->stats().front().bytes; }

  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>();
  std::unique_ptr<TieredCache> cache;
};

Error invalid(std::size_t length) { return Error(ErrorCode::invalid_argument, std::string(length, 'x')); }

}  // namespace

TEST_CASE(
    "cache budget: errors, curve, pins and random sizes, and the sum is within the budget after every operation") {
  constexpr std::uint64_t kMost = 12 * kMiB;
  for (const CachePolicy policy : {CachePolicy::s3_fifo, CachePolicy::lru, CachePolicy::w_tiny_lfu}) {
    CAPTURE(to_string(policy));
    Rig rig(policy, kMost);
    std::mt19937_64 random(7);
    std::vector<CacheHit> pins;
    std::uint64_t budget = kMost;
    std::size_t with_curve = 0;
    for (int turn = 0; turn < 60'000; ++turn) {
      const CacheKey key = key_of(random() % 40'000);
      const std::uint64_t what = random() % 1000;
      if (what < 2) {
        // On both sides of where the curve is given up.
        budget = kMiB + random() % (kMost - kMiB);
        rig.cache->resize_memory(budget);
        with_curve += rig.cache->curve().empty() ? 0 : 1;
      } else if (what < 100) {
        rig.cache->put_error(key, invalid(random() % 400));
      } else if (what < 110) {
        if (pins.size() >= 20) pins.erase(pins.begin());
        if (auto hit = rig.cache->get_in_memory(key)) pins.push_back(*std::move(hit));
      } else if (what < 500) {
        static_cast<void>(rig.cache->get_in_memory(key));
      } else {
        rig.cache->put_in_memory(entry_of(random() % 40'000, 1 + random() % (what < 600 ? 8000 : 200)));
      }
      REQUIRE(rig.bytes() <= budget);
    }
    CHECK(with_curve > 20);
    CHECK(with_curve < 100);
  }
}

TEST_CASE("cache budget: remembered errors and the curve follow a resize at once, down and up") {
  Rig rig(CachePolicy::s3_fifo, 32 * kMiB);
  const auto remember = [&] {
    for (std::uint64_t number = 0; number < 6000; ++number) rig.cache->put_error(key_of(number), invalid(100));
    std::size_t known = 0;
    for (std::uint64_t number = 0; number < 6000; ++number) known += rig.cache->find_error(key_of(number)) ? 1 : 0;
    return known;
  };
  const std::size_t at_first = remember();
  const std::uint64_t full = rig.bytes();
  REQUIRE(rig.cache->curve().size() == 15);
  CHECK(rig.cache->curve().back().capacity_bytes > 120 * kMiB);
  rig.cache->resize_memory(9 * kMiB);
  CHECK(rig.bytes() < full);
  CHECK(rig.cache->find_error(key_of(5999)));  // the newest stay
  const std::size_t smaller = remember();
  CHECK(smaller * 3 < at_first);
  CHECK(rig.cache->curve().back().capacity_bytes < 36 * kMiB);
  rig.cache->resize_memory(2 * kMiB);
  CHECK(rig.cache->curve().empty());
  rig.cache->resize_memory(32 * kMiB);
  CHECK(remember() == at_first);
  CHECK(rig.cache->curve().back().capacity_bytes > 120 * kMiB);
  // More than it was made with it never has.
  rig.cache->resize_memory(64 * kMiB);
  CHECK(remember() == at_first);
}

TEST_CASE("cache budget: models' parts and remembered errors together follow random sizes") {
  constexpr std::uint64_t kMost = 8 * kMiB;
  Rig rig(CachePolicy::s3_fifo, kMost, CachePerModel::on);
  std::vector<std::shared_ptr<TieredCache>> models;
  for (const char* name : {"one", "two", "three"}) {
    auto model = rig.cache->for_model(name, {});
    REQUIRE(model);
    models.push_back(*std::move(model));
  }
  std::mt19937_64 random(11);
  std::vector<CacheHit> pins;
  std::uint64_t budget = kMost;
  for (int turn = 0; turn < 30'000; ++turn) {
    TieredCache& model = *models[random() % models.size()];
    const CacheKey key = key_of(random() % 9000);
    const std::uint64_t what = random() % 1000;
    if (what < 3) {
      budget = 2 * kMiB + random() % (kMost - 2 * kMiB);
      rig.cache->resize_memory(budget);
    } else if (what < 100) {
      model.put_error(key, invalid(random() % 400));
    } else if (what < 110) {
      if (pins.size() >= 10) pins.erase(pins.begin());
      if (auto hit = model.get_in_memory(key)) pins.push_back(*std::move(hit));
    } else if (what < 500) {
      static_cast<void>(model.get_in_memory(key));
    } else {
      model.put_in_memory(entry_of(random() % 9000, 1 + random() % 3000));
    }
    REQUIRE(rig.bytes() <= budget);
  }
}

TEST_CASE("cache curve: with answers of any size it takes what it took when it was made") {
  for (const std::uint64_t capacity : {8 * kMiB, 9 * kMiB, 64 * kMiB, 200 * kMiB, 4096 * kMiB}) {
    CAPTURE(capacity);
    MissRatioCurve curve(capacity);
    const std::uint64_t made = curve.heap_bytes();
    CHECK(made * 20 <= capacity);
    std::mt19937_64 random(3);
    for (const std::uint64_t bytes : {64, 1, 4096, 100}) {
      for (int i = 0; i < 1'000'000; ++i) {
        const std::uint64_t hash = random();
        curve.asked(hash);
        curve.stored(hash, bytes);
      }
      CHECK(curve.heap_bytes() == made);
    }
  }
}

TEST_CASE("cache curve: where answers are tiny it samples less and tells the same") {
  // A loop over 300 000 answers of 100 bytes: 30 MB. LRU of less hits nothing, of more everything.
  MissRatioCurve curve(16 * kMiB);
  CHECK(curve.sampled_one_in() == 64);
  for (int turn = 0; turn < 8; ++turn) {
    for (std::uint64_t number = 0; number < 300'000; ++number) {
      const std::uint64_t hash = hash_of(key_of(number));
      curve.asked(hash);
      curve.stored(hash, 100);
    }
  }
  CHECK(curve.sampled_one_in() > 64);
  std::size_t judged = 0;
  for (const CacheCurvePoint& point : curve.points()) {
    if (point.policy != CachePolicy::lru) continue;
    REQUIRE(point.requests > 0);
    const double ratio = static_cast<double>(point.hits) / static_cast<double>(point.requests);
    if (point.capacity_bytes < 20 * kMiB) CHECK(ratio < 0.05);
    if (point.capacity_bytes > 50 * kMiB) CHECK(ratio > 0.8);
    ++judged;
  }
  CHECK(judged == 5);
}
