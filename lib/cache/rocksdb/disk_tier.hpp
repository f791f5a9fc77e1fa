// DiskTier: the cache tier over a DiskStore.
#pragma once

#include <functional>
#include <memory>

#include "base/thread_pool.hpp"
#include "tidegate/disk_cache.hpp"

namespace rocksdb {
class Env;
}

namespace tidegate::disk {

/// What the tier takes from outside; tests bring their own.
struct Surroundings {
  std::shared_ptr<Clock> clock;
  std::function<std::int64_t()> unix_milliseconds;  ///< thread-safe
  rocksdb::Env* env = nullptr;                      ///< nullptr = RocksDB's own; must outlive the process's stores
};

/// A look-up is answered on the caller's thread where memory knows the answer: changes
/// still in the queue, and misses that the filters know of. Reading a file is left to
/// the read threads, storing to the writer.
class DiskTier final : public CacheTier {
 public:
  /// Errors: as open_disk_cache, of which the options are checked.
  [[nodiscard]] static Result<std::shared_ptr<CacheTier>> open(const DiskCacheOptions& options,
                                                               Surroundings surroundings);
  ~DiskTier() override;

  [[nodiscard]] std::string_view name() const noexcept override { return "disk"; }
  void get_many(std::span<const CacheKey> keys, Deadline deadline, Lookup done) override;
  void put_many(std::span<const CacheEntry> entries) override;
  void erase_many(std::span<const CacheKey> keys) override;
  [[nodiscard]] CacheTierStats stats() const override;

 private:
  struct Core;
  DiskTier(std::shared_ptr<Core> core, std::uint32_t read_threads);

  const std::shared_ptr<Core> core_;  ///< shared with the threads: one that hangs in the system is left behind
  ThreadPool readers_;
  ThreadPool writer_;
};

}  // namespace tidegate::disk
