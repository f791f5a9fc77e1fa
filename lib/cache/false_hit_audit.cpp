#include "cache/false_hit_audit.hpp"

#include <algorithm>
#include <cmath>

namespace tidegate {
namespace {

constexpr double kZ = 1.6448536269514722;  ///< 95th percentile of the normal distribution
constexpr double kRemembered = 1000;       ///< trials
constexpr std::uint32_t kMostRaises = 3;

}  // namespace

double wilson_upper_bound(double wrong, double trials) noexcept {
  if (!(trials > 0)) return 1;
  const double share = wrong / trials;
  const double z2 = kZ * kZ;
  const double centre = share + z2 / (2 * trials);
  const double spread = kZ * std::sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials));
  return std::min(1.0, (centre + spread) / (1 + z2 / trials));
}

FalseHitAudit::FalseHitAudit(float threshold, double budget, std::uint32_t sampled_percent) noexcept
    : threshold_(threshold), budget_(budget), sampled_percent_(sampled_percent) {}

bool FalseHitAudit::tries_next() noexcept {
  if (state_ != State::serving) return true;
  phase_ += sampled_percent_;
  if (phase_ < 100) return false;
  phase_ -= 100;
  return true;
}

void FalseHitAudit::tried(float threshold, Trial outcome) noexcept {
  const std::uint32_t wrong = outcome == Trial::differed ? 1 : 0;
  ++trials_in_all_;
  wrong_in_all_ += wrong;
  if (state_ == State::disabled || threshold < threshold_) return;
  if (trials_ >= kRemembered) {
    wrong_ *= 1 - 1 / kRemembered;
    trials_ *= 1 - 1 / kRemembered;
  }
  trials_ += 1;
  wrong_ += wrong;
  if (upper_bound() <= budget_) {
    state_ = State::serving;
  } else if (state_ == State::serving || wrong_ / trials_ > budget_ + kZ * std::sqrt(budget_ / trials_)) {
    // While on probation few trials leave the bound high: then only what is clearly wrong counts.
    raise();
  }
}

void FalseHitAudit::raise() noexcept {
  wrong_ = trials_ = 0;
  phase_ = 0;
  if (raised_ == kMostRaises) {
    state_ = State::disabled;
    return;
  }
  ++raised_;
  threshold_ += (1 - threshold_) / 3;
  state_ = State::probation;
}

}  // namespace tidegate
