// Shares of one memory budget: what is decided, and that the budget holds whatever happens.
#include "cache/memory_shares.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <thread>

#include "cache/cache_fixtures.hpp"
#include "cache/key_hash.hpp"
#include "support/manual_clock.hpp"
#include "support/manual_executor.hpp"
#include "support/zipf.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

constexpr std::uint64_t kMiB = 1ULL << 20;
constexpr std::size_t kAnswerBytes = 1024;

using Shares = std::shared_ptr<MemoryShares>;
using Share = std::shared_ptr<MemoryShare>;

struct Rig {
  explicit Rig(std::uint64_t capacity, std::uint32_t parts = 4)
      : shares(std::make_shared<MemoryShares>(MemoryCacheOptions{capacity, parts},
                                              MemoryShares::Surroundings{clock, {}, executor})) {}

  Share open(const std::string& model, CacheShare limits = {}) {
    auto share = shares->open(model, limits);
    REQUIRE(share);
    return *share;
  }
  std::uint64_t bytes_of(std::string_view model) const {
    for (const CacheShareStats& one : shares->shares()) {
      if (one.model == model) return one.bytes;
    }
    return 0;
  }

  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>();
  std::shared_ptr<ManualExecutor> executor = std::make_shared<ManualExecutor>();
  Shares shares;
};

/// As TieredCache: a look-up, and the answer stored on a miss. True on a hit.
bool ask(MemoryShare& share, std::uint64_t number, std::size_t bytes = kAnswerBytes) {
  const CacheEntry entry = entry_of(number, bytes);
  share.asked(hash_of(entry.key));
  if (share.memory.find(entry.key)) return true;
  share.memory.put(entry);
  share.stored(hash_of(entry.key), MemoryCache::charge_of(entry.key, entry.record));
  return false;
}

/// Both sums, of what is promised and of what is in use.
void check_sums(const MemoryShares& shares, std::uint64_t total) {
  std::uint64_t bytes = 0;
  for (const CacheShareStats& share : shares.shares()) {
    bytes += share.bytes;
    CHECK(share.bytes >= share.min_bytes);
    CHECK(share.bytes <= share.max_bytes);
  }
  CHECK(bytes <= total);
  CHECK(shares.stats().bytes <= total);
}

ShareView view(std::uint64_t bytes, std::uint64_t least, std::uint64_t most, double hits_in_each, double weight = 1) {
  ShareView made{bytes, least, most, {}};
  made.hits.by_part.fill(hits_in_each);
  made.hits.weight = weight;
  return made;
}

}  // namespace

TEST_CASE("share balancer: bytes go from where they bring fewest hits to where they bring most") {
  const std::vector<ShareView> shares{view(20, 0, 64, 100), view(20, 0, 64, 10), view(20, 0, 64, 300)};
  const auto move = best_move(shares, 1, 2);
  REQUIRE(move);
  CHECK(move->from == 1);
  CHECK(move->to == 2);
  CHECK(move->bytes == 2);
}

TEST_CASE("share balancer: limits hold, and nobody is moved for what chance may have made") {
  CHECK_FALSE(best_move(std::vector<ShareView>{view(20, 20, 64, 10), view(20, 0, 64, 300)}, 1, 2));
  CHECK_FALSE(best_move(std::vector<ShareView>{view(20, 0, 64, 10), view(20, 0, 20, 300)}, 1, 2));
  const auto last = best_move(std::vector<ShareView>{view(20, 19, 64, 10), view(20, 0, 64, 300)}, 1, 2);
  REQUIRE(last);
  CHECK(last->bytes == 1);
  CHECK_FALSE(best_move(std::vector<ShareView>{view(20, 0, 64, 100), view(20, 0, 64, 100)}, 1, 2));
  CHECK_FALSE(best_move(std::vector<ShareView>{view(20, 0, 64, 100), view(20, 0, 64, 105)}, 1, 2));
  // The same difference of a sample that is a hundredth of the requests.
  CHECK(best_move(std::vector<ShareView>{view(20, 0, 64, 100), view(20, 0, 64, 200)}, 1, 2));
  CHECK_FALSE(best_move(std::vector<ShareView>{view(20, 0, 64, 100, 100), view(20, 0, 64, 200, 100)}, 1, 2));
  CHECK_FALSE(best_move(std::vector<ShareView>{view(20, 0, 64, 100)}, 1, 2));
  CHECK_FALSE(best_move({}, 1, 2));
}

TEST_CASE("share balancer: a loop that pays only as a whole is seen from below") {
  ShareView loop = view(10, 0, 64, 0);
  loop.hits.by_part[39] = 40'000;
  const std::vector<ShareView> shares{view(54, 0, 64, 100), loop};
  const auto move = best_move(shares, 1, 2);
  REQUIRE(move);
  CHECK(move->to == 1);
}

