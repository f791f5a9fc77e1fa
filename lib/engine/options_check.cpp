#include "engine/options_check.hpp"

#include <fmt/format.h>

#include <bit>
#include <cmath>

#include "base/try.hpp"

namespace tidegate {
namespace {

template <class T>
Result<void> in_range(const char* option, T value, T least, T most) {
  if (value >= least && value <= most) return {};
  return Error(ErrorCode::invalid_argument, fmt::format("{} is {}; it must be {} to {}", option, value, least, most));
}

Result<void> not_negative(const char* option, Duration value) {
  if (value >= Duration::zero()) return {};
  return Error(ErrorCode::invalid_argument, fmt::format("{} is {} ns; it must not be negative", option, value.count()));
}

constexpr std::uint64_t kMostBytes = 1ULL << 50;
constexpr std::uint64_t kMostTokens = 1ULL << 50;

}  // namespace

Result<void> check_options(const EngineOptions& options) {
  const CacheOptions& cache = options.cache;
  TIDEGATE_CHECK(in_range<std::uint64_t>("cache.memory.capacity_bytes", cache.memory.capacity_bytes, 0, kMostBytes));
  TIDEGATE_CHECK(in_range<std::uint32_t>("cache.memory.shards", cache.memory.shards, 1, 256));
  if (!std::has_single_bit(cache.memory.shards)) {
    return Error(ErrorCode::invalid_argument,
                 fmt::format("cache.memory.shards is {}; it must be a power of two", cache.memory.shards));
  }
  if (cache.time_to_live <= Duration::zero()) {
    return Error(ErrorCode::invalid_argument, "cache.time_to_live must be above zero");
  }
  TIDEGATE_CHECK(not_negative("cache.lookup_budget", cache.lookup_budget));
  for (std::size_t i = 0; i < cache.tiers.size(); ++i) {
    if (cache.tiers[i] == nullptr) {
      return Error(ErrorCode::invalid_argument, fmt::format("cache.tiers[{}] is empty", i));
    }
  }
  return not_negative("drain_timeout", options.drain_timeout);
}

Result<void> check_options(const ModelOptions& options) {
  const BatchingOptions& batching = options.batching;
  TIDEGATE_CHECK(in_range<std::uint32_t>("batching.max_batch_size", batching.max_batch_size, 1, 1U << 20));
  TIDEGATE_CHECK(in_range<std::uint64_t>("batching.max_batch_tokens", batching.max_batch_tokens, 1, kMostTokens));
  TIDEGATE_CHECK(not_negative("batching.max_queue_delay", batching.max_queue_delay));
  const AdmissionOptions& admission = options.admission;
  TIDEGATE_CHECK(in_range<std::uint32_t>("admission.max_queued_items", admission.max_queued_items, 1, 1U << 22));
  TIDEGATE_CHECK(in_range<std::uint64_t>("admission.max_queued_tokens", admission.max_queued_tokens, 1, kMostTokens));
  return in_range<std::uint64_t>("admission.max_queued_bytes", admission.max_queued_bytes, 1, kMostBytes);
}

Result<void> check_options(const ReplicaOptions& options) {
  TIDEGATE_CHECK(in_range<std::uint32_t>("replica.concurrency", options.concurrency, 1, 1024));
  if (std::isfinite(options.weight) && options.weight > 0) return {};
  return Error(ErrorCode::invalid_argument,
               fmt::format("replica.weight is {}; it must be above zero and finite", options.weight));
}

}  // namespace tidegate
