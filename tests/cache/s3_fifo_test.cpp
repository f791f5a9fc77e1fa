// The eviction policy against its reference, and against the best possible one.
#include "cache/s3_fifo.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <map>
#include <random>
#include <set>

#include "cache/key_index.hpp"
#include "cache/memory_cache.hpp"
#include "cache_fixtures.hpp"
#include "naive_s3_fifo.hpp"
#include "support/manual_clock.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

using Trace = std::vector<std::uint64_t>;

/// Mostly popular keys (exponent as given), with scans of keys that never come again.
Trace random_trace(std::uint64_t seed, std::size_t length, std::uint64_t keys, double exponent) {
  std::mt19937_64 random(seed);
  std::vector<double> weights;
  for (std::uint64_t i = 1; i <= keys; ++i) weights.push_back(1.0 / std::pow(static_cast<double>(i), exponent));
  std::discrete_distribution<std::uint64_t> popular(weights.begin(), weights.end());
  Trace trace;
  std::uint64_t scanned = keys;
  while (trace.size() < length) {
    if (random() % 200 == 0) {
      for (int i = 0; i < 60; ++i) trace.push_back(scanned++);
    }
    trace.push_back(popular(random));
  }
  return trace;
}

/// The bytes of a key's record: the same each time it is put.
std::size_t size_of(std::uint64_t key, std::size_t smallest, std::size_t largest) {
  return smallest + (key * 0x9E3779B97F4A7C15ULL >> 33) % (largest - smallest + 1);
}

/// MemoryCache with one shard, re-told around NaiveS3Fifo: the same budget, the same
/// index sizes, everything else by search.
class NaiveCache {
 public:
  NaiveCache(std::uint64_t capacity, std::uint64_t bytes_when_empty)
      : capacity_(capacity),
        slots_(std::bit_ceil(std::max<std::uint64_t>(capacity / 4096, 16))),
        fixed_(bytes_when_empty - KeyIndex::heap_bytes(slots_)),
        order_(std::bit_ceil(std::max<std::uint64_t>(capacity / 2048, 16))) {}

  bool get(std::uint64_t key) { return order_.get(key); }
  void erase(std::uint64_t key) { order_.take(key); }

  void put(std::uint64_t key, std::uint64_t bytes) {
    const bool fits = bytes <= capacity_ / 8;
    NaiveS3Fifo::Place place{false, 0};
    if (const auto old = order_.take(key)) {
      place = *old;
    } else if (fits) {
      place.in_main = order_.admit_to_main(key);
    }
    if (!fits) return;
    while (this->bytes() + bytes + (full() ? KeyIndex::heap_bytes(2 * slots_) : 0) > capacity_) {
      if (!order_.evict(capacity_ - fixed_ - KeyIndex::heap_bytes(slots_))) return;
    }
    if (full()) slots_ *= 2;
    order_.push(key, bytes, place);
  }

  [[nodiscard]] std::uint64_t bytes() const { return fixed_ + KeyIndex::heap_bytes(slots_) + order_.bytes(); }
  [[nodiscard]] std::size_t count() const { return order_.count(); }

 private:
  [[nodiscard]] bool full() const { return (order_.count() + 1) * 4 > slots_ * 3; }

  const std::uint64_t capacity_;
  std::uint64_t slots_;
  const std::uint64_t fixed_;
  NaiveS3Fifo order_;
};

