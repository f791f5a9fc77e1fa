#include "engine/options_check.hpp"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <utility>

#include "base/try.hpp"
#include "engine/option_limits.hpp"

namespace tidegate {
namespace {

template <class T>
Result<void> in_range(const char* option, T value, limits::Range range) {
  if (std::cmp_greater_equal(value, range.minimum) && std::cmp_less_equal(value, range.maximum)) return {};
  return Error(ErrorCode::invalid_argument,
               fmt::format("{} is {}; it must be {} to {}", option, value, range.minimum, range.maximum));
}

template <class Unit>
Result<void> in_range(const char* option, Duration value, limits::TimeRange<Unit> range) {
  if (value >= range.minimum && value <= range.maximum) return {};
  const auto ns = [](Duration time) { return time.count(); };
  return Error(ErrorCode::invalid_argument, fmt::format("{} is {} ns; it must be {} to {} ns", option, value.count(),
                                                        ns(range.minimum), ns(range.maximum)));
}

}  // namespace

Result<void> check_options(const EngineOptions& options) {
  const CacheOptions& cache = options.cache;
  TIDEGATE_CHECK(in_range("cache.memory.capacity_bytes", cache.memory.capacity_bytes, limits::kCacheCapacityBytes));
  TIDEGATE_CHECK(in_range("cache.memory.shards", cache.memory.shards, limits::kCacheShards));
  if (!std::has_single_bit(cache.memory.shards)) {
    return Error(ErrorCode::invalid_argument,
                 fmt::format("cache.memory.shards is {}; it must be a power of two", cache.memory.shards));
  }
  TIDEGATE_CHECK(in_range("cache.time_to_live", cache.time_to_live, limits::kTimeToLive));
  TIDEGATE_CHECK(in_range("cache.lookup_budget", cache.lookup_budget, limits::kLookupBudget));
  for (std::size_t i = 0; i < cache.tiers.size(); ++i) {
    if (cache.tiers[i] == nullptr) {
      return Error(ErrorCode::invalid_argument, fmt::format("cache.tiers[{}] is empty", i));
    }
  }
  return in_range("drain_timeout", options.drain_timeout, limits::kDrainTimeout);
}

Result<void> check_options(const ModelOptions& options) {
  const BatchingOptions& batching = options.batching;
  TIDEGATE_CHECK(in_range("batching.max_batch_size", batching.max_batch_size, limits::kBatchSize));
  TIDEGATE_CHECK(in_range("batching.max_batch_tokens", batching.max_batch_tokens, limits::kBatchTokens));
  TIDEGATE_CHECK(in_range("batching.max_queue_delay", batching.max_queue_delay, limits::kQueueDelay));
  const AdmissionOptions& admission = options.admission;
  TIDEGATE_CHECK(in_range("admission.max_queued_items", admission.max_queued_items, limits::kQueuedItems));
  TIDEGATE_CHECK(in_range("admission.max_queued_tokens", admission.max_queued_tokens, limits::kQueuedTokens));
  return in_range("admission.max_queued_bytes", admission.max_queued_bytes, limits::kQueuedBytes);
}

Result<void> check_options(const ReplicaOptions& options) {
  TIDEGATE_CHECK(in_range("replica.concurrency", options.concurrency, limits::kConcurrency));
  if (std::isfinite(options.weight) && options.weight > 0) return {};
  return Error(ErrorCode::invalid_argument,
               fmt::format("replica.weight is {}; it must be above zero and finite", options.weight));
}

}  // namespace tidegate
