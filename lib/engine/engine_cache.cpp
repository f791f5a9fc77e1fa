// What is done with the caches of an engine as a whole.
#include <fmt/format.h>

#include <algorithm>
#include <new>

#include "base/try.hpp"
#include "cache/cache_namespaces.hpp"
#include "cache/snapshot_keeper.hpp"
#include "engine/engine_impl.hpp"

namespace tidegate {
namespace {

constexpr Duration kLongestBound = std::chrono::hours(24);

}  // namespace

Result<void> Engine::invalidate_cache(const CacheScope& scope, Duration bound) {
  TIDEGATE_TRY(const InvalidationTable::Scope part, scope_of(scope));
  TIDEGATE_TRY(const Impl::Found model, impl_->find(scope.model));
  try {
    Pipeline& pipeline = *model.pipeline;
    const TimePoint end = impl_->services->clock->now() + std::clamp<Duration>(bound, Duration::zero(), kLongestBound);
    pipeline.invalidate(part, bound);
    const auto discarded = impl_->services->snapshot->discard();
    // Nobody asks for any of it: the memory is given back at once where it is this model's alone.
    const bool is_all = scope.version ? *scope.version == pipeline.info().fingerprint : scope.tag.empty();
    const bool is_own = pipeline.cache()->shares() != nullptr || impl_->services->namespaces->size() == 1;
    if (is_all && is_own) pipeline.cache()->clear_memory();
    if (bound <= Duration::zero() || pipeline.names()->spread(end - impl_->services->clock->now())) return discarded;
    if (pipeline.names()->waits_ended()) {
      return Error(ErrorCode::shutting_down,
                   "the engine has been drained before each cache tier took the invalidation; other processes may "
                   "answer from before");
    }
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory, "there is not enough memory to note the invalidation");
  }
  return Error(ErrorCode::unavailable,
               "a cache tier did not take the invalidation in time; other processes may answer from before");
}

Result<std::vector<CacheShareStats>> Engine::cache_shares() const {
  const auto& shares = impl_->services->cache->shares();
  try {
    return shares != nullptr ? shares->shares() : std::vector<CacheShareStats>();
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory, "there is not enough memory to tell the shares");
  }
}

Result<void> Engine::resize_cache(std::uint64_t capacity_bytes) {
  const std::uint64_t most = impl_->services->cache->options().memory.capacity_bytes;
  try {
    if (capacity_bytes > most) {
      return Error(
          ErrorCode::invalid_argument,
          fmt::format("the memory cache cannot be resized to {} bytes: it began with cache.memory.capacity_bytes "
                      "= {}, which is the most it may have; give {} or less, or set the key to the most it "
                      "shall ever have and resize it down",
                      capacity_bytes, most, most));
    }
    impl_->services->cache->resize_memory(capacity_bytes);
    return {};
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory,
                 "there is not enough memory to divide the cache anew; it is safe to try again");
  }
}

Result<std::uint64_t> Engine::save_cache() { return impl_->services->snapshot->save(); }

CacheSnapshotStats Engine::snapshot_stats() const { return impl_->services->snapshot->stats(); }

}  // namespace tidegate