TEST_CASE("share balancer: room is made and given away as limits allow") {
  const std::vector<ShareView> shares{view(30, 10, 40, 1), view(10, 10, 12, 1), view(20, 0, 64, 1)};
  CHECK(sizes_with_room(shares, 20) == std::vector<std::uint64_t>{20, 10, 10});
  CHECK(sizes_with_room(shares, 100) == std::vector<std::uint64_t>{10, 10, 0});
  CHECK(sizes_with_gift(shares, 9) == std::vector<std::uint64_t>{33, 12, 23});
  CHECK(sizes_with_gift(shares, 1000) == std::vector<std::uint64_t>{40, 12, 64});
  CHECK(sizes_with_gift({}, 10).empty());
}

TEST_CASE("reuse curve: tells what an LRU cache of each size would have hit") {
  constexpr std::uint64_t kReach = 16 * kMiB;
  const CacheEntry one = entry_of(1, kAnswerBytes);
  const std::uint64_t bytes = MemoryCache::charge_of(one.key, one.record);
  ReuseCurve curve(kReach, 1024);
  MemoryCache small({kReach / 4, 1, CachePolicy::lru}, std::make_shared<ManualClock>());
  MemoryCache large({kReach / 2, 1, CachePolicy::lru}, std::make_shared<ManualClock>());
  std::mt19937_64 random(5);
  Zipf zipf(100'000);
  constexpr int kRequests = 400'000;
  double small_hits = 0;
  double large_hits = 0;
  for (int i = 0; i < kRequests; ++i) {
    const CacheEntry entry = entry_of(zipf.draw(random), kAnswerBytes);
    curve.asked(hash_of(entry.key));
    curve.stored(hash_of(entry.key), bytes);
    for (MemoryCache* const cache : {&small, &large}) {
      const bool hit = cache->find(entry.key).has_value();
      if (hit) (cache == &small ? small_hits : large_hits) += 1;
      if (!hit) cache->put(entry);
    }
  }
  double gained = 0;
  for (std::size_t part = 16; part < 32; ++part) gained += curve.hits().by_part[part];
  // Of the keys that decide it about a thousand are in the sample.
  CHECK(std::abs(gained / (large_hits - small_hits) - 1) < 0.2);
  curve.fade(0.5);
  double faded = 0;
  for (std::size_t part = 16; part < 32; ++part) faded += curve.hits().by_part[part];
  CHECK(faded == doctest::Approx(gained / 2));
}

TEST_CASE("memory shares: a model alone has everything, the next one gets an equal part") {
  Rig rig(8 * kMiB);
  const Share a = rig.open("a");
  CHECK(rig.bytes_of("a") == 8 * kMiB);
  for (int i = 0; i < 10'000; ++i) ask(*a, i);
  CHECK(rig.shares->stats().bytes > 7 * kMiB);
  const Share b = rig.open("b");
  CHECK(rig.bytes_of("a") == 4 * kMiB);
  CHECK(rig.bytes_of("b") == 4 * kMiB);
  const Share c = rig.open("c", {0, kMiB});
  CHECK(rig.bytes_of("c") == kMiB);
  CHECK(rig.open("a") == a);
  check_sums(*rig.shares, 8 * kMiB);
}

TEST_CASE("memory shares: who leaves gives back, at once or when answers still in use are released") {
  Rig rig(8 * kMiB);
  const Share a = rig.open("a");
  Share b = rig.open("b");
  for (int i = 0; i < 10'000; ++i) ask(*b, i);
  std::vector<MemoryHit> used;
  for (int i = 0; i < 10'000; ++i) {
    if (auto hit = b->memory.find(key_of(i))) used.push_back(*std::move(hit));
  }
  REQUIRE(used.size() > 2000);
  const std::uint64_t hits = rig.shares->stats().hits;
  b.reset();
  // Its answers are in use: what they take is nobody's yet.
  CHECK(rig.bytes_of("a") < 6 * kMiB);
  CHECK(rig.shares->stats().bytes <= 8 * kMiB);
  CHECK(rig.shares->stats().hits == hits);
  used.clear();
  rig.shares->balance();
  CHECK(rig.bytes_of("a") > 8 * kMiB - 8 * kMiB / 512);
  Share again = rig.open("b");
  CHECK(rig.bytes_of("b") >= 4 * kMiB - kMiB / 64);
  again.reset();
  CHECK(rig.bytes_of("a") > 8 * kMiB - 8 * kMiB / 512);
}

TEST_CASE("memory shares: limits that cannot be kept are refused with field, value and range") {
  Rig rig(8 * kMiB);
  const Share a = rig.open("a", {6 * kMiB, 0});
  const auto refusal = rig.shares->open("b", {3 * kMiB, 0});
  REQUIRE_FALSE(refusal);
  CHECK(refusal.error().code() == ErrorCode::invalid_argument);
  CHECK(refusal.error().message() ==
        "model 'b': cache.share.min_bytes is 3145728; it must be 0 to 2097152, which the other models leave of "
        "cache.memory.capacity_bytes, 8388608");
  const auto tiny = rig.shares->open("b", {0, 1000});
  REQUIRE_FALSE(tiny);
  CHECK(std::string(tiny.error().message()).starts_with("model 'b': cache.share.max_bytes is 1000; it must be 0"));
  CHECK(rig.bytes_of("b") == 0);
  CHECK(rig.bytes_of("a") == 8 * kMiB);
  REQUIRE_FALSE(rig.shares->set_limits("nobody", {}));
  REQUIRE(rig.shares->set_limits("a", {0, 2 * kMiB}));
  CHECK(rig.bytes_of("a") == 2 * kMiB);
  REQUIRE(rig.shares->set_limits("a", {4 * kMiB, 0}));
  CHECK(rig.bytes_of("a") == 8 * kMiB);

  Rig narrow(64 << 10, 1);
  std::vector<Share> held;
  for (int i = 0; i < 100; ++i) {
    auto share = narrow.shares->open(std::to_string(i), {});
    if (!share) {
      CHECK(std::string(share.error().message()).find("cache.memory.capacity_bytes is 65536") != std::string::npos);
      break;
    }
    held.push_back(*std::move(share));
    CHECK(narrow.shares->stats().bytes <= 64 << 10);
  }
  CHECK(held.size() < 100);
  CHECK(held.size() >= 1);
}

TEST_CASE("memory shares: the sum stays within the budget in a random schedule") {
  constexpr std::uint64_t kTotal = 4 * kMiB;
  for (std::uint32_t seed = 1; seed <= 6; ++seed) {
    CAPTURE(seed);
    Rig rig(kTotal, 2);
    std::mt19937_64 random(seed);
    std::map<std::string, Share> held;
    std::vector<MemoryHit> used;
    bool whole = true;
    for (int step = 0; step < 3000; ++step) {
      const std::string model(1, static_cast<char>('a' + random() % 5));
      const auto what = random() % 100;
      if (what < 4) {
        const CacheShare limits{random() % (kTotal / 6), random() % 2 == 0 ? 0 : kTotal / 6 + random() % kTotal};
        if (auto share = rig.shares->open(model, limits)) held[model] = *share;
      } else if (what < 6) {
        held.erase(model);
      } else if (what < 10) {
        rig.shares->balance();
      } else if (what == 10) {
        whole = random() % 2 == 0;
        rig.shares->resize(whole ? kTotal : kTotal / 2 + random() % (kTotal / 2));
      } else if (what == 11) {
        used.clear();
      } else if (const auto share = held.find(model); share != held.end()) {
        for (int i = 0; i < 40; ++i) ask(*share->second, random() % 2000, 64 + random() % 3000);
        const auto hit = share->second->memory.find(key_of(random() % 2000));
        if (hit && random() % 8 == 0) used.push_back(*hit);
      }
      std::uint64_t bytes = 0;
      for (const CacheShareStats& share : rig.shares->shares()) bytes += share.bytes;
      REQUIRE(bytes <= kTotal);
      REQUIRE(rig.shares->stats().bytes <= kTotal);
      if (whole && used.empty()) check_sums(*rig.shares, kTotal);
    }
    CHECK_FALSE(held.empty());
  }
}

TEST_CASE("memory shares: a working set wins bytes from traffic without hits, and beats fixed parts") {
  constexpr std::uint64_t kTotal = 8 * kMiB;
  Rig rig(kTotal);
  Rig fixed(kTotal);
  const Share useful = rig.open("useful");
  const Share once = rig.open("once", {kTotal / 8, 0});
  const Share fixed_useful = fixed.open("useful", {kTotal / 2, kTotal / 2});
  const Share fixed_once = fixed.open("once", {kTotal / 2, kTotal / 2});
  std::mt19937_64 random(11);
  Zipf zipf(20'000);
  std::uint64_t unique = 1ULL << 40;
  int hits = 0;
  int fixed_hits = 0;
  constexpr int kRequests = 400'000;
  for (int i = 0; i < kRequests; ++i) {
    const std::uint32_t number = zipf.draw(random);
    const bool counts = i >= kRequests / 2;
    hits += ask(*useful, number) && counts ? 1 : 0;
    fixed_hits += ask(*fixed_useful, number) && counts ? 1 : 0;
    ask(*once, ++unique);
    ask(*fixed_once, unique);
    rig.executor->run_all();
    fixed.executor->run_all();
  }
  CHECK(rig.bytes_of("once") >= kTotal / 8);
  CHECK(rig.bytes_of("once") < kTotal / 8 + kTotal / 16);
  CHECK(rig.bytes_of("useful") > kTotal * 3 / 4);
  CHECK(fixed.bytes_of("useful") == kTotal / 2);
  const double ratio = hits / (kRequests / 2.0);
  const double fixed_ratio = fixed_hits / (kRequests / 2.0);
  MESSAGE("hit ratio ", ratio, " with moving shares, ", fixed_ratio, " with fixed ones");
  CHECK(ratio > fixed_ratio + 0.03);
}

TEST_CASE("memory shares: of two working sets the one asked for more gets more, and both together hit more") {
  constexpr std::uint64_t kTotal = 8 * kMiB;
  Rig rig(kTotal);
  Rig fixed(kTotal);
  const Share busy = rig.open("busy");
  const Share quiet = rig.open("quiet");
  const Share fixed_busy = fixed.open("busy", {kTotal / 2, kTotal / 2});
  const Share fixed_quiet = fixed.open("quiet", {kTotal / 2, kTotal / 2});
  std::mt19937_64 random(3);
  Zipf zipf(30'000);
  int hits = 0;
  int fixed_hits = 0;
  constexpr int kRequests = 600'000;
  for (int i = 0; i < kRequests; ++i) {
    const bool is_busy = random() % 10 != 0;
    const std::uint32_t number = zipf.draw(random);
    const bool hit = ask(is_busy ? *busy : *quiet, number);
    const bool fixed_hit = ask(is_busy ? *fixed_busy : *fixed_quiet, number);
    hits += hit && i >= kRequests / 2 ? 1 : 0;
    fixed_hits += fixed_hit && i >= kRequests / 2 ? 1 : 0;
    rig.executor->run_all();
  }
  CHECK(rig.bytes_of("busy") > kTotal * 2 / 3);
  CHECK(rig.bytes_of("quiet") > kTotal / 32);
  const double ratio = hits / (kRequests / 2.0);
  const double fixed_ratio = fixed_hits / (kRequests / 2.0);
  MESSAGE("hit ratio ", ratio, " with moving shares, ", fixed_ratio, " with fixed ones");
  CHECK(ratio > fixed_ratio + 0.01);
}

TEST_CASE("memory shares: look-ups ask for decisions, on the executor, one at a time") {
  Rig rig(8 * kMiB);
  const Share a = rig.open("a");
  for (std::uint32_t i = 0; i < MemoryShares::kLookupsPerDecision / 2; ++i) ask(*a, i);
  CHECK(rig.executor->size() == 0);
  for (std::uint32_t i = 0; i < 10 * MemoryShares::kLookupsPerDecision; ++i) ask(*a, i);
  CHECK(rig.executor->size() == 1);
  rig.executor->run_all();
  for (std::uint32_t i = 0; i < 2 * MemoryShares::kLookupsPerDecision; ++i) ask(*a, i);
  CHECK(rig.executor->size() == 1);
}

TEST_CASE("memory shares: threads may ask, open, leave, resize and balance at once") {
  constexpr std::uint64_t kTotal = 2 * kMiB;
  Rig rig(kTotal, 2);
  const Share kept = rig.open("kept");
  std::vector<std::thread> threads;
  for (std::uint64_t seed = 0; seed < 2; ++seed) {
    threads.emplace_back([&, seed] {
      std::mt19937_64 random(seed);
      for (int i = 0; i < 20'000; ++i) ask(*kept, random() % 4000, 300);
    });
  }
  threads.emplace_back([&] {
    for (int i = 0; i < 200; ++i) {
      auto other = rig.shares->open("other", {static_cast<std::uint64_t>(i % 3) * kTotal / 8, 0});
      if (!other) continue;
      for (int j = 0; j < 50; ++j) ask(**other, j, 500);
      rig.shares->resize(i % 4 == 0 ? kTotal / 2 : kTotal);
    }
  });
  int above = 0;
  for (int i = 0; i < 300; ++i) {
    rig.shares->balance();
    if (rig.shares->stats().bytes > kTotal) ++above;
    for (const Share& share : rig.shares->open_shares()) static_cast<void>(share->memory.stats());
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(above == 0);
  check_sums(*rig.shares, kTotal);
}
