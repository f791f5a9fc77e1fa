// Made-up request streams on the memory tier that runs live.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "tidegate/cache_presets.hpp"

namespace tidegate {

/// Requests whose keys follow Zipf's law: the key of rank r is asked for in proportion to r to the power of -exponent.
struct CacheWorkload {
  std::string_view name;
  std::uint32_t keys = 0;
  double exponent = 0;
  double requests_per_second = 0;
  double least_hits = 0, most_hits = 0;  ///< the share of hits that such services report
};

/// Of an embedding service: texts of a market that is in the news, questions of users, a fixed set of concepts.
inline constexpr std::array kCacheWorkloads{
    CacheWorkload{"financial", 600'000, 0.90, 5.0, 0.60, 0.70},
    CacheWorkload{"queries", 1'000'000, 0.82, 5.0, 0.40, 0.50},
    CacheWorkload{"concepts", 200'000, 1.0, 5.0, 0.80, 0.90},
};

/// The workload of that name; empty for any other name.
[[nodiscard]] std::optional<CacheWorkload> cache_workload_of(std::string_view name) noexcept;

struct CacheWorkloadReport {
  std::uint64_t requests = 0;  ///< counted after as many that only fill
  std::uint64_t hits = 0;
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;
  [[nodiscard]] double hit_ratio() const noexcept {
    return requests == 0 ? 0 : static_cast<double>(hits) / static_cast<double>(requests);
  }
};

/// Plays `requests` to fill and as many to count on a memory tier of these options, whose clock is the stream's own:
/// lives end as they would. Answers have `answer_bytes` and are stored after every miss. Equal for equal
/// arguments. Blocks for CPU work; may throw std::bad_alloc.
[[nodiscard]] CacheWorkloadReport replay_cache_workload(const CacheWorkload& workload, const CacheOptions& cache,
                                                        std::uint64_t answer_bytes, std::uint64_t requests);

}  // namespace tidegate
