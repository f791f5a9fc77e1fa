// Sequences of keys for the cache tests, and what the best possible cache makes of them.
#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

namespace tidegate::test {

using Trace = std::vector<std::uint64_t>;

/// Mostly popular keys (exponent as given), with scans of keys that never come again.
inline Trace random_trace(std::uint64_t seed, std::size_t length, std::uint64_t keys, double exponent) {
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

/// Hits of Belady's optimal policy that may also decline to store: no policy with room
/// for `capacity` entries has more.
inline std::size_t belady_hits(const Trace& trace, std::size_t capacity) {
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

}  // namespace tidegate::test
