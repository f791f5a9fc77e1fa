// LatencyProfile: how long a batch takes, as the queue knows it; s(tokens) with its tail.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "tidegate/time.hpp"

namespace tidegate {

/// Where the numbers of a LatencyProfile come from.
enum class LatencySource : std::uint8_t {
  none,        ///< nothing is known yet
  calibrated,  ///< measured when the model was loaded
  stored,      ///< kept by an earlier run with the same model, processor and threads
  learned,     ///< from the batches that ran
};

[[nodiscard]] constexpr std::string_view to_string(LatencySource source) noexcept {
  switch (source) {
    case LatencySource::none: return "none";
    case LatencySource::calibrated: return "calibrated";
    case LatencySource::stored: return "stored";
    case LatencySource::learned: return "learned";
  }
  return "unknown";
}

/// A time and what it exceeds once in twenty and once in a hundred batches.
struct PredictedTime {
  Duration mean{0};
  Duration p95{0};
  Duration p99{0};
};

/// What the queue knows about a model's speed. With one batch at a time a batch
/// takes base + per_token * T + per_square * Q + per_row * R nanoseconds, where T are the
/// tokens computed, Q the sum over rows of squared length and R the rows.
struct LatencyProfile {
  std::uint64_t samples = 0;  ///< batches learned from; without a calibration, predictions are used from the 32nd on
  double base_ns = 0;
  double per_token_ns = 0;
  double per_square_ns = 0;
  double per_row_ns = 0;
  double tail95 = 0;         ///< actual over predicted time, exceeded once in twenty batches
  double tail99 = 0;         ///< once in a hundred
  std::uint64_t drifts = 0;  ///< times the speed changed for good and the past was dropped
  LatencySource source = LatencySource::none;

  /// The time of a batch of so many rows, tokens and squared lengths (of a padded model
  /// those it computes); zero while nothing is known.
  [[nodiscard]] PredictedTime predict(double rows, double tokens, double squares) const noexcept {
    const double mean = base_ns + per_token_ns * tokens + per_square_ns * squares + per_row_ns * rows;
    return {whole(mean), whole(mean * std::max(1.0, tail95)), whole(mean * std::max(1.0, tail99))};
  }

 private:
  [[nodiscard]] static Duration whole(double ns) noexcept {
    constexpr double kMost = 9e18;
    return Duration(static_cast<Duration::rep>(std::clamp(ns, 0.0, kMost)));
  }
};

}  // namespace tidegate
