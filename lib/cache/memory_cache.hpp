// MemoryCache: the tier inside the process.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "cache/miss_ratio_curve.hpp"
#include "tidegate/cache.hpp"

namespace tidegate {

/// An entry and how old it is.
struct MemoryHit {
  enum class Age : std::uint8_t {
    fresh,
    stale,          ///< past its fresh life; somebody renews it
    to_be_renewed,  ///< stale, and this asker is the one to renew it
  };
  CacheEntry entry;
  Age age = Age::fresh;
};

/// Entries in shards, each with an equal share of the budget, an eviction policy and
/// one short lock. Answers on the caller's thread. Thread-safe.
///
/// The budget covers everything the tier holds at any instant: record blocks, their
/// entries, indexes and ghosts, each at what the allocator takes for it. Room is made
/// before an entry is stored; one that would take more than an eighth of a shard is
/// not stored. A hit shares the record's block: a block that is evicted while
/// somebody still reads it is that reader's memory, outside the budget.
class MemoryCache final : public CacheTier {
 public:
  /// The last part of every life in which an entry is stale, and how long a renewal may take.
  struct Staleness {
    Duration window{0};
    Duration renewal = std::chrono::seconds(5);
  };

  MemoryCache(MemoryCacheOptions options, std::shared_ptr<Clock> clock);
  MemoryCache(MemoryCacheOptions options, std::shared_ptr<Clock> clock, Staleness staleness);
  ~MemoryCache() override;

  /// Never an expired entry, never one of another key.
  [[nodiscard]] std::optional<MemoryHit> find(const CacheKey& key);
  /// As `find`, whatever the age.
  [[nodiscard]] std::optional<CacheEntry> get(const CacheKey& key);
  /// Replaces what the key had. An entry without life left is ignored.
  void put(const CacheEntry& entry);
  void erase(const CacheKey& key);

  [[nodiscard]] std::string_view name() const noexcept override { return "memory"; }
  void get_many(std::span<const CacheKey> keys, Deadline deadline, Lookup done) override;
  void put_many(std::span<const CacheEntry> entries) override;
  void erase_many(std::span<const CacheKey> keys) override;

  /// Gives the tier another budget: at most the one it was made with. Evicts what no longer
  /// fits, shard by shard; a budget below what its bookkeeping takes empties it.
  void resize(std::uint64_t capacity_bytes);

  /// Drops every entry.
  void clear();
  /// Calls `visit` with a copy of every entry and its remaining life, shard by shard, no lock being
  /// held; an entry that comes or goes meanwhile may be left out. May throw std::bad_alloc.
  void for_each(const std::function<void(const CacheEntry&)>& visit) const;

  /// All zero while the tier is off.
  [[nodiscard]] CacheTierStats stats() const override;
  /// Empty without MemoryCacheOptions::curve.
  [[nodiscard]] std::vector<CacheCurvePoint> curve() const;

  /// What an entry with this record costs, apart from the index and what the policy
  /// takes for each entry.
  [[nodiscard]] static std::uint64_t charge_of(const CacheRecord& record) noexcept;

 private:
  class Shard;
  [[nodiscard]] Shard* shard_of(std::uint64_t hash) const noexcept;
  [[nodiscard]] std::uint64_t for_entries(std::uint64_t capacity) const noexcept;

  const std::shared_ptr<Clock> clock_;
  const bool off_;
  const std::uint64_t capacity_bytes_;  ///< at most
  const std::unique_ptr<MissRatioCurve> curve_;
  std::vector<std::unique_ptr<Shard>> shards_;  ///< empty where the budget cannot hold one
  std::atomic<std::uint64_t> refused_{0};       ///< relaxed: counts puts while there is no shard
};

}  // namespace tidegate
