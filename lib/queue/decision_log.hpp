// DecisionLog: the last decisions of a queue, for whoever asks why.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "tidegate/queue.hpp"

namespace tidegate {

/// A ring: recording allocates nothing.
class DecisionLog {
 public:
  /// Numbers the decision and keeps it in place of the oldest.
  std::uint64_t record(BatchDecision decision) noexcept {
    decision.number = ++count_;
    place(count_) = decision;
    return count_;
  }

  /// No effect once the decision has been dropped.
  void finish(std::uint64_t number, Duration actual) noexcept {
    if (number > 0 && count_ - number < kKept) place(number).actual = actual;
  }

  /// Oldest first.
  [[nodiscard]] std::vector<BatchDecision> read() const {
    std::vector<BatchDecision> list;
    const std::uint64_t kept = count_ < kKept ? count_ : kKept;
    list.reserve(kept);
    for (std::uint64_t number = count_ - kept + 1; number <= count_; ++number) list.push_back(place(number));
    return list;
  }

  static constexpr std::size_t kKept = 256;

 private:
  [[nodiscard]] BatchDecision& place(std::uint64_t number) const noexcept { return (*ring_)[number % kKept]; }

  std::unique_ptr<std::array<BatchDecision, kKept>> ring_ = std::make_unique<std::array<BatchDecision, kKept>>();
  std::uint64_t count_ = 0;
};

}  // namespace tidegate
