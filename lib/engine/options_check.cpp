#include "engine/options_check.hpp"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <set>
#include <string>
#include <string_view>
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

/// Ascending and within max_batch_size, beyond which nothing would ever be run.
Result<void> check_sizes(const BatchingOptions& batching) {
  const std::vector<std::uint32_t>& sizes = batching.allowed_batch_sizes;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const std::string at = fmt::format("batching.allowed_batch_sizes[{}]", i);
    if (sizes[i] == 0 || sizes[i] > batching.max_batch_size) {
      return Error(ErrorCode::invalid_argument, fmt::format("{} is {}; it must be 1 to batching.max_batch_size, {}", at,
                                                            sizes[i], batching.max_batch_size));
    }
    if (i > 0 && sizes[i] <= sizes[i - 1]) {
      return Error(
          ErrorCode::invalid_argument,
          fmt::format("{} is {} after {}; list the sizes in ascending order, each once", at, sizes[i], sizes[i - 1]));
    }
  }
  return {};
}

Result<void> check_limits(const char* prefix, const TenantLimits& tenant) {
  const std::string of = prefix;
  TIDEGATE_CHECK(in_range((of + "requests_per_minute").c_str(), tenant.requests_per_minute, limits::kRate));
  TIDEGATE_CHECK(in_range((of + "requests_per_day").c_str(), tenant.requests_per_day, limits::kRate));
  return in_range((of + "tokens_per_minute").c_str(), tenant.tokens_per_minute, limits::kRate);
}

Result<void> check_tenants(const AdmissionOptions& admission) {
  TIDEGATE_CHECK(in_range("admission.max_tenants", admission.max_tenants, limits::kTenants));
  if (admission.max_tenants < admission.tenants.size()) {
    return Error(ErrorCode::invalid_argument,
                 fmt::format("admission.max_tenants is {}; it must be at least {}, as many as admission.tenants lists",
                             admission.max_tenants, admission.tenants.size()));
  }
  TIDEGATE_CHECK(check_limits("admission.", admission.tenant_limits));
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < admission.tenants.size(); ++i) {
    const TenantOptions& tenant = admission.tenants[i];
    const std::string at = fmt::format("admission.tenants[{}].", i);
    if (tenant.name.empty()) return Error(ErrorCode::invalid_argument, at + "name is empty; name the tenant");
    if (!names.insert(tenant.name).second) {
      return Error(ErrorCode::invalid_argument, fmt::format("{}name '{}' is listed twice", at, tenant.name));
    }
    if (!std::isfinite(tenant.weight) || tenant.weight <= 0) {
      return Error(ErrorCode::invalid_argument,
                   fmt::format("{}weight is {}; it must be above zero and finite", at, tenant.weight));
    }
    TIDEGATE_CHECK(check_limits(at.c_str(), tenant.limits));
  }
  return {};
}

Result<void> check_pool(const ModelOptions& options) {
  const PoolOptions& pool = options.pool;
  TIDEGATE_CHECK(in_range("pool.slots", pool.slots, limits::kPoolSlots));
  if (!std::isfinite(pool.weight) || pool.weight <= 0) {
    return Error(ErrorCode::invalid_argument,
                 fmt::format("pool.weight is {}; it must be above zero and finite", pool.weight));
  }
  if (!pool.name.empty() && options.batching.max_queue_delay > Duration::zero()) {
    return Error(ErrorCode::invalid_argument,
                 "batching.max_queue_delay must be 0 for a model in a pool: a slot that waits serves nobody");
  }
  return {};
}

