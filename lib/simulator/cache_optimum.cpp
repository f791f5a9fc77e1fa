// What a cache that knows the future hits: a bound for every policy.
#include <iterator>
#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "base/try.hpp"
#include "simulator/cache_trace.hpp"

namespace tidegate {
namespace {

constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

/// For each request when its key is asked for next; kNever = not again.
std::vector<std::uint64_t> next_uses(const CacheTrace& trace) {
  std::vector<std::uint64_t> next(trace.lookups.size());
  std::vector<std::uint64_t> seen(trace.keys, kNever);
  for (std::size_t i = trace.lookups.size(); i-- > 0;) {
    next[i] = std::exchange(seen[trace.lookups[i].key], i);
  }
  return next;
}

}  // namespace

Result<CacheReplay> replay_cache_optimum(const std::string& path, CacheTraceFormat format, std::uint64_t capacity) {
  if (capacity == 0) return Error(ErrorCode::invalid_argument, "capacity is 0; give at least 1");
  TIDEGATE_TRY(const CacheTrace trace, read_cache_trace(path, format));
  const std::vector<std::uint64_t> next = next_uses(trace);
  CacheReplay report;
  report.keys = trace.keys;
  std::set<std::pair<std::uint64_t, std::uint32_t>> held;  // next use and key
  std::vector<std::uint32_t> bytes(trace.keys, 0);         // of those held
  std::uint64_t used = 0;
  for (std::size_t i = 0; i < trace.lookups.size(); ++i) {
    const CacheTrace::Lookup& lookup = trace.lookups[i];
    ++report.requests;
    const bool hit = held.erase({i, lookup.key}) > 0;
    if (hit) {
      used -= bytes[lookup.key];
    } else {
      ++report.misses;
    }
    // It competes with all others for its place; whoever is asked for last gives way.
    held.insert({next[i], lookup.key});
    bytes[lookup.key] = hit ? bytes[lookup.key] : lookup.bytes;
    used += bytes[lookup.key];
    while (used > capacity) {
      const auto last = std::prev(held.end());
      used -= bytes[last->second];
      report.evicted += last->second != lookup.key || hit ? 1 : 0;
      report.rejected += last->second == lookup.key && !hit ? 1 : 0;
      held.erase(last);
    }
  }
  return report;
}

}  // namespace tidegate
