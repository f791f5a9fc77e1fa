// CacheNamespace: what has been invalidated of one model's answers, here and elsewhere.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "base/mutex.hpp"
#include "cache/invalidation_table.hpp"
#include "request/cache_stamps.hpp"
#include "tidegate/cache.hpp"
#include "tidegate/callback.hpp"

namespace tidegate {

/// The part that a scope of the host's names. Errors: invalid_argument (tag and version).
[[nodiscard]] Result<InvalidationTable::Scope> scope_of(const CacheScope& scope);

/// The stamps of its scopes go into the key of every request, so an invalidation deletes nothing: it
/// makes keys that nobody has stored under. The table is also an ordinary entry of the further
/// tiers: read, merged and, where ours knows more, stored again. Thread-safe; `stamps` costs one
/// load while nothing was ever invalidated.
class CacheNamespace : public std::enable_shared_from_this<CacheNamespace> {
 public:
  /// With requests coming, the tiers are asked so often what others have invalidated.
  static constexpr Duration kReadInterval = std::chrono::seconds(5);
  /// And so soon again where a tier could not tell.
  static constexpr Duration kRetryInterval = std::chrono::milliseconds(100);
  /// A tier that has not been able to tell for so long answers no request.
  static constexpr Duration kLongestUntold = 2 * kReadInterval;

  struct Surroundings {
    std::shared_ptr<Clock> clock;
    std::vector<std::shared_ptr<CacheTier>> tiers{};
    Duration time_to_live{};             ///< of answers
    std::weak_ptr<Executor> executor{};  ///< stores the table: a tier is not called from within its own answer
    std::int64_t (*unix_us)() noexcept = nullptr;
    std::function<void()> learned{};  ///< on the executor, when a tier has told of an invalidation
  };

  CacheNamespace(std::string_view model, Surroundings surroundings);

  /// `version`: InvalidationTable::of_version.
  [[nodiscard]] CacheStamps stamps(InvalidationTable::Scope version, std::string_view tag) const noexcept;
  /// Whether nothing has changed since the stamps were taken.
  [[nodiscard]] bool is_current(const CacheStamps& stamps) const noexcept {
    return changes_.load(std::memory_order_acquire) == stamps.changes;
  }

  /// Whether what the tier holds under a key with these stamps counts: it has told of invalidations lately, and none
  /// has become known since the stamps were taken.
  [[nodiscard]] bool vouches(std::size_t tier, const CacheStamps& stamps, TimePoint now) const noexcept;

  /// From now on this process asks for no answer of the scope from before; the further tiers are told.
  /// With a `bound` they are asked first, for so long at most, what others have invalidated that is not known here:
  /// a process whose clock is ahead may have given the scope a later stamp, and answers are stored under it.
  /// May throw std::bad_alloc.
  void invalidate(InvalidationTable::Scope scope, Duration bound = Duration::zero());

  /// Answers under these stamps may live so long in this process: stamps are kept accordingly. Never shortens.
  void outlast(Duration life) noexcept;

  /// For every request, when it comes. Asks the tiers if that is due; allocates nothing otherwise.
  void request_came(TimePoint now) noexcept {
    if (around_.tiers.empty() || now.time_since_epoch().count() < next_read_.load(std::memory_order_relaxed)) return;
    read_when_due(now);
  }

  /// Asks every tier, merges, and stores the table where it is not known whole. `done` runs once: true if
  /// every tier had all that is known here.
  void synchronize(UniqueFunction<void(bool)> done) noexcept;
  /// The same, waiting `bound` at most for the tiers to answer.
  bool synchronize_and_wait(Duration bound) noexcept;

  /// The same again and again until every tier has it all; false if one has not when `bound` is over, or
  /// when waits have been ended.
  bool spread(Duration bound) noexcept;
  /// From now on nobody waits for a tier here; who does is woken.
  void end_waits() noexcept;
  [[nodiscard]] bool waits_ended() const noexcept;

  /// The table as an entry of a tier; empty while nothing was invalidated.
  [[nodiscard]] std::optional<CacheEntry> entry() const;
  /// Merges such an entry; ignores any other.
  void take(const CacheEntry& entry);
  [[nodiscard]] const CacheKey& key() const noexcept { return key_; }

 private:
  class Reading;
  class Wait;
  /// Shared with what a tier or the clock may call later than the namespace lives.
  struct Waiters {
    Mutex mutex;  // leaf
    std::condition_variable changed;
    bool ended TIDEGATE_GUARDED_BY(mutex) = false;
  };

  void raise(InvalidationTable::Scope scope);
  void read_when_due(TimePoint now) noexcept;
  void read_again_soon() noexcept;
  [[nodiscard]] bool take_answer(std::size_t tier, const std::vector<std::optional<CacheEntry>>& answer);
  void store(std::size_t tier) noexcept;
  void publish() TIDEGATE_REQUIRES(mutex_);
  /// Older stamps are of no use: what lay under other keys has expired.
  [[nodiscard]] Duration memory() const noexcept;
  [[nodiscard]] std::int64_t oldest_of_use() const noexcept;
  [[nodiscard]] std::optional<InvalidationTable> table_in(const CacheEntry& entry, TimePoint now) const;

  const CacheKey key_;
  const Surroundings around_;
  const std::shared_ptr<Waiters> waiters_ = std::make_shared<Waiters>();
  std::atomic<std::uint64_t> changes_{0};  ///< stored last (release), so who sees it sees the stamps
  std::atomic<std::int64_t> model_{0};
  std::atomic<bool> has_versions_{false};
  std::atomic<std::int64_t> next_read_;      ///< of the clock; relaxed
  std::atomic<Duration::rep> longest_life_;  ///< relaxed
  /// When each tier has last told, of the clock; what it told is published before (release).
  std::vector<std::atomic<std::int64_t>> told_;
  mutable Mutex mutex_;  // leaf
  InvalidationTable table_ TIDEGATE_GUARDED_BY(mutex_);
};

}  // namespace tidegate
