// MemoryShares: one memory budget for all models of an engine, each with a tier of its own.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.hpp"
#include "cache/memory_cache.hpp"
#include "cache/reuse_curve.hpp"
#include "cache/share_balancer.hpp"
#include "tidegate/callback.hpp"

namespace tidegate {

class MemoryShares;

/// One model's memory tier. Thread-safe.
class MemoryShare {
 public:
  MemoryShare(std::string model, MemoryCacheOptions options, std::shared_ptr<Clock> clock,
              MemoryCache::Staleness staleness, std::uint32_t curve_keys);

  /// For every look-up and every answer stored; seldom costs more than two comparisons.
  void asked(std::uint64_t hash) {
    curve.asked(hash);
    if ((hash >> 32) % kCountedOneIn == 0) count();
  }
  void stored(std::uint64_t hash, std::uint64_t bytes) { curve.stored(hash, bytes); }

  /// One look-up in so many is counted, by its key.
  static constexpr std::uint64_t kCountedOneIn = 16;

  const std::string model;
  MemoryCache memory;
  ReuseCurve curve;

 private:
  friend class MemoryShares;
  void count();

  std::weak_ptr<MemoryShares> all_;  ///< set before anybody has the share
  // Guarded by the mutex of MemoryShares.
  CacheShare limits_{};
  std::uint64_t bytes_ = 0;  ///< of the budget, curve included
};

/// The sum of all shares is within the budget at every instant: whoever grows does so after others
/// have shrunk, and by no more than they have given back. A share goes with the last one who holds it; answers
/// still in use then count until they are released. Shares move after every so many look-ups, on
/// the executor. Thread-safe; look-ups take no lock of it.
class MemoryShares : public std::enable_shared_from_this<MemoryShares> {
 public:
  /// Between two decisions, of all models together; more in a large budget, where a move takes longer
  /// (benchmarks/shares_bench): one for every so many bytes, up to a bound.
  static constexpr std::uint32_t kLookupsPerDecision = 4096;
  static constexpr std::uint64_t kBytesPerLookup = 16384;
  static constexpr std::uint32_t kMostLookupsPerDecision = 65536;
  /// A move is this part of the budget at most.
  static constexpr std::uint64_t kStepPart = 32;

  struct Surroundings {
    std::shared_ptr<Clock> clock;
    MemoryCache::Staleness staleness{};
    std::weak_ptr<Executor> executor{};
  };

  MemoryShares(MemoryCacheOptions options, Surroundings surroundings);

  /// The model's share; a new one begins with an equal part of the budget. `limits` replace those it had.
  /// Errors: invalid_argument (limits, or a budget too small for one more), unavailable (what the others would give is
  /// in use). May throw std::bad_alloc.
  [[nodiscard]] Result<std::shared_ptr<MemoryShare>> open(const std::string& model, const CacheShare& limits);
  /// Replaces the limits of an open share. Errors: invalid_argument; not_found.
  [[nodiscard]] Result<void> set_limits(const std::string& model, const CacheShare& limits);
  [[nodiscard]] std::optional<CacheShare> limits_of(std::string_view model) const;

  /// Gives the whole another budget, at most the one it was made with; shares and what they are
  /// promised shrink in proportion.
  void resize(std::uint64_t capacity_bytes);
  /// Decides once, and moves.
  void balance();

  [[nodiscard]] std::vector<std::shared_ptr<MemoryShare>> open_shares() const;
  [[nodiscard]] std::vector<CacheShareStats> shares() const;
  /// Of all shares together, and of those that are gone what they have counted.
  [[nodiscard]] CacheTierStats stats() const;

  struct Leave {
    std::weak_ptr<MemoryShares> all{};
    void operator()(MemoryShare* share) const noexcept;
  };

 private:
  friend class MemoryShare;
  using Owned = std::unique_ptr<MemoryShare>;

  void count() noexcept;
  void leave(Owned share) noexcept;
  [[nodiscard]] std::vector<ShareView> views(const MemoryShare* except) const TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] std::vector<MemoryShare*> others(const MemoryShare* except) const TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] std::uint64_t promised(const CacheShare& limits) const TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] std::uint64_t most_of(const MemoryShare& share) const TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] Result<void> check(const std::string& model, const CacheShare& limits, const MemoryShare* except) const
      TIDEGATE_REQUIRES(mutex_);
  /// What is in nobody's share, nor held of what has left.
  [[nodiscard]] std::uint64_t free_bytes() const TIDEGATE_REQUIRES(mutex_);
  void set_bytes(MemoryShare& share, std::uint64_t bytes) TIDEGATE_REQUIRES(mutex_);
  /// Shrinks all but one until so many bytes are free, as far as what they are promised allows.
  void make_room(std::uint64_t bytes, const MemoryShare* except) TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] MemoryShare* find(std::string_view model) const TIDEGATE_REQUIRES(mutex_);
  void keep_limits(MemoryShare& share) TIDEGATE_REQUIRES(mutex_);
  void give_away_free() TIDEGATE_REQUIRES(mutex_);

  const MemoryCacheOptions options_;
  const Surroundings around_;
  const std::uint32_t curve_keys_;
  const std::uint64_t overhead_;  ///< of a share: bookkeeping and curve
  const std::uint64_t floor_;     ///< no share is smaller
  const std::uint32_t counts_per_decision_;
  std::atomic<std::uint32_t> counted_{0};  ///< relaxed; since the last decision was asked for
  mutable Mutex mutex_;                    // before the shards'
  std::uint64_t total_ TIDEGATE_GUARDED_BY(mutex_);
  std::vector<std::weak_ptr<MemoryShare>> open_ TIDEGATE_GUARDED_BY(mutex_);  ///< handed out again while held
  std::vector<MemoryShare*> shares_ TIDEGATE_GUARDED_BY(mutex_);              ///< of open_, until they leave
  std::vector<Owned> leaving_ TIDEGATE_GUARDED_BY(mutex_);                    ///< answers of theirs are still used
  CacheTierStats gone_ TIDEGATE_GUARDED_BY(mutex_);                           ///< counters of those that left
};

}  // namespace tidegate
