// What the default eviction policy is chosen for, beside LRU and the best possible one.
#include "cache/s3_fifo.hpp"

#include <doctest/doctest.h>

#include "cache/memory_cache.hpp"
#include "cache_fixtures.hpp"
#include "support/manual_clock.hpp"
#include "traces.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

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

TEST_CASE("s3-fifo: a key that comes back soon after it left starts in main") {
  S3Fifo order(16);
  order.set_budget(120);
  std::vector<S3Fifo::Node> nodes(12);
  for (std::uint32_t i = 0; i < nodes.size(); ++i) {
    nodes[i].bytes = 10;
    nodes[i].key[0] = static_cast<std::uint8_t>(i);
    order.admit(nodes[i]);
    CHECK(nodes[i].part == S3Fifo::small);
    order.add(nodes[i]);
  }
  S3Fifo::Node again;
  again.bytes = 10;
  CHECK(order.evict(again) == &nodes[0]);
  order.admit(again);
  CHECK(again.part == S3Fifo::main);
  order.admit(again);
  CHECK(again.part == S3Fifo::small);
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
