// Whether a history of concurrent calls on one key could have happened one call after the other.
#pragma once

#include <atomic>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

namespace tidegate::test {

/// One call, as its caller saw it. Moments are of one clock that all threads share.
struct CacheCall {
  enum class Kind : std::uint8_t { get, put, erase };
  static constexpr int kNothing = 0;

  Kind kind = Kind::get;
  int value = kNothing;  ///< put: what; get: what came
  std::uint64_t called = 0;
  std::uint64_t returned = 0;
};

/// What a cache may do with what it has lost.
enum class Loss : std::uint8_t {
  for_good,    ///< it stays lost until somebody puts it again
  for_a_while  ///< it may come back: another tier still has it
};

/// Searches for an order in which the calls make sense one by one: each between its call and its
/// return, each get answering what was last put and not erased, or nothing (after Wing and Gong, 1993;
/// with Lowe's memory of what has been tried). At most 32 calls.
class LinearizabilityCheck {
 public:
  LinearizabilityCheck(std::vector<CacheCall> calls, Loss loss) : calls_(std::move(calls)), loss_(loss) {}

  [[nodiscard]] bool passes() { return search(0, CacheCall::kNothing); }

 private:
  [[nodiscard]] bool search(std::uint32_t taken, int value) {
    if (taken == (std::uint64_t{1} << calls_.size()) - 1) return true;
    if (!tried_.emplace(taken, value).second) return false;
    // Whoever comes next was called before any of those left had returned.
    std::uint64_t first_return = UINT64_MAX;
    for (std::size_t i = 0; i < calls_.size(); ++i) {
      if ((taken >> i & 1) == 0) first_return = std::min(first_return, calls_[i].returned);
    }
    for (std::size_t i = 0; i < calls_.size(); ++i) {
      const CacheCall& call = calls_[i];
      if ((taken >> i & 1) != 0 || call.called > first_return) continue;
      int next = value;
      if (call.kind == CacheCall::Kind::put) next = call.value;
      if (call.kind == CacheCall::Kind::erase) next = CacheCall::kNothing;
      if (call.kind == CacheCall::Kind::get) {
        if (call.value != CacheCall::kNothing && call.value != value) continue;
        if (call.value == CacheCall::kNothing && loss_ == Loss::for_good) next = CacheCall::kNothing;
      }
      if (search(taken | std::uint32_t{1} << i, next)) return true;
    }
    return false;
  }

  const std::vector<CacheCall> calls_;
  const Loss loss_;
  std::set<std::pair<std::uint32_t, int>> tried_{};
};

/// The clock of a history: every reading is later than those that had returned before it.
class CallClock {
 public:
  std::uint64_t read() noexcept { return moment_.fetch_add(1, std::memory_order_seq_cst); }

 private:
  std::atomic<std::uint64_t> moment_{1};
};

}  // namespace tidegate::test
