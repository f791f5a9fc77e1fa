// NegativeCache: requests that a model has found invalid, and why.
#pragma once

#include <atomic>
#include <list>
#include <optional>
#include <unordered_map>

#include "base/mutex.hpp"
#include "cache/key_hash.hpp"
#include "tidegate/cache.hpp"

namespace tidegate {

/// Errors that depend on the request alone (invalid_argument, too_large), for a short time. What was
/// stored first goes first. Everything it takes from the heap counts. Thread-safe.
class NegativeCache {
 public:
  NegativeCache(std::uint64_t capacity_bytes, Duration time_to_live)
      : capacity_bytes_(capacity_bytes), time_to_live_(time_to_live) {}

  /// One load; what is stored meanwhile may be missed.
  [[nodiscard]] bool empty() const noexcept { return count_.load(std::memory_order_relaxed) == 0; }
  [[nodiscard]] std::optional<Error> find(const CacheKey& key, TimePoint now);
  /// Ignores errors that another attempt may not meet. Without memory nothing is stored.
  void put(const CacheKey& key, const Error& error, TimePoint now) noexcept;
  void clear();
  /// Forgets what no longer fits.
  void resize(std::uint64_t capacity_bytes);

  [[nodiscard]] std::uint64_t bytes() const;

 private:
  struct Entry {
    CacheKey key{};
    Error error;
    TimePoint expires_at{};
    std::uint64_t bytes = 0;
  };
  using Table = std::unordered_map<CacheKey, std::list<Entry>::iterator, KeyHash>;
  using Entries = std::list<Entry>;  ///< newest first; all live equally long, so the last ends first

  void drop(Entries::iterator entry) TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] bool make_table() noexcept TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] std::uint64_t used_bytes() const TIDEGATE_REQUIRES(mutex_);

  std::uint64_t capacity_bytes_ TIDEGATE_GUARDED_BY(mutex_);
  const Duration time_to_live_;
  std::atomic<std::size_t> count_{0};  ///< relaxed: a reader that misses a new entry asks the model
  mutable Mutex mutex_;                // leaf
  Entries entries_ TIDEGATE_GUARDED_BY(mutex_);
  /// Its buckets, for as many entries as may be, are made with the first one.
  Table by_key_ TIDEGATE_GUARDED_BY(mutex_);
  std::uint64_t bytes_ TIDEGATE_GUARDED_BY(mutex_) = 0;  ///< of the entries
};

}  // namespace tidegate
