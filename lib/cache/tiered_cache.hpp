// TieredCache: the chain of tiers a request asks before it computes.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "cache/cache_namespace.hpp"
#include "cache/memory_cache.hpp"
#include "cache/memory_shares.hpp"
#include "tidegate/cache.hpp"
#include "tidegate/metrics.hpp"

namespace tidegate {

struct CacheHit {
  std::vector<Tensor> outputs;
  std::int32_t tier = 0;  ///< 0 = memory
  MemoryHit::Age age = MemoryHit::Age::fresh;
};

/// What a key is made with. A further tier's answer is given where `names` vouches for it.
struct KeyOrigin {
  std::weak_ptr<const CacheNamespace> names;
  CacheStamps stamps;
};

/// Memory first, on the caller's thread; then the further tiers, one after the
/// other, or beside one that takes long, within a time budget. A hit in a further tier is stored in the nearer
/// ones with its remaining life. Thread-safe. Nothing here fails a request.
class TieredCache {
 public:
  /// `clock` also gives the alarms that end slow look-ups. `executor`, which may be gone at any time, moves
  /// shares of the memory tier.
  TieredCache(CacheOptions options, std::shared_ptr<Clock> clock, std::weak_ptr<Executor> executor = {});
  ~TieredCache();

  /// With CachePerModel::on the chain of one model, to which a share of the memory tier belongs; the same
  /// chain for all otherwise, and one that keeps nothing in memory itself. The counts below are of all models.
  /// Errors: as MemoryShares::open.
  [[nodiscard]] Result<std::shared_ptr<TieredCache>> for_model(const std::string& model, const CacheShare& limits);
  /// Null unless CachePerModel::on.
  [[nodiscard]] const std::shared_ptr<MemoryShares>& shares() const noexcept;

  /// The memory tier; never blocks beyond a short lock.
  [[nodiscard]] std::optional<CacheHit> get_in_memory(const CacheKey& key);

  /// The error with which the model refused this very request a short while ago.
  [[nodiscard]] std::optional<Error> find_error(const CacheKey& key);
  /// Remembers an error, if it depends on the request alone.
  void put_error(const CacheKey& key, const Error& error) noexcept;

  [[nodiscard]] const CacheOptions& options() const noexcept;
  /// By the clock of lives.
  [[nodiscard]] TimePoint now() const;
  [[nodiscard]] bool has_further_tiers() const noexcept;

  /// Asks the further tiers. `done` runs exactly once, possibly before this
  /// returns, at the latest after lookup_budget or a fifth of the time to the deadline, on the thread of
  /// a tier or of the clock. Late answers still fill the memory tier. Without an origin every tier is believed.
  void get_further(const CacheKey& key, Deadline deadline, UniqueFunction<void(std::optional<CacheHit>)> done,
                   std::optional<KeyOrigin> origin = std::nullopt);

  /// Stores a computed answer in every tier. `cost` is what the model took for it.
  void put(const CacheKey& key, std::span<const Tensor> outputs, Duration cost = Duration::zero());

  /// As MemoryCache::put and room.
  void put_in_memory(const CacheEntry& entry);
  [[nodiscard]] std::uint64_t room_in_memory() const noexcept;
  /// The memory tiers, of each share one, with the name of its model ("" where there are none).
  struct MemoryPart {
    std::shared_ptr<const MemoryCache> memory;
    std::string model;
  };
  [[nodiscard]] std::vector<MemoryPart> memory_parts() const;
  /// As MemoryCache::clear, with the remembered errors; of a chain of one model, its share only.
  void clear_memory();
  /// As MemoryCache::resize and MemoryShares::resize; what remembered errors may take follows.
  void resize_memory(std::uint64_t capacity_bytes);
  [[nodiscard]] std::vector<CacheCurvePoint> curve() const;

  /// Counters per tier, memory first.
  [[nodiscard]] std::vector<CacheTierStats> stats() const;
  [[nodiscard]] std::vector<std::string_view> tier_names() const;
  /// Adds what Redis tiers measure about themselves.
  void collect(std::vector<MetricSample>& samples) const;

 private:
  struct Chain;
  struct State;
  explicit TieredCache(std::shared_ptr<State> state);

  std::shared_ptr<State> state_;
};

}  // namespace tidegate
