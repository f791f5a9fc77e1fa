#include "cache/caching_benefit.hpp"

namespace tidegate {
namespace {

constexpr double kNewest = 1.0 / 64;  ///< weight of one answer in the moving average
constexpr double kReturnsAt = 2;      ///< times the cost

}  // namespace

void CachingBenefit::looked_up(Lookup result) noexcept {
  ++lookups_;
  hits_ += result == Lookup::hit ? 1 : 0;
  if (lookups_ >= (bypassing_ ? kProbeWindow : kWindow)) judge();
}

void CachingBenefit::computed(Duration time) noexcept {
  if (time <= Duration::zero()) return;
  const auto ns = static_cast<double>(time.count());
  compute_ns_ = compute_ns_ == 0 ? ns : compute_ns_ + (ns - compute_ns_) * kNewest;
}

void CachingBenefit::judge() noexcept {
  const double saved = compute_ns_ * hits_;
  const double cost = static_cast<double>(cost_.count()) * lookups_;
  lookups_ = hits_ = 0;
  if (compute_ns_ == 0) return;
  if (!bypassing_ && saved < cost) {
    bypassing_ = true;
    ++times_bypassed_;
  } else if (bypassing_ && saved > kReturnsAt * cost) {
    bypassing_ = false;
  }
}

}  // namespace tidegate
