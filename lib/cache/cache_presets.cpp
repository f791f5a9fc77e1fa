#include "tidegate/cache_presets.hpp"

#include <algorithm>

namespace tidegate {

std::optional<CachePreset> cache_preset_of(std::string_view name) noexcept {
  const auto* const found = std::find_if(kCachePresets.begin(), kCachePresets.end(),
                                         [&](const CachePreset& one) { return one.name == name; });
  return found != kCachePresets.end() ? std::optional(*found) : std::nullopt;
}

CacheOptions with_preset(CacheOptions base, const CachePreset& preset, std::uint64_t answer_bytes) {
  base.time_to_live = preset.time_to_live;
  base.tier_time_to_live = preset.tier_time_to_live;
  // Keys are not spread evenly over the shards: the fullest needs room, too.
  base.memory.capacity_bytes = preset.entries * (answer_bytes + kCacheBytesBesideAnswer) / 10 * 11;
  return base;
}

}  // namespace tidegate
