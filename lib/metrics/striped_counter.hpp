// StripedCounter: a counter whose writers on different threads rarely share a cache line.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>

#include "metrics/registry.hpp"

namespace tidegate {

/// A number in [0, stripes) that is constant per thread and spread over threads.
/// `stripes` is a power of two.
[[nodiscard]] inline std::size_t stripe_of_this_thread(std::size_t stripes) noexcept {
  // Thread ids are aligned addresses; the multiplication (Fibonacci hashing) moves
  // the bits that differ into the ones that are kept.
  const std::uint64_t id = std::hash<std::thread::id>{}(std::this_thread::get_id());
  return static_cast<std::size_t>((id * 0x9E3779B97F4A7C15ull) >> 40) & (stripes - 1);
}

class StripedCounter final : public Counter {
 public:
  void add(std::uint64_t amount = 1) noexcept override {
    // Relaxed: the stripes carry no other data; a reader needs only their sum.
    stripes_[stripe_of_this_thread(kStripes)].value.fetch_add(amount, std::memory_order_relaxed);
  }

  /// At least everything added before the call by this thread or by threads it
  /// has synchronized with; wraps at 2^64.
  [[nodiscard]] std::uint64_t total() const noexcept {
    std::uint64_t sum = 0;
    for (const Stripe& stripe : stripes_) sum += stripe.value.load(std::memory_order_relaxed);
    return sum;
  }

 private:
  static constexpr std::size_t kStripes = 16;
  struct alignas(64) Stripe {
    std::atomic<std::uint64_t> value{0};
  };
  std::array<Stripe, kStripes> stripes_;
};

}  // namespace tidegate
