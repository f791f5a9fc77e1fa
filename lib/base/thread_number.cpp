#include "base/thread_number.hpp"

#include <atomic>
#include <bit>

namespace tidegate {
namespace {

static_assert(kThreadNumbers == 64);
/// Bit n: a thread has number n. One for the process, as threads are the process's.
std::atomic<std::uint64_t> taken{0};

constexpr std::uint32_t kNotAsked = kNoThreadNumber - 1;
thread_local std::uint32_t own = kNotAsked;

struct GiveBack {
  bool armed = false;
  ~GiveBack() {
    if (own < kThreadNumbers) taken.fetch_and(~(std::uint64_t{1} << own), std::memory_order_release);
    own = kNoThreadNumber;
  }
};
thread_local GiveBack give_back;

std::uint32_t take() noexcept {
  std::uint64_t seen = taken.load(std::memory_order_relaxed);
  while (seen != ~std::uint64_t{0}) {
    const auto lowest = static_cast<std::uint32_t>(std::countr_one(seen));
    if (!taken.compare_exchange_weak(seen, seen | std::uint64_t{1} << lowest, std::memory_order_acquire)) continue;
    give_back.armed = true;  // its destructor runs with the thread's end
    return own = lowest;
  }
  return kNoThreadNumber;
}

}  // namespace

std::uint32_t thread_number() noexcept { return own == kNotAsked ? take() : own; }

}  // namespace tidegate
