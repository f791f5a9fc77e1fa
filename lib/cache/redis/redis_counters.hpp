// RedisCounters: what the tier counts, from any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

#include "metrics/log_linear_histogram.hpp"
#include "tidegate/redis_cache.hpp"

namespace tidegate {

using RedisCount = std::uint64_t RedisCacheStats::*;

/// A counter's metric: series of one name differ by their cause.
struct RedisSeries {
  RedisCount count;
  const char* name;
  const char* help;
  std::string_view cause;  ///< empty = the metric has none
};

constexpr const char* kMissesName = "tidegate_redis_misses_total";
constexpr const char* kMissesHelp = "Keys without an answer from Redis, by cause";
constexpr const char* kErrorsName = "tidegate_redis_error_replies_total";
constexpr const char* kErrorsHelp = "Error replies of Redis, by cause";
constexpr const char* kDroppedName = "tidegate_redis_dropped_writes_total";
constexpr const char* kDroppedHelp = "Answers that were not written to Redis, by cause";

inline constexpr std::array kRedisSeries{
    RedisSeries{&RedisCacheStats::hits, "tidegate_redis_hits_total", "Keys answered by Redis", ""},
    RedisSeries{&RedisCacheStats::absent, kMissesName, kMissesHelp, "absent"},
    RedisSeries{&RedisCacheStats::expired, kMissesName, kMissesHelp, "expired"},
    RedisSeries{&RedisCacheStats::corrupt, kMissesName, kMissesHelp, "corrupt"},
    RedisSeries{&RedisCacheStats::forged, kMissesName, kMissesHelp, "forged"},
    RedisSeries{&RedisCacheStats::timeouts, kMissesName, kMissesHelp, "timeout"},
    RedisSeries{&RedisCacheStats::silent, kMissesName, kMissesHelp, "silence"},
    RedisSeries{&RedisCacheStats::refused, kMissesName, kMissesHelp, "breaker_open"},
    RedisSeries{&RedisCacheStats::overflowed, kMissesName, kMissesHelp, "overflow"},
    RedisSeries{&RedisCacheStats::lost, kMissesName, kMissesHelp, "connection_lost"},
    RedisSeries{&RedisCacheStats::failed, kMissesName, kMissesHelp, "error_reply"},
    RedisSeries{&RedisCacheStats::moved, kErrorsName, kErrorsHelp, "moved"},
    RedisSeries{&RedisCacheStats::read_only, kErrorsName, kErrorsHelp, "read_only"},
    RedisSeries{&RedisCacheStats::loading, kErrorsName, kErrorsHelp, "loading"},
    RedisSeries{&RedisCacheStats::out_of_memory, kErrorsName, kErrorsHelp, "out_of_memory"},
    RedisSeries{&RedisCacheStats::no_auth, kErrorsName, kErrorsHelp, "no_auth"},
    RedisSeries{&RedisCacheStats::other_errors, kErrorsName, kErrorsHelp, "other"},
    RedisSeries{&RedisCacheStats::written, "tidegate_redis_written_total", "Answers Redis has acknowledged", ""},
    RedisSeries{&RedisCacheStats::dropped_full, kDroppedName, kDroppedHelp, "queue_full"},
    RedisSeries{&RedisCacheStats::dropped_open, kDroppedName, kDroppedHelp, "breaker_open"},
    RedisSeries{&RedisCacheStats::dropped_refused, kDroppedName, kDroppedHelp, "refused"},
    RedisSeries{&RedisCacheStats::dropped_lost, kDroppedName, kDroppedHelp, "connection_lost"},
    RedisSeries{&RedisCacheStats::dropped_unfit, kDroppedName, kDroppedHelp, "unfit"},
    RedisSeries{&RedisCacheStats::commands, "tidegate_redis_gets_total", "MGET commands sent", ""},
    RedisSeries{&RedisCacheStats::discarded, "tidegate_redis_discarded_total",
                "Values that came too late for their look-up", ""},
    RedisSeries{&RedisCacheStats::connections, "tidegate_redis_connections_total", "Connections opened", ""},
    RedisSeries{&RedisCacheStats::breaker_openings, "tidegate_redis_breaker_openings_total",
                "Times the circuit breaker opened", ""},
};

/// Relaxed throughout: counters, read one by one.
class RedisCounters {
 public:
  void add(RedisCount count, std::uint64_t amount = 1) noexcept {
    at(count).fetch_add(amount, std::memory_order_relaxed);
  }
  void set_breaker(RedisBreaker state) noexcept { breaker_.store(state, std::memory_order_release); }
  void record_latency(Duration time) noexcept { latency_.record(std::chrono::duration<double>(time).count()); }

  [[nodiscard]] RedisCacheStats stats() const {
    RedisCacheStats all;
    for (std::size_t i = 0; i < kRedisSeries.size(); ++i) {
      all.*kRedisSeries[i].count = values_[i].load(std::memory_order_relaxed);
    }
    all.breaker = breaker_.load(std::memory_order_acquire);
    return all;
  }

  void collect(std::vector<MetricSample>& samples) const {
    for (std::size_t i = 0; i < kRedisSeries.size(); ++i) {
      const RedisSeries& one = kRedisSeries[i];
      MetricLabels labels;
      if (!one.cause.empty()) labels.emplace_back("cause", one.cause);
      samples.push_back({one.name, one.help, MetricKind::counter, std::move(labels),
                         static_cast<double>(values_[i].load(std::memory_order_relaxed))});
    }
    samples.push_back({"tidegate_redis_breaker_state",
                       "Circuit breaker: 0 closed, 1 open, 2 half-open",
                       MetricKind::gauge,
                       {},
                       static_cast<double>(breaker_.load(std::memory_order_acquire))});
    MetricSample latency{
        "tidegate_redis_lookup_seconds", "Time of a look-up that Redis answered", MetricKind::histogram, {}};
    latency_.read_into(latency);
    samples.push_back(std::move(latency));
  }

 private:
  std::atomic<std::uint64_t>& at(RedisCount count) noexcept {
    std::size_t i = 0;
    while (kRedisSeries[i].count != count) ++i;
    return values_[i];
  }

  std::array<std::atomic<std::uint64_t>, kRedisSeries.size()> values_{};
  std::atomic<RedisBreaker> breaker_{RedisBreaker::closed};
  LogLinearHistogram latency_;
};

}  // namespace tidegate
