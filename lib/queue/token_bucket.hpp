// TokenBucket: so much per period, with one period's worth of burst.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tidegate/time.hpp"

namespace tidegate {

/// Starts full and refills evenly. A limit of 0 = no limit.
class TokenBucket {
 public:
  TokenBucket() = default;
  TokenBucket(std::uint64_t limit, Duration period) noexcept
      : limit_(static_cast<double>(limit)), per_ns_(limit_ / static_cast<double>(period.count())), used_(0) {}

  /// How long until `amount` may be taken; zero = now. An amount above the limit may be
  /// taken from a full bucket, and is paid off later.
  [[nodiscard]] Duration wait_for(double amount, TimePoint now) const noexcept {
    if (limit_ <= 0) return Duration::zero();
    const double room = limit_ - used_at(now);
    const double missing = std::min(amount, limit_) - room;
    return missing <= 0 ? Duration::zero() : Duration(static_cast<std::int64_t>(missing / per_ns_) + 1);
  }

  void take(double amount, TimePoint now) noexcept {
    if (limit_ <= 0) return;
    used_ = used_at(now) + amount;
    at_ = now;
  }

  [[nodiscard]] double used_at(TimePoint now) const noexcept {
    if (now <= at_) return used_;
    return std::max(0.0, used_ - static_cast<double>((now - at_).count()) * per_ns_);
  }
  [[nodiscard]] double limit() const noexcept { return limit_; }

  /// As if what was used of `former` had been used of this one, though more than a full bucket's worth
  /// counts for as many full ones as it was there.
  void inherit(const TokenBucket& former, TimePoint now) noexcept {
    if (former.limit_ <= 0) return;
    const double used = former.used_at(now);
    take(std::min(used, std::max(limit_, used / former.limit_ * limit_)), now);
  }

  /// When everything used has been refilled.
  [[nodiscard]] TimePoint full_at() const noexcept {
    if (limit_ <= 0 || used_ <= 0) return TimePoint::min();
    const double wait = used_ / per_ns_ + 1;
    const auto left = static_cast<double>((TimePoint::max() - std::max(at_, TimePoint{})).count());
    return wait >= left ? TimePoint::max() : at_ + Duration(static_cast<std::int64_t>(wait));
  }

 private:
  double limit_ = 0;
  double per_ns_ = 0;
  double used_ = 0;
  TimePoint at_{};
};

}  // namespace tidegate
