// BatchRules: what a batch may be and how long it takes, as plain numbers.
#pragma once

#include <cstdint>

#include "queue/latency_model.hpp"
#include "tidegate/queue.hpp"

namespace tidegate {

struct BatchRules {
  static constexpr double kLeastGain = 0.05;   ///< of the time an item would take alone
  static constexpr double kMostPadding = 1.5;  ///< computed over needed squares

  std::uint64_t max_rows = 0;
  std::uint64_t max_tokens = 0;
  std::uint64_t max_bytes = 0;
  BatchLayout layout = BatchLayout::packed;
  LatencyModel::Vector cost{};  ///< nanoseconds per batch, computed token, computed square and row
  double tail95 = 1;            ///< times the mean
  TimePoint now{};

  /// Nanoseconds.
  [[nodiscard]] double mean(double tokens, double squares, double rows) const noexcept {
    return cost[0] + cost[1] * tokens + cost[2] * squares + cost[3] * rows;
  }
  [[nodiscard]] double mean(const BatchShape& shape) const noexcept {
    return mean(shape.computed_tokens(layout), shape.computed_squares(layout), static_cast<double>(shape.rows));
  }
};

}  // namespace tidegate