Result<void> check_semantic(const SemanticCacheOptions& semantic) {
  const auto refuse = [](std::string_view option, double value, double least, double most) {
    return Error(ErrorCode::invalid_argument,
                 fmt::format("semantic.{} is {}; it must be {} to {}", option, value, least, most));
  };
  if (!(semantic.threshold >= 0.5F && semantic.threshold <= 1)) return refuse("threshold", semantic.threshold, 0.5, 1);
  if (!(semantic.false_hit_budget >= 0.0001 && semantic.false_hit_budget <= 0.5)) {
    return refuse("false_hit_budget", semantic.false_hit_budget, 0.0001, 0.5);
  }
  TIDEGATE_CHECK(in_range("semantic.audited_percent", semantic.audited_percent, limits::kAuditedPercent));
  TIDEGATE_CHECK(in_range("semantic.capacity_bytes", semantic.capacity_bytes, limits::kSemanticCapacity));
  TIDEGATE_CHECK(in_range("semantic.flat_limit", semantic.flat_limit, limits::kFlatLimit));
  return in_range("semantic.time_to_live", semantic.time_to_live, limits::kTimeToLive);
}

Result<void> check_share(const CacheShare& share) {
  TIDEGATE_CHECK(in_range("cache.share.min_bytes", share.min_bytes, limits::kCacheShareBytes));
  TIDEGATE_CHECK(in_range("cache.share.max_bytes", share.max_bytes, limits::kCacheShareBytes));
  if (share.max_bytes == 0 || share.max_bytes >= share.min_bytes) return {};
  return Error(ErrorCode::invalid_argument,
               fmt::format("cache.share.max_bytes is {}; it must be 0 (no limit) or {} (cache.share.min_bytes) to {}",
                           share.max_bytes, share.min_bytes, limits::kCacheShareBytes.maximum));
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
  if (cache.memory.per_model == CachePerModel::on && cache.memory.curve == CacheCurve::on) {
    return Error(ErrorCode::invalid_argument,
                 "cache.memory.curve is on; with cache.memory.per_model on it must be off");
  }
  TIDEGATE_CHECK(in_range("cache.time_to_live", cache.time_to_live, limits::kTimeToLive));
  TIDEGATE_CHECK(in_range("cache.tier_time_to_live", cache.tier_time_to_live, limits::kTierTimeToLive));
  TIDEGATE_CHECK(
      in_range("cache.time_to_live_jitter_percent", cache.time_to_live_jitter_percent, limits::kTimeToLiveJitter));
  TIDEGATE_CHECK(in_range("cache.fresh_for", cache.fresh_for, limits::kFreshFor));
  TIDEGATE_CHECK(in_range("cache.refresh_timeout", cache.refresh_timeout, limits::kRefreshTimeout));
  TIDEGATE_CHECK(in_range("cache.negative_time_to_live", cache.negative_time_to_live, limits::kNegativeTimeToLive));
  TIDEGATE_CHECK(in_range("cache.lookup_budget", cache.lookup_budget, limits::kLookupBudget));
  TIDEGATE_CHECK(in_range("cache.snapshot.capacity_bytes", cache.snapshot.capacity_bytes, limits::kSnapshotBytes));
  for (std::size_t i = 0; i < cache.tiers.size(); ++i) {
    if (cache.tiers[i] == nullptr) {
      return Error(ErrorCode::invalid_argument, fmt::format("cache.tiers[{}] is empty", i));
    }
  }
  TIDEGATE_CHECK(in_range("queue.max_queued_items", options.queue.max_queued_items, limits::kEngineItems));
  TIDEGATE_CHECK(in_range("queue.max_queued_tokens", options.queue.max_queued_tokens, limits::kEngineTokens));
  TIDEGATE_CHECK(in_range("queue.max_queued_bytes", options.queue.max_queued_bytes, limits::kEngineBytes));
  return in_range("drain_timeout", options.drain_timeout, limits::kDrainTimeout);
}

