// Ageing answers, remembered errors and a budget that changes.
#include <doctest/doctest.h>

#include <atomic>
#include <random>
#include <thread>

#include "cache/negative_cache.hpp"
#include "cache/tiered_cache.hpp"
#include "cache_fixtures.hpp"
#include "support/manual_clock.hpp"

using namespace tidegate;
using namespace tidegate::test;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Age = MemoryHit::Age;

namespace {

/// Entries live as their put says and are stale for the last 40 seconds of it.
struct Fixture {
  Fixture() : cache({1 << 20, 1}, clock, {seconds(40), seconds(5)}) {}
  [[nodiscard]] std::optional<Age> age() {
    const auto hit = cache.find(key_of(1));
    return hit ? std::optional(hit->age) : std::nullopt;
  }
  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>();
  MemoryCache cache;
};

/// As far behind in its coarse time as a clock may be.
class LaggingClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const noexcept override {
    ++readings;
    return exact.now();
  }
  [[nodiscard]] TimePoint coarse_now() const noexcept override { return exact.now() - kMostLag; }
  AlarmId call_at(TimePoint when, UniqueFunction<void()> alarm) override {
    return exact.call_at(when, std::move(alarm));
  }
  bool cancel(AlarmId id) override { return exact.cancel(id); }

  ManualClock exact;
  mutable int readings = 0;
};

}  // namespace

TEST_CASE("memory cache: lives end to the moment also where the clock's coarse time is behind") {
  const auto clock = std::make_shared<LaggingClock>();
  MemoryCache plain({1 << 20, 1}, clock);
  MemoryCache ageing({1 << 20, 1}, clock, {seconds(40), seconds(5)});
  plain.put(entry_of(1, 100, seconds(100)));
  ageing.put(entry_of(1, 100, seconds(100)));
  const int readings = clock->readings;
  for (int look_up = 0; look_up < 10; ++look_up) CHECK(plain.find(key_of(1)));
  CHECK(clock->readings == readings);  // far from its end nobody needs the exact time
  clock->exact.advance(seconds(60) - Duration(1));
  CHECK(ageing.find(key_of(1))->age == Age::fresh);
  clock->exact.advance(Duration(1));
  CHECK(ageing.find(key_of(1))->age == Age::to_be_renewed);
  clock->exact.advance(seconds(40) - Duration(1));
  CHECK(plain.find(key_of(1)));
  CHECK(plain.get(key_of(1))->time_to_live == Duration(1));
  clock->exact.advance(Duration(1));
  CHECK_FALSE(plain.find(key_of(1)));
  CHECK_FALSE(ageing.find(key_of(1)));
}

TEST_CASE("stale while revalidate: one asker renews, the others get the old answer, and it ends all the same") {
  Fixture f;
  f.cache.put(entry_of(1, 100, seconds(100)));
  f.clock->advance(seconds(60) - Duration(1));
  CHECK(f.age() == Age::fresh);
  f.clock->advance(Duration(1));
  CHECK(f.age() == Age::to_be_renewed);
  CHECK(f.age() == Age::stale);
  f.clock->advance(seconds(5) - Duration(1));
  CHECK(f.age() == Age::stale);
  f.clock->advance(Duration(1));
  CHECK(f.age() == Age::to_be_renewed);  // the first renewal has hung: another one
  f.clock->advance(seconds(35));
  CHECK_FALSE(f.age());
  CHECK(f.cache.stats().stale == 4);
  CHECK(f.cache.stats().hits == 5);
  CHECK(f.cache.stats().expired == 1);
}

TEST_CASE(
    "stale while revalidate: a renewed answer is fresh, one that lives shorter than the window is stale at once") {
  Fixture f;
  f.cache.put(entry_of(1, 100, seconds(100)));
  f.clock->advance(seconds(70));
  CHECK(f.age() == Age::to_be_renewed);
  f.cache.put(entry_of(1, 100, seconds(100)));
  CHECK(f.age() == Age::fresh);
  f.cache.put(entry_of(1, 100, seconds(10)));
  CHECK(f.age() == Age::to_be_renewed);
  CHECK(f.age() == Age::stale);
}

TEST_CASE("stale while revalidate: of many threads one renews") {
  Fixture f;
  f.cache.put(entry_of(1, 100, seconds(100)));
  f.clock->advance(seconds(70));
  std::atomic<int> renewals{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 1000; ++k) renewals += f.age() == Age::to_be_renewed ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(renewals == 1);
}

TEST_CASE("tiered cache: fresh_for decides when an answer is stale, and 0 means never") {
  const auto clock = std::make_shared<ManualClock>();
  const std::vector<Tensor> outputs{Tensor::vector_of(std::vector<float>{1, 2, 3})};
  CacheOptions options;
  options.time_to_live = seconds(100);
  options.time_to_live_jitter_percent = 0;
  TieredCache always_fresh(options, clock);
  options.fresh_for = seconds(30);
  TieredCache ageing(options, clock);
  always_fresh.put(key_of(1), outputs);
  ageing.put(key_of(1), outputs);
  clock->advance(seconds(30) - Duration(1));
  CHECK(ageing.get_in_memory(key_of(1))->age == Age::fresh);
  clock->advance(Duration(1));
  CHECK(ageing.get_in_memory(key_of(1))->age == Age::to_be_renewed);
  CHECK(ageing.get_in_memory(key_of(1))->age == Age::stale);
  clock->advance(seconds(69));
  CHECK(always_fresh.get_in_memory(key_of(1))->age == Age::fresh);
}

