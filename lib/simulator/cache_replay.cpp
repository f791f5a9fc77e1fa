#include <algorithm>
#include <bit>
#include <cstring>

#include "base/try.hpp"
#include "cache/eviction_policy.hpp"
#include "simulator/cache_trace.hpp"

namespace tidegate {
namespace {

/// As in the memory tier: a larger entry would push out too many others.
constexpr std::uint64_t kLargestEntryPart = 8;

/// As many as there are keys: no limit on what the policy remembers but its own. The sketch of
/// W-TinyLFU ages by its size, so it gets that of the cache.
std::uint32_t remembered_keys(const CacheTrace& trace, const CacheReplayOptions& options) {
  std::uint64_t keys = trace.keys;
  if (options.policy == CachePolicy::w_tiny_lfu && !trace.lookups.empty()) {
    std::uint64_t bytes = 0;
    for (const CacheTrace::Lookup& lookup : trace.lookups) bytes += lookup.bytes;
    const std::uint64_t usual = std::max<std::uint64_t>(bytes / trace.lookups.size(), 1);
    keys = std::min(keys, options.capacity / usual);
  }
  return static_cast<std::uint32_t>(std::bit_ceil(std::clamp<std::uint64_t>(keys, 16, 1U << 31)));
}

class Replay {
 public:
  Replay(const CacheTrace& trace, const CacheReplayOptions& options)
      : capacity_(options.capacity),
        largest_(trace.sized ? capacity_ / kLargestEntryPart : capacity_),
        order_(make_eviction_policy(options.policy, remembered_keys(trace, options))),
        nodes_(trace.keys),
        held_(trace.keys) {
    order_->set_budget(capacity_);
    report_.keys = trace.keys;
  }

  void look_up(const CacheTrace::Lookup& lookup) {
    ++report_.requests;
    EvictionPolicy::Node& node = nodes_[lookup.key];
    if (held_[lookup.key]) {
      order_->hit(node);
      return;
    }
    ++report_.misses;
    if (!store(node, lookup)) ++report_.rejected;
  }

  [[nodiscard]] const CacheReplay& report() const noexcept { return report_; }

 private:
  [[nodiscard]] bool store(EvictionPolicy::Node& node, const CacheTrace::Lookup& lookup) {
    if (lookup.bytes > largest_) return false;
    node = {};
    node.bytes = lookup.bytes;
    // Nothing else in the key: no two have one fingerprint.
    std::memcpy(node.key.data(), &lookup.key, sizeof(lookup.key));
    node.expires_at = TimePoint(Duration(report_.requests));
    order_->admit(node);
    while (used_ + lookup.bytes > capacity_) {
      const EvictionPolicy::Node* victim = order_->evict(node);
      if (victim == nullptr) return false;
      ++report_.evicted;
      used_ -= victim->bytes;
      held_[victim->fingerprint()] = false;
    }
    order_->add(node);
    used_ += lookup.bytes;
    held_[lookup.key] = true;
    return true;
  }

  const std::uint64_t capacity_;
  const std::uint64_t largest_;
  const std::unique_ptr<EvictionPolicy> order_;
  std::vector<EvictionPolicy::Node> nodes_;  ///< by number of the key
  std::vector<bool> held_;
  std::uint64_t used_ = 0;
  CacheReplay report_;
};

}  // namespace

Result<CacheReplay> replay_cache_trace(const std::string& path, const CacheReplayOptions& options) {
  if (options.capacity == 0) {
    return Error(ErrorCode::invalid_argument, "capacity is 0; give at least 1 (bytes, or entries for a trace of keys)");
  }
  TIDEGATE_TRY(const CacheTrace trace, read_cache_trace(path, options.format));
  Replay replay(trace, options);
  for (const CacheTrace::Lookup& lookup : trace.lookups) replay.look_up(lookup);
  return replay.report();
}

}  // namespace tidegate