/// Replays with a put on every miss, and now and then a refresh or an erase.
void check_same_decisions(std::uint64_t capacity, std::size_t smallest, std::size_t largest, const Trace& trace) {
  const auto clock = std::make_shared<ManualClock>();
  MemoryCache cache({capacity, 1}, clock);
  NaiveCache naive(capacity, cache.stats().bytes);
  std::size_t hits = 0;
  std::size_t differences = 0;
  for (std::size_t i = 0; i < trace.size(); ++i) {
    const std::uint64_t key = trace[i];
    const std::size_t size = size_of(key, smallest, largest);
    const bool hit = cache.get(key_of(key)).has_value();
    hits += hit ? 1 : 0;
    if (hit != naive.get(key)) ++differences;
    if (!hit || i % 97 == 0) {
      const CacheEntry entry = entry_of(key, size);
      cache.put(entry);
      naive.put(key, MemoryCache::charge_of(entry.record));
    }
    if (i % 211 == 0) {
      cache.erase(key_of(trace[i / 2]));
      naive.erase(trace[i / 2]);
    }
    const CacheTierStats stats = cache.stats();
    if (stats.bytes != naive.bytes() || stats.entries != naive.count()) ++differences;
  }
  CHECK(differences == 0);
  CHECK(hits > trace.size() / 20);
  CHECK(hits < trace.size());
  CHECK(cache.stats().evicted > 0);
}

/// Hits of Belady's optimal policy that may also decline to store: no policy with room
/// for `capacity` entries has more.
std::size_t belady_hits(const Trace& trace, std::size_t capacity) {
  constexpr std::size_t kNever = ~std::size_t{0};
  std::vector<std::size_t> next_use(trace.size(), kNever);
  std::map<std::uint64_t, std::size_t> seen;
  for (std::size_t i = trace.size(); i-- > 0;) {
    if (const auto later = seen.find(trace[i]); later != seen.end()) next_use[i] = later->second;
    seen[trace[i]] = i;
  }
  std::set<std::pair<std::size_t, std::uint64_t>> by_next_use;
  std::map<std::uint64_t, std::size_t> held;
  std::size_t hits = 0;
  for (std::size_t i = 0; i < trace.size(); ++i) {
    if (const auto it = held.find(trace[i]); it != held.end()) {
      ++hits;
      by_next_use.erase({it->second, trace[i]});
    }
    held[trace[i]] = next_use[i];
    by_next_use.insert({next_use[i], trace[i]});
    if (held.size() > capacity) {
      const auto farthest = std::prev(by_next_use.end());
      held.erase(farthest->second);
      by_next_use.erase(farthest);
    }
  }
  return hits;
}

std::size_t lru_hits(const Trace& trace, std::size_t capacity) {
  std::map<std::uint64_t, std::size_t> last_use;
  std::set<std::pair<std::size_t, std::uint64_t>> by_use;
  std::size_t hits = 0;
  for (std::size_t i = 0; i < trace.size(); ++i) {
    if (const auto it = last_use.find(trace[i]); it != last_use.end()) {
      ++hits;
      by_use.erase({it->second, trace[i]});
    }
    last_use[trace[i]] = i;
    by_use.insert({i, trace[i]});
    if (last_use.size() > capacity) {
      last_use.erase(by_use.begin()->second);
      by_use.erase(by_use.begin());
    }
  }
  return hits;
}

}  // namespace

TEST_CASE("s3-fifo: the memory cache hits, evicts and weighs exactly as the reference does") {
  SUBCASE("few large entries") { check_same_decisions(1 << 20, 200, 20000, random_trace(1, 12000, 600, 0.8)); }
  SUBCASE("many entries, more of them than ghosts, with an index that grows") {
    check_same_decisions(256 << 10, 8, 200, random_trace(2, 12000, 3000, 0.9));
  }
  SUBCASE("some entries above an eighth of the shard") {
    check_same_decisions(128 << 10, 1000, 20000, random_trace(3, 12000, 80, 0.6));
  }
  SUBCASE("a small shard") { check_same_decisions(8192, 8, 600, random_trace(4, 12000, 60, 0.8)); }
  SUBCASE("one size") { check_same_decisions(300000, 1500, 1500, random_trace(5, 12000, 500, 1.0)); }
}

TEST_CASE("s3-fifo: one pass over new keys does not push out keys that are read again and again") {
  const auto clock = std::make_shared<ManualClock>();
  MemoryCache cache({1 << 20, 1}, clock);
  for (std::uint64_t key = 0; key < 100; ++key) cache.put(entry_of(key, 4000));
  for (int round = 0; round < 3; ++round) {
    for (std::uint64_t key = 0; key < 100; ++key) CHECK(cache.get(key_of(key)));
  }
  for (std::uint64_t key = 1000; key < 3000; ++key) cache.put(entry_of(key, 4000));
  std::size_t kept = 0;
  for (std::uint64_t key = 0; key < 100; ++key) kept += cache.get(key_of(key)) ? 1 : 0;
  CHECK(kept == 100);
}

