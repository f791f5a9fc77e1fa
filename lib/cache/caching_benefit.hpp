// CachingBenefit: whether looking answers up saves more than it costs.
#pragma once

#include <cstdint>

#include "tidegate/time.hpp"

namespace tidegate {

/// Watches the look-ups of one model over windows of kWindow. Where the time that hits save is less
/// than what all look-ups and insertions cost, the cache is bypassed for all but one key in 64;
/// those go on, and bring it back once they would save twice the cost. A key is always or never
/// among them, so their hit ratio is that of all. Thread-compatible.
class CachingBenefit {
 public:
  static constexpr std::uint32_t kWindow = 4096;
  static constexpr std::uint64_t kProbedOneIn = 64;
  /// In bypass: look-ups of probed keys between two judgements.
  static constexpr std::uint32_t kProbeWindow = 256;

  /// `cost`: of one look-up and, on a miss, one insertion.
  explicit CachingBenefit(Duration cost) noexcept : cost_(cost) {}

  /// Whether this key is to be looked up and stored.
  [[nodiscard]] bool uses_cache(std::uint64_t hash) const noexcept {
    return !bypassing_ || (hash >> 40) % kProbedOneIn == 0;
  }
  [[nodiscard]] bool bypassing() const noexcept { return bypassing_; }
  [[nodiscard]] std::uint64_t times_bypassed() const noexcept { return times_bypassed_; }

  enum class Lookup : std::uint8_t { hit, miss };
  void looked_up(Lookup result) noexcept;
  /// What computing one answer has taken, its share of the batch; not positive = ignored.
  void computed(Duration time) noexcept;

 private:
  void judge() noexcept;

  const Duration cost_;
  bool bypassing_ = false;
  std::uint32_t lookups_ = 0;  ///< in this window
  std::uint32_t hits_ = 0;
  double compute_ns_ = 0;  ///< moving average; 0 = not known yet
  std::uint64_t times_bypassed_ = 0;
};

}  // namespace tidegate
