// SnapshotKeeper: carries the memory tier of an engine over a restart.
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "base/mapped_file.hpp"
#include "base/mutex.hpp"
#include "cache/cache_namespaces.hpp"
#include "cache/cache_snapshot.hpp"
#include "cache/tiered_cache.hpp"

namespace tidegate {

/// Thread-safe. Trouble with the file is counted and fails nothing.
class SnapshotKeeper {
 public:
  SnapshotKeeper(CacheSnapshotOptions options, std::shared_ptr<TieredCache> cache,
                 std::shared_ptr<CacheNamespaces> namespaces);

  /// Puts back what the file holds; does nothing without a file. Where models have shares of the memory
  /// tier, only what has been invalidated: the answers wait for `restore_into`.
  void restore() noexcept;
  /// Puts the answers of one model back.
  void restore_into(TieredCache& cache, std::string_view model) noexcept;
  /// Replaces the file, entry by entry: takes 16 bytes an entry, half a megabyte and the largest answer beside the
  /// memory tier. Errors: invalid_argument (there is none), io_error, busy, out_of_memory.
  Result<std::uint64_t> save() noexcept;

  /// Something was invalidated that the file does not know of: it is removed, after a save that is under way.
  /// What it holds for models that have not come is kept for them. Errors: io_error.
  Result<void> discard() noexcept;

  [[nodiscard]] CacheSnapshotStats stats() const noexcept;
  void collect(std::vector<MetricSample>& samples) const;
  [[nodiscard]] bool has_file() const noexcept { return !options_.file.empty(); }

 private:
  [[nodiscard]] Result<std::uint64_t> write() const TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] Result<void> keep_others(SnapshotWriter& writer, std::span<const TieredCache::MemoryPart> parts) const
      TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] std::optional<MappedFile> former() const TIDEGATE_REQUIRES(mutex_);
  void put_back(SnapshotReader& reader, TieredCache& cache, std::uint32_t part);

  const CacheSnapshotOptions options_;
  const std::shared_ptr<TieredCache> cache_;
  const std::shared_ptr<CacheNamespaces> namespaces_;
  mutable Mutex mutex_;  // of the file; before the namespaces' and the shares'
  std::optional<MappedFile> waiting_ TIDEGATE_GUARDED_BY(mutex_);  ///< the former file, with answers that nobody has
  // Relaxed: counters, read one by one.
  std::atomic<std::uint64_t> restored_{0};
  std::atomic<std::uint64_t> skipped_{0};
  std::atomic<std::uint64_t> written_{0};
  std::atomic<std::uint64_t> failed_{0};
  std::atomic<std::uint64_t> discards_{0};  ///< calls of discard; counted before they wait for the mutex
};

}  // namespace tidegate