TEST_CASE("s3-fifo: a key that comes back soon after it left starts in main") {
  S3Fifo order(16);
  std::vector<S3Fifo::Node> nodes(12);
  for (std::uint32_t i = 0; i < nodes.size(); ++i) {
    nodes[i].bytes = 10;
    nodes[i].fingerprint = i;
    CHECK(order.admit(i) == S3Fifo::Queue::small);
    order.push(nodes[i], S3Fifo::Queue::small);
  }
  CHECK(order.bytes() == 120);
  CHECK(order.evict(120) == &nodes[0]);
  CHECK(order.bytes() == 110);
  CHECK(order.admit(0) == S3Fifo::Queue::main);
  CHECK(order.admit(0) == S3Fifo::Queue::small);
}

TEST_CASE("s3-fifo: evicting everything ends, whatever the counters, and empties both queues") {
  std::mt19937_64 random(3);
  S3Fifo order(64);
  std::vector<S3Fifo::Node> nodes(500);
  for (auto& node : nodes) {
    node.bytes = 1 + random() % 100;
    node.fingerprint = static_cast<std::uint32_t>(random());
    for (std::uint64_t hit = random() % 9; hit > 0; --hit) S3Fifo::touch(node);
    CHECK(node.frequency <= S3Fifo::kMaxFrequency);
    order.push(node, random() % 2 == 0 ? S3Fifo::Queue::small : S3Fifo::Queue::main);
  }
  std::set<S3Fifo::Node*> evicted;
  while (S3Fifo::Node* victim = order.evict(5000)) evicted.insert(victim);
  CHECK(evicted.size() == nodes.size());
  CHECK(order.bytes() == 0);
}

TEST_CASE("s3-fifo: hits lie between LRU's and Belady's where popular keys mix with scans") {
  for (const double exponent : {0.7, 0.9, 1.1}) {
    const Trace trace = random_trace(77, 40000, 4000, exponent);
    const auto clock = std::make_shared<ManualClock>();
    MemoryCache cache({512 << 10, 1}, clock);
    std::size_t hits = 0;
    std::size_t most_entries = 0;
    for (const std::uint64_t key : trace) {
      if (cache.get(key_of(key))) {
        ++hits;
      } else {
        cache.put(entry_of(key, 1000));
        most_entries = std::max<std::size_t>(most_entries, cache.stats().entries);
      }
    }
    const std::size_t best = belady_hits(trace, most_entries);
    const std::size_t lru = lru_hits(trace, most_entries);
    MESSAGE("zipf " << exponent << ", " << most_entries << " entries: LRU " << lru << ", S3-FIFO " << hits
                    << ", Belady " << best << " of " << trace.size());
    CHECK(hits <= best);
    CHECK(hits >= lru);
  }
}

TEST_CASE("s3-fifo: sharding costs little where a shard has enough entries") {
  const Trace trace = random_trace(78, 60000, 20000, 0.9);
  std::vector<double> ratios;
  for (const std::uint32_t shards : {1U, 8U}) {
    const auto clock = std::make_shared<ManualClock>();
    // About 4000 entries: 500 a shard.
    MemoryCache cache({2 << 20, shards}, clock);
    std::size_t hits = 0;
    for (const std::uint64_t key : trace) {
      if (cache.get(key_of(key))) {
        ++hits;
      } else {
        cache.put(entry_of(key, 300));
      }
    }
    ratios.push_back(static_cast<double>(hits) / static_cast<double>(trace.size()));
  }
  MESSAGE("hit ratio: 1 shard " << ratios[0] << ", 8 shards " << ratios[1]);
  CHECK(std::abs(ratios[0] - ratios[1]) <= 0.01);
}
