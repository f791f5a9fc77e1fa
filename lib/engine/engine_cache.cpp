// What is done with the caches of an engine as a whole.
#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <thread>

#include "base/try.hpp"
#include "cache/cache_namespaces.hpp"
#include "cache/snapshot_keeper.hpp"
#include "engine/engine_impl.hpp"

namespace tidegate {
namespace {

/// A tier stores later, on a thread of its own; so often it is asked whether it has.
constexpr Duration kFirstPause = std::chrono::milliseconds(1);
constexpr Duration kLongestPause = std::chrono::milliseconds(100);

/// False if a tier has not taken the table when `bound` is over. Real time: the caller sleeps.
bool spread(CacheNamespace& names, Duration bound) {
  const auto start = std::chrono::steady_clock::now();
  Duration pause = kFirstPause;
  for (;;) {
    const Duration left = bound - (std::chrono::steady_clock::now() - start);
    if (left <= Duration::zero()) return false;
    if (names.synchronize_and_wait(left)) return true;
    std::this_thread::sleep_for(std::min(pause, left));
    pause = std::min(2 * pause, kLongestPause);
  }
}

}  // namespace

Result<void> Engine::invalidate_cache(const CacheScope& scope, Duration bound) {
  if (!scope.tag.empty() && scope.version) {
    return Error(ErrorCode::invalid_argument, "a cache scope names a tag and a version; give one of them");
  }
  TIDEGATE_TRY(const Impl::Found model, impl_->find(scope.model));
  try {
    Pipeline& pipeline = *model.pipeline;
    InvalidationTable::Scope part = InvalidationTable::kModel;
    if (!scope.tag.empty()) part = InvalidationTable::of_tag(scope.tag);
    if (scope.version) part = InvalidationTable::of_version(*scope.version);
    pipeline.invalidate(part);
    // Nobody asks for any of it: the memory is given back at once where it is this model's alone.
    const bool is_all = scope.version ? *scope.version == pipeline.info().fingerprint : scope.tag.empty();
    if (is_all && impl_->services->namespaces->size() == 1) impl_->services->cache->clear_memory();
    if (bound <= Duration::zero() || spread(*pipeline.names(), bound)) return {};
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory, "there is not enough memory to note the invalidation");
  }
  return Error(ErrorCode::unavailable,
               "a cache tier did not take the invalidation in time; other processes may answer from before");
}

Result<std::uint64_t> Engine::save_cache() { return impl_->services->snapshot->save(); }

CacheSnapshotStats Engine::snapshot_stats() const { return impl_->services->snapshot->stats(); }

}  // namespace tidegate
