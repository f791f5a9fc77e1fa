// Sizes of caches that services of known load have come to, as starting points.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "tidegate/cache.hpp"

namespace tidegate {

struct CachePreset {
  std::string_view name;
  std::uint64_t entries = 0;     ///< that the memory tier is to hold
  Duration time_to_live{};       ///< in memory
  Duration tier_time_to_live{};  ///< in further tiers
};

/// `small`: one instance at the start. `large`: some thousand users. What is shared lives for a week.
inline constexpr std::array kCachePresets{
    CachePreset{"small", 1'000, std::chrono::hours(1), std::chrono::hours(7 * 24)},
    CachePreset{"large", 50'000, std::chrono::hours(24), std::chrono::hours(7 * 24)},
};

/// The preset of that name; empty for any other name.
[[nodiscard]] std::optional<CachePreset> cache_preset_of(std::string_view name) noexcept;

/// What the memory tier takes beside an answer's numbers, at most, for entries, index and policy.
inline constexpr std::uint64_t kCacheBytesBesideAnswer = 512;

/// `base` with lives and memory budget of the preset, for answers of `answer_bytes` each (an embedding of 384
/// numbers: 1536). The budget holds the preset's entries with a tenth to spare.
[[nodiscard]] CacheOptions with_preset(CacheOptions base, const CachePreset& preset, std::uint64_t answer_bytes);

}  // namespace tidegate
