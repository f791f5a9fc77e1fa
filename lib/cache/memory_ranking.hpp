// MemoryRanking: the entries of memory tiers, those first that are worth most.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cache/tiered_cache.hpp"

namespace tidegate {

/// Worth is how often an entry is asked for, as far as the policy tells, times the life it has left. Takes 16 bytes
/// an entry; entries are copied one at a time. One that comes meanwhile is missed, or takes another one's place.
class MemoryRanking {
 public:
  struct Ranked {
    CacheEntry entry;
    const std::string& model;
  };

  /// May throw std::bad_alloc.
  MemoryRanking(std::vector<TieredCache::MemoryPart> parts, TimePoint now);

  [[nodiscard]] std::optional<Ranked> next();

 private:
  struct Place {
    float worth = 0;
    std::uint32_t node = 0;
    std::uint32_t shard = 0;
    std::uint32_t part = 0;
  };

  std::vector<TieredCache::MemoryPart> parts_;
  std::vector<Place> places_;
  std::size_t next_ = 0;
};

}  // namespace tidegate
