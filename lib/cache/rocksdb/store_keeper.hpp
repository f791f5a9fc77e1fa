// StoreKeeper: the tier's store, which may be away for a while.
#pragma once

#include <atomic>
#include <memory>

#include "base/mutex.hpp"
#include "cache/rocksdb/disk_store.hpp"
#include "tidegate/disk_cache.hpp"

namespace tidegate::disk {

/// Opens, mends and replaces the store. `store` and the counters are thread-safe, the
/// rest belongs to one thread at a time. Readers share the store, so one that is
/// replaced may live on a moment: until then the folder is taken, and opening it fails.
class StoreKeeper {
 public:
  StoreKeeper(const DiskCacheOptions& options, rocksdb::Env* env);

  /// nullptr while there is none.
  [[nodiscard]] std::shared_ptr<DiskStore> store() const;

  /// Makes the store writable again; opens it where it is away, anew where nothing
  /// else helps. Errors: as DiskStore::open.
  [[nodiscard]] Result<void> restore();
  /// Replaces the store by an empty one.
  [[nodiscard]] Result<void> start_over();
  /// The next opening starts empty, if the folder was ever this keeper's.
  void distrust() noexcept;
  void close();

  [[nodiscard]] std::uint64_t buffer_bytes() const noexcept { return options_.buffer_bytes; }
  [[nodiscard]] std::uint64_t resets() const noexcept { return resets_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t evicted() const;

 private:
  [[nodiscard]] Result<void> open(Start start);

  const StoreOptions options_;
  mutable Mutex mutex_;  // leaf: held to copy the pointer
  std::shared_ptr<DiskStore> store_ TIDEGATE_GUARDED_BY(mutex_);
  bool ours_ = false;  ///< the folder was opened
  std::atomic<std::uint64_t> resets_{0};
  std::atomic<std::uint64_t> evicted_before_{0};  ///< by former stores
};

}  // namespace tidegate::disk