TEST_CASE("memory cache: a smaller budget holds at once, for every policy, and a larger one is used again") {
  for (const CachePolicy policy :
       {CachePolicy::s3_fifo, CachePolicy::lru, CachePolicy::lfu, CachePolicy::w_tiny_lfu, CachePolicy::ttl_only}) {
    const auto clock = std::make_shared<ManualClock>();
    MemoryCache cache({4 << 20, 4, policy}, clock);
    CAPTURE(to_string(policy));
    const auto fill = [&](std::uint32_t from) {
      for (std::uint32_t i = from; i < from + 4000; ++i) {
        static_cast<void>(cache.get(key_of(i)));
        cache.put(entry_of(i, 1500, hours(1)));
      }
    };
    fill(0);
    const std::uint64_t full = cache.stats().entries;
    cache.resize(1 << 20);
    CHECK(cache.stats().bytes <= 1 << 20);
    CHECK(cache.stats().entries > full / 8);
    fill(10'000);
    CHECK(cache.stats().bytes <= 1 << 20);
    cache.resize(0);
    CHECK(cache.stats().entries == 0);
    cache.put(entry_of(1, 10, hours(1)));
    CHECK(cache.stats().entries == 0);
    cache.resize(~0ULL);  // never above what it was made with
    fill(20'000);
    CHECK(cache.stats().bytes <= 4 << 20);
    CHECK(cache.stats().entries > full / 2);
  }
}

TEST_CASE("memory cache: it may be resized while threads use it, and the budget holds afterwards") {
  const auto clock = std::make_shared<ManualClock>();
  MemoryCache cache({2 << 20, 4}, clock);
  std::vector<std::thread> threads;
  for (std::uint32_t seed = 0; seed < 3; ++seed) {
    threads.emplace_back([&cache, seed] {
      std::mt19937 random(seed);
      for (int i = 0; i < 4000; ++i) {
        const std::uint32_t number = random() % 3000;
        if (!cache.get(key_of(number))) cache.put(entry_of(number, 1000, hours(1)));
        if (i % 500 == 0) cache.resize((1U << 18) << random() % 4);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  cache.resize(1 << 19);
  CHECK(cache.stats().bytes <= 1 << 19);
}

TEST_CASE("memory cache: with a curve the budget covers both") {
  const auto clock = std::make_shared<ManualClock>();
  MemoryCache cache({8 << 20, 4, CachePolicy::s3_fifo, CacheCurve::on}, clock);
  for (std::uint32_t i = 0; i < 40'000; ++i) {
    const std::uint32_t number = i % 11'000;
    if (!cache.get(key_of(number))) cache.put(entry_of(number, 1000, hours(1)));
    if (i % 1000 == 0) REQUIRE(cache.stats().bytes <= 8 << 20);
  }
  const auto points = cache.curve();
  REQUIRE(points.size() == 15);
  CHECK(points.front().requests > 300);
  // A loop over more than the cache holds: LRU of its size hits nothing, twice the size all.
  for (const CacheCurvePoint& point : points) {
    if (point.policy != CachePolicy::lru) continue;
    if (point.capacity_bytes == 8 << 20) CHECK(point.hits * 10 < point.requests);
    if (point.capacity_bytes == 16 << 20) CHECK(point.hits * 2 > point.requests);
  }
  CHECK(MemoryCache({1 << 20, 4, CachePolicy::s3_fifo, CacheCurve::on}, clock).curve().empty());
}

TEST_CASE("negative cache: remembers what depends on the request alone, for its time, within its budget") {
  const TimePoint start{};
  NegativeCache errors(4096, seconds(5));
  const Error invalid(ErrorCode::invalid_argument, "text: not UTF-8");
  CHECK_FALSE(errors.find(key_of(1), start));
  errors.put(key_of(1), invalid, start);
  errors.put(key_of(2), Error(ErrorCode::queue_full, "later"), start);
  errors.put(key_of(3), Error(ErrorCode::backend_failed, "out of order"), start);
  errors.put(key_of(4), Error(ErrorCode::deadline_exceeded, "too late"), start);
  const auto found = errors.find(key_of(1), start + seconds(5) - Duration(1));
  REQUIRE(found);
  CHECK(found->code() == ErrorCode::invalid_argument);
  CHECK(found->message() == "text: not UTF-8");
  for (std::uint32_t number = 2; number <= 4; ++number) CHECK_FALSE(errors.find(key_of(number), start));
  CHECK_FALSE(errors.find(key_of(1), start + seconds(5)));
  errors.clear();
  CHECK(errors.bytes() == 0);
  for (std::uint32_t number = 0; number < 500; ++number) {
    errors.put(key_of(number), invalid, start);
    REQUIRE(errors.bytes() <= 4096);
  }
  CHECK(errors.find(key_of(499), start));
  CHECK_FALSE(errors.find(key_of(0), start));
  errors.put(key_of(1), Error(ErrorCode::invalid_argument, std::string(10'000, 'x')), start);
  CHECK_FALSE(errors.find(key_of(1), start));
  NegativeCache off(4096, Duration::zero());
  off.put(key_of(1), invalid, start);
  CHECK_FALSE(off.find(key_of(1), start));
}
