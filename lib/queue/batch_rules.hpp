// BatchRules: what a batch of a padded model may be and how long it takes, as plain numbers.
#pragma once

#include <cstdint>

#include "queue/latency_model.hpp"
#include "tidegate/time.hpp"

namespace tidegate {

struct BatchRules {
  static constexpr double kLeastGain = 0.05;   ///< of the time an item would take alone
  static constexpr double kMostPadding = 1.5;  ///< computed over needed squares

  std::uint64_t max_rows = 0;
  std::uint64_t max_tokens = 0;
  std::uint64_t max_bytes = 0;
  LatencyModel::Vector cost{};  ///< nanoseconds per batch, computed token, computed square and row
  double tail95 = 1;            ///< times the mean
  TimePoint now{};

  /// Nanoseconds of one row of a batch whose longest row is that long.
  [[nodiscard]] double per_row(double longest) const noexcept {
    return cost[1] * longest + cost[2] * longest * longest + cost[3];
  }
};

}  // namespace tidegate
