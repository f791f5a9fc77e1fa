// MemoryCache: the tier inside the process.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "cache/memory_shard.hpp"
#include "cache/miss_ratio_curve.hpp"
#include "tidegate/cache.hpp"

namespace tidegate {

/// Entries in shards, each with an equal share of the budget, an eviction policy and
/// one short lock. Answers on the caller's thread. Thread-safe.
///
/// The budget covers everything the tier holds at any instant: each shard has one stretch
/// of memory with values, entries and index in it, and what little is outside counts at what
/// the allocator takes for it. Look-ups take no lock where the policy allows it (see MemoryShard). A value that
/// somebody uses (HeldValue) stays where it is and in the budget when its entry leaves; when such values take a quarter
/// of a shard, nothing is stored in it until they are released. An entry that would take more than an eighth of a shard
/// is not stored.
///
/// Of a record the tier keeps the body and makes a header when a whole record is asked for
/// (`get`, `for_each`), whose end is what is left of its life. Bytes that are no record of their key
/// are a plain value, kept as they are.
class MemoryCache final : public CacheTier {
 public:
  using Staleness = MemoryShard::Staleness;

  MemoryCache(MemoryCacheOptions options, std::shared_ptr<Clock> clock);
  MemoryCache(MemoryCacheOptions options, std::shared_ptr<Clock> clock, Staleness staleness);
  ~MemoryCache() override;

  /// Never an expired entry, never one of another key.
  [[nodiscard]] std::optional<MemoryHit> find(const CacheKey& key);
  /// As `find`, whatever the age: a copy, as a whole record.
  [[nodiscard]] std::optional<CacheEntry> get(const CacheKey& key);
  /// Replaces what the key had. An entry without life left is ignored.
  void put(const CacheEntry& entry);
  void erase(const CacheKey& key);
  /// Forgets everything.
  void clear();
  /// Shows where each living entry is, shard by shard and outside their locks: what comes or goes
  /// meanwhile may be missed.
  void for_each(const std::function<void(std::uint32_t shard, const MemoryShard::Living& entry)>& visit) const;
  /// What is there now, as `get` returns it; counts as no look-up.
  [[nodiscard]] std::optional<CacheEntry> entry_at(std::uint32_t shard, std::uint32_t node) const;
  /// What entries may take at this time.
  [[nodiscard]] std::uint64_t room() const noexcept { return room_.load(std::memory_order_relaxed); }

  [[nodiscard]] std::string_view name() const noexcept override { return "memory"; }
  void get_many(std::span<const CacheKey> keys, Deadline deadline, Lookup done) override;
  void put_many(std::span<const CacheEntry> entries) override;
  void erase_many(std::span<const CacheKey> keys) override;

  /// Gives the tier another budget: at most the one it was made with. Evicts what no longer
  /// fits, shard by shard; a budget below what its bookkeeping takes empties it. The curve begins anew.
  void resize(std::uint64_t capacity_bytes);

  /// All zero while the tier is off.
  [[nodiscard]] CacheTierStats stats() const override;
  /// Empty without MemoryCacheOptions::curve.
  [[nodiscard]] std::vector<CacheCurvePoint> curve() const;

  /// What an entry with this record costs, its part of the index included, apart from what the
  /// policy takes for each entry.
  [[nodiscard]] static std::uint64_t charge_of(const CacheKey& key, const CacheRecord& record) noexcept;

 private:
  [[nodiscard]] MemoryShard* shard_of(std::uint64_t hash) const noexcept;
  /// What is left of a budget beside the curve.
  [[nodiscard]] std::uint64_t for_entries(std::uint64_t capacity) const;

  const std::shared_ptr<Clock> clock_;
  const bool off_;
  const std::uint64_t capacity_bytes_;  ///< at most
  const std::unique_ptr<MissRatioCurve> curve_;
  std::shared_ptr<ReadSlots> slots_;          ///< null where there is no shard
  std::vector<MemoryShard::Pointer> shards_;  ///< empty where the budget cannot hold one
  std::atomic<std::uint64_t> room_{0};        ///< relaxed: bytes
  std::atomic<std::uint64_t> refused_{0};     ///< relaxed: counts puts while there is no shard
};

}  // namespace tidegate
