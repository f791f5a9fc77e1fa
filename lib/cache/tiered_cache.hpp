// TieredCache: the chain of tiers a request asks before it computes.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "cache/memory_cache.hpp"
#include "tidegate/cache.hpp"

namespace tidegate {

struct CacheHit {
  std::vector<Tensor> outputs;
  std::int32_t tier = 0;  ///< 0 = memory
  MemoryHit::Age age = MemoryHit::Age::fresh;
};

/// Memory first, on the caller's thread; then the further tiers, one after the
/// other, within a time budget. A hit in a further tier is stored in the nearer
/// ones with its remaining life. Thread-safe. Nothing here fails a request.
class TieredCache {
 public:
  /// `clock` also gives the alarms that end slow look-ups.
  TieredCache(CacheOptions options, std::shared_ptr<Clock> clock);
  ~TieredCache();

  /// The memory tier; never blocks beyond a short lock.
  [[nodiscard]] std::optional<CacheHit> get_in_memory(const CacheKey& key);

  /// The error with which the model refused this very request a short while ago.
  [[nodiscard]] std::optional<Error> find_error(const CacheKey& key);
  /// Remembers an error, if it depends on the request alone.
  void put_error(const CacheKey& key, const Error& error) noexcept;

  [[nodiscard]] const CacheOptions& options() const noexcept;
  [[nodiscard]] bool has_further_tiers() const noexcept;

  /// Asks the further tiers. `done` runs exactly once, possibly before this
  /// returns, at the latest at min(deadline, now + lookup_budget), on the thread of
  /// a tier or of the clock. Late answers still fill the memory tier.
  void get_further(const CacheKey& key, Deadline deadline, UniqueFunction<void(std::optional<CacheHit>)> done);

  /// Stores a computed answer in every tier.
  void put(const CacheKey& key, std::span<const Tensor> outputs);

  /// As MemoryCache::resize.
  void resize_memory(std::uint64_t capacity_bytes);
  [[nodiscard]] std::vector<CacheCurvePoint> curve() const;

  /// Counters per tier, memory first.
  [[nodiscard]] std::vector<CacheTierStats> stats() const;
  [[nodiscard]] std::vector<std::string_view> tier_names() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace tidegate
