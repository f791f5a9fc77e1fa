// CachingBenefit: whether looking answers up saves more than it costs.
#pragma once

#include <atomic>
#include <cstdint>

#include "tidegate/cache.hpp"

namespace tidegate {

/// Watches the look-ups of one model over windows. Where the time that hits save is less
/// than what all look-ups and insertions cost, the cache is bypassed for all but one key in 64;
/// those go on, and bring it back once they would save twice the cost. A key is always or never
/// among them, so their hit ratio is that of all. Thread-safe; only one key in eight is counted, so
/// that threads seldom meet.
class CachingBenefit {
 public:
  static constexpr std::uint64_t kCountedOneIn = 8;
  static constexpr std::uint64_t kProbedOneIn = 64;
  /// Counted look-ups between two judgements, and in bypass.
  static constexpr std::uint32_t kWindow = 512;
  static constexpr std::uint32_t kProbeWindow = 256;

  /// `cost`: of one look-up and, on a miss, one insertion.
  explicit CachingBenefit(Duration cost) noexcept : cost_(cost) {}

  /// Whether this key is to be looked up and stored.
  [[nodiscard]] bool uses_cache(const CacheKey& key) const noexcept {
    return !bypassing() || bits_of(key) % kProbedOneIn == 0;
  }
  [[nodiscard]] bool bypassing() const noexcept { return bypassing_.load(std::memory_order_relaxed); }

  enum class Lookup : std::uint8_t { hit, miss };
  void looked_up(const CacheKey& key, Lookup result) noexcept {
    if (bits_of(key) % kCountedOneIn == 0) count(result);
  }
  /// What computing one answer has taken, its share of the batch; not positive = ignored.
  void computed(Duration time) noexcept;

 private:
  /// Bits of the digest: uniform, for keys are SHA-256.
  [[nodiscard]] static std::uint8_t bits_of(const CacheKey& key) noexcept { return key[13]; }
  void count(Lookup result) noexcept;
  void judge(double lookups, double hits) noexcept;

  const Duration cost_;
  // Relaxed throughout: a count lost between threads changes no judgement by much.
  std::atomic<bool> bypassing_{false};
  std::atomic<std::uint32_t> lookups_{0};  ///< in this window
  std::atomic<std::uint32_t> hits_{0};
  std::atomic<double> compute_ns_{0};  ///< moving average; 0 = not known yet
};

}  // namespace tidegate
