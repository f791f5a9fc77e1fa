#include "tidegate/cache_workload.hpp"

#include <doctest/doctest.h>

using namespace tidegate;

namespace {

constexpr std::uint64_t kAnswerBytes = 1536;  // 384 numbers

}  // namespace

TEST_CASE("cache workloads: with the large preset each lands in the band that its service reports") {
  for (const CacheWorkload& workload : kCacheWorkloads) {
    const CacheOptions cache = with_preset({}, *cache_preset_of("large"), kAnswerBytes);
    const auto report = replay_cache_workload(workload, cache, kAnswerBytes, 300'000);
    MESSAGE(std::string(workload.name) << ": hit ratio " << report.hit_ratio() << ", " << report.entries << " entries");
    CHECK(report.hit_ratio() >= workload.least_hits);
    CHECK(report.hit_ratio() <= workload.most_hits);
    CHECK(report.bytes <= cache.memory.capacity_bytes);
  }
}

TEST_CASE("cache workloads: equal arguments give equal reports, a smaller cache or a shorter life fewer hits") {
  const CacheWorkload workload = *cache_workload_of("concepts");
  const CacheOptions large = with_preset({}, *cache_preset_of("large"), kAnswerBytes);
  const CacheOptions small = with_preset({}, *cache_preset_of("small"), kAnswerBytes);
  CacheOptions hasty = large;
  hasty.time_to_live = std::chrono::minutes(1);
  const auto report = replay_cache_workload(workload, large, kAnswerBytes, 50'000);
  CHECK(replay_cache_workload(workload, large, kAnswerBytes, 50'000).hits == report.hits);
  CHECK(replay_cache_workload(workload, small, kAnswerBytes, 50'000).hits < report.hits);
  CHECK(replay_cache_workload(workload, hasty, kAnswerBytes, 50'000).hits < report.hits);
}

TEST_CASE("cache presets: the memory tier holds as many answers as the preset says") {
  for (const CachePreset& preset : kCachePresets) {
    for (const std::uint64_t bytes : {std::uint64_t{64}, kAnswerBytes}) {
      const CacheOptions cache = with_preset({}, preset, bytes);
      CHECK(cache.time_to_live == preset.time_to_live);
      CHECK(cache.tier_time_to_live == std::chrono::hours(7 * 24));
      // Every key about once: nothing but room decides.
      const CacheWorkload even{"even", static_cast<std::uint32_t>(preset.entries), 0, 1e6, 0, 1};
      const auto report = replay_cache_workload(even, cache, bytes, 20 * preset.entries);
      CHECK(report.entries == preset.entries);
      CHECK(report.hits == report.requests);
    }
  }
  CHECK_FALSE(cache_preset_of("huge"));
  CHECK_FALSE(cache_workload_of("huge"));
}
