// NegativeCache: requests that a model has found invalid, and why.
#pragma once

#include <atomic>
#include <list>
#include <optional>
#include <unordered_map>

#include "base/mutex.hpp"
#include "tidegate/cache.hpp"

namespace tidegate {

/// Errors that depend on the request alone (invalid_argument, too_large), for a short time. What was
/// stored first goes first. Thread-safe.
class NegativeCache {
 public:
  NegativeCache(std::uint64_t capacity_bytes, Duration time_to_live)
      : capacity_bytes_(capacity_bytes), time_to_live_(time_to_live) {}

  /// One load; what is stored meanwhile may be missed.
  [[nodiscard]] bool empty() const noexcept { return count_.load(std::memory_order_relaxed) == 0; }
  [[nodiscard]] std::optional<Error> find(const CacheKey& key, TimePoint now);
  /// Ignores errors that another attempt may not meet. Without memory nothing is stored.
  void put(const CacheKey& key, const Error& error, TimePoint now) noexcept;
  void erase(const CacheKey& key);
  void clear();

  [[nodiscard]] std::uint64_t bytes() const;

 private:
  struct Entry {
    CacheKey key{};
    Error error;
    TimePoint expires_at{};
    std::uint64_t bytes = 0;
  };
  struct KeyHash {
    std::size_t operator()(const CacheKey& key) const noexcept;
  };
  using Entries = std::list<Entry>;  ///< newest first; all live equally long, so the last ends first

  void drop(Entries::iterator entry) TIDEGATE_REQUIRES(mutex_);

  const std::uint64_t capacity_bytes_;
  const Duration time_to_live_;
  std::atomic<std::size_t> count_{0};  ///< relaxed: a reader that misses a new entry asks the model
  mutable Mutex mutex_;                // leaf
  Entries entries_ TIDEGATE_GUARDED_BY(mutex_);
  std::unordered_map<CacheKey, Entries::iterator, KeyHash> by_key_ TIDEGATE_GUARDED_BY(mutex_);
  std::uint64_t bytes_ TIDEGATE_GUARDED_BY(mutex_) = 0;
};

}  // namespace tidegate
