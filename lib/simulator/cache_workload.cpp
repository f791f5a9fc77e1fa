#include "tidegate/cache_workload.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "cache/memory_cache.hpp"
#include "request/record_codec.hpp"

namespace tidegate {
namespace {

/// Time of the stream: it goes on with every request.
class StreamClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const noexcept override { return now_; }
  AlarmId call_at(TimePoint /*when*/, UniqueFunction<void()> /*alarm*/) override { return {}; }
  bool cancel(AlarmId /*id*/) override { return false; }
  void advance(Duration step) noexcept { now_ += step; }

 private:
  TimePoint now_{std::chrono::hours(1)};
};

/// Draws ranks by Zipf's law.
class ZipfRanks {
 public:
  ZipfRanks(std::uint32_t keys, double exponent) : upto_(keys) {
    double sum = 0;
    for (std::uint32_t i = 0; i < keys; ++i) upto_[i] = sum += std::pow(i + 1, -exponent);
  }
  [[nodiscard]] std::uint64_t draw(std::mt19937_64& random) const {
    // Not std::uniform_real_distribution, whose numbers may differ from library to library.
    const double at = static_cast<double>(random() >> 11) * 0x1p-53 * upto_.back();
    return static_cast<std::uint64_t>(std::upper_bound(upto_.begin(), upto_.end(), at) - upto_.begin());
  }

 private:
  std::vector<double> upto_;  ///< sums of the weights
};

CacheKey key_of_rank(std::uint64_t rank) noexcept {
  CacheKey key{};
  std::memcpy(key.data(), &rank, sizeof rank);
  return key;
}

}  // namespace

std::optional<CacheWorkload> cache_workload_of(std::string_view name) noexcept {
  const auto* const found = std::find_if(kCacheWorkloads.begin(), kCacheWorkloads.end(),
                                         [&](const CacheWorkload& one) { return one.name == name; });
  return found != kCacheWorkloads.end() ? std::optional(*found) : std::nullopt;
}

CacheWorkloadReport replay_cache_workload(const CacheWorkload& workload, const CacheOptions& options,
                                          std::uint64_t answer_bytes, std::uint64_t requests) {
  const auto clock = std::make_shared<StreamClock>();
  MemoryCache cache(options.memory, clock);
  const ZipfRanks ranks(workload.keys, workload.exponent);
  std::mt19937_64 random(1);
  const auto step = Duration(static_cast<std::int64_t>(1e9 / workload.requests_per_second));
  const std::vector<float> numbers(answer_bytes / sizeof(float));
  const std::vector<Tensor> answer{Tensor::vector_of(numbers)};
  CacheWorkloadReport report;
  for (std::uint64_t i = 0; i < 2 * requests; ++i) {
    clock->advance(step);
    const CacheKey key = key_of_rank(ranks.draw(random));
    const bool hit = cache.find(key).has_value();
    if (!hit) cache.put({key, encode_record(key, answer, 0), options.time_to_live});
    if (i < requests) continue;
    ++report.requests;
    report.hits += hit ? 1 : 0;
  }
  const CacheTierStats stats = cache.stats();
  report.entries = stats.entries;
  report.bytes = stats.bytes;
  return report;
}

}  // namespace tidegate
