// RedisTier: the tier as callers' threads see it.
#pragma once

#include <memory>

#include "base/thread_pool.hpp"
#include "cache/redis/redis_session.hpp"

namespace tidegate {

/// Hands look-ups and writes to the network thread, which owns everything else. Where
/// the circuit breaker is open, look-ups end here.
class RedisTier final : public RedisCache {
 public:
  /// `alarms`: empty = the network thread's own timer. Throws std::system_error where
  /// the system has no thread.
  RedisTier(RedisCacheOptions options, std::shared_ptr<const RedisEndpoint> endpoint, std::shared_ptr<Clock> clock,
            std::shared_ptr<Clock> alarms, UnixClock unix_clock, std::uint64_t seed);
  ~RedisTier() override;

  [[nodiscard]] std::string_view name() const noexcept override { return "redis"; }
  void get_many(std::span<const CacheKey> keys, Deadline deadline, Lookup done) override;
  void put_many(std::span<const CacheEntry> entries) override;
  void erase_many(std::span<const CacheKey> keys) override;
  [[nodiscard]] CacheTierStats stats() const override;
  void collect(std::vector<MetricSample>& samples) const override;

  [[nodiscard]] RedisCacheStats redis_stats() const override;

 private:
  struct State;

  /// False: the circuit breaker is open. The first caller after its time sends a probe.
  bool enter(TimePoint now);
  void push(WriteQueue::Item item);
  void announce();

  const RedisCacheOptions options_;
  const std::shared_ptr<Clock> clock_;
  std::shared_ptr<State> state_;
  std::unique_ptr<ThreadPool> thread_;
};

}  // namespace tidegate
