// FalseHitAudit: how like a question must be for its answer to be used, learned from trials.
#pragma once

#include <cstdint>

namespace tidegate {

/// The upper end of Wilson's score interval for a share of `wrong` in `trials` (Wilson, "Probable
/// inference, the law of succession, and statistical inference", JASA 1927), one-sided at 95 %.
/// 1 without trials.
[[nodiscard]] double wilson_upper_bound(double wrong, double trials) noexcept;

/// Decides which would-be hits are answered and which are tried first: computed all the same,
/// and compared. A new threshold is on probation: every hit is tried, until the bound on
/// wrong ones is at most `budget` (268 right ones in a row for 1 %). From then on a share
/// is. If the bound rises above the budget, the threshold goes up by a third of what is
/// left to 1 and probation starts anew; the fourth time the tier is switched off for good.
/// Old trials fade: about the last 1000 count. Thread-compatible.
class FalseHitAudit {
 public:
  enum class State : std::uint8_t { probation, serving, disabled };
  enum class Trial : std::uint8_t { agreed, differed };

  /// `budget`: allowed share of wrong hits, above 0 and below 1. `sampled_percent` of the hits are tried
  /// while serving, 1 to 100.
  FalseHitAudit(float threshold, double budget, std::uint32_t sampled_percent) noexcept;

  [[nodiscard]] State state() const noexcept { return state_; }
  [[nodiscard]] float threshold() const noexcept { return threshold_; }
  [[nodiscard]] double upper_bound() const noexcept { return wilson_upper_bound(wrong_, trials_); }
  [[nodiscard]] std::uint64_t wrong_in_all() const noexcept { return wrong_in_all_; }
  [[nodiscard]] std::uint64_t trials_in_all() const noexcept { return trials_in_all_; }

  /// Whether the next hit is to be tried and not answered; spreads the sampled share evenly.
  [[nodiscard]] bool tries_next() noexcept;

  /// A trial has ended. `threshold` is the one it was started under: trials of a lower
  /// one say nothing about the present.
  void tried(float threshold, Trial outcome) noexcept;

 private:
  void raise() noexcept;

  float threshold_;
  const double budget_;
  const std::uint32_t sampled_percent_;
  State state_ = State::probation;
  std::uint32_t raised_ = 0;
  std::uint32_t phase_ = 0;  ///< of the sampling, 0..99
  double wrong_ = 0;
  double trials_ = 0;
  std::uint64_t wrong_in_all_ = 0;
  std::uint64_t trials_in_all_ = 0;
};

}  // namespace tidegate
