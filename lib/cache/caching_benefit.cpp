#include "cache/caching_benefit.hpp"

namespace tidegate {
namespace {

constexpr double kNewest = 1.0 / 64;  ///< weight of one answer in the moving average
constexpr double kReturnsAt = 2;      ///< times the cost
constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace

void CachingBenefit::count(Lookup result) noexcept {
  if (result == Lookup::hit) hits_.fetch_add(1, kRelaxed);
  const std::uint32_t lookups = lookups_.fetch_add(1, kRelaxed) + 1;
  // Whoever makes the window full judges; those in between belong to the next one.
  if (lookups != (bypassing() ? kProbeWindow : kWindow)) return;
  lookups_.store(0, kRelaxed);
  judge(lookups, hits_.exchange(0, kRelaxed));
}

void CachingBenefit::computed(Duration time) noexcept {
  if (time <= Duration::zero()) return;
  const auto ns = static_cast<double>(time.count());
  const double before = compute_ns_.load(kRelaxed);
  compute_ns_.store(before == 0 ? ns : before + (ns - before) * kNewest, kRelaxed);
}

void CachingBenefit::judge(double lookups, double hits) noexcept {
  const double compute_ns = compute_ns_.load(kRelaxed);
  if (compute_ns == 0) return;
  const double saved = compute_ns * hits;
  const double cost = static_cast<double>(cost_.count()) * lookups;
  if (saved < cost) {
    bypassing_.store(true, kRelaxed);
  } else if (saved > kReturnsAt * cost) {
    bypassing_.store(false, kRelaxed);
  }
}

}  // namespace tidegate