Result<void> check_options(const ModelOptions& options) {
  if (options.semantic) TIDEGATE_CHECK(check_semantic(*options.semantic));
  TIDEGATE_CHECK(check_share(options.cache_share));
  const BatchingOptions& batching = options.batching;
  TIDEGATE_CHECK(in_range("batching.max_batch_size", batching.max_batch_size, limits::kBatchSize));
  TIDEGATE_CHECK(in_range("batching.max_batch_tokens", batching.max_batch_tokens, limits::kBatchTokens));
  TIDEGATE_CHECK(in_range("batching.max_queue_delay", batching.max_queue_delay, limits::kQueueDelay));
  TIDEGATE_CHECK(in_range("batching.max_batch_bytes", batching.max_batch_bytes, limits::kBatchBytes));
  TIDEGATE_CHECK(in_range("batching.interactive_floor", batching.interactive_floor, limits::kInteractiveFloor));
  TIDEGATE_CHECK(in_range("batching.batch_floor", batching.batch_floor, limits::kBatchFloor));
  TIDEGATE_CHECK(in_range("batching.max_class_wait", batching.max_class_wait, limits::kClassWait));
  TIDEGATE_CHECK(in_range("batching.stuck_after", batching.stuck_after, limits::kStuckAfter));
  TIDEGATE_CHECK(check_pool(options));
  TIDEGATE_CHECK(check_sizes(batching));
  TIDEGATE_CHECK(in_range("batching.max_sequences", batching.max_sequences, limits::kSequences));
  TIDEGATE_CHECK(in_range("batching.stream_buffer_bytes", batching.stream_buffer_bytes, limits::kBufferBytes));
  const AdmissionOptions& admission = options.admission;
  TIDEGATE_CHECK(in_range("admission.max_queued_items", admission.max_queued_items, limits::kQueuedItems));
  TIDEGATE_CHECK(in_range("admission.max_queued_tokens", admission.max_queued_tokens, limits::kQueuedTokens));
  TIDEGATE_CHECK(in_range("admission.max_queued_bytes", admission.max_queued_bytes, limits::kQueuedBytes));
  TIDEGATE_CHECK(in_range("admission.max_tenant_share", admission.max_tenant_share, limits::kTenantShare));
  TIDEGATE_CHECK(in_range("slo", options.slo, limits::kSlo));
  TIDEGATE_CHECK(in_range("admission.max_standing_delay", admission.max_standing_delay, limits::kStandingDelay));
  return check_tenants(admission);
}

Result<void> check_replicas(const std::string& name, const std::vector<Replica>& replicas) {
  const auto refuse = [&](const char* why) {
    return Error(ErrorCode::invalid_argument, fmt::format("model '{}': {}", name, why));
  };
  if (name.empty()) return Error(ErrorCode::invalid_argument, "a model needs a name");
  if (replicas.empty()) return refuse("needs at least one replica");
  for (const Replica& replica : replicas) {
    if (replica.runner == nullptr) return refuse("a replica has no runner");
    TIDEGATE_CHECK(check_options(replica.options));
    if (replica.runner->info().fingerprint != replicas.front().runner->info().fingerprint) {
      return refuse("replicas differ in fingerprint; equal answers need equal models");
    }
  }
  return {};
}

Result<void> check_longest_item(const std::string& name, const ModelInfo& info, const ModelOptions& options,
                                const EngineQueueOptions& caps) {
  const auto check = [&](const char* option, std::uint64_t value) -> Result<void> {
    if (info.max_tokens <= value) return {};
    return Error(ErrorCode::invalid_argument,
                 fmt::format("model '{}': {} is {}, but one item of the model may have {} tokens and could then never "
                             "run; raise it to that at least",
                             name, option, value, info.max_tokens));
  };
  TIDEGATE_CHECK(check("batching.max_batch_tokens", options.batching.max_batch_tokens));
  TIDEGATE_CHECK(check("admission.max_queued_tokens", options.admission.max_queued_tokens));
  return caps.max_queued_tokens == 0 ? Result<void>() : check("queue.max_queued_tokens", caps.max_queued_tokens);
}

Result<void> check_options(const StreamOptions& options) {
  TIDEGATE_CHECK(in_range("buffer_chunks", options.buffer_chunks, limits::kBufferChunks));
  return in_range("buffer_bytes", options.buffer_bytes, limits::kBufferBytes);
}

Result<void> check_options(const ReplicaOptions& options) {
  TIDEGATE_CHECK(in_range("replica.concurrency", options.concurrency, limits::kConcurrency));
  if (std::isfinite(options.weight) && options.weight > 0) return {};
  return Error(ErrorCode::invalid_argument,
               fmt::format("replica.weight is {}; it must be above zero and finite", options.weight));
}

}  // namespace tidegate
