// LatencyModel: how long a batch takes, learned from the batches that ran.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "queue/batch_shape.hpp"
#include "queue/latency_memory.hpp"
#include "queue/ratio_histogram.hpp"
#include "tidegate/queue.hpp"

namespace tidegate {

/// time = base + per_token * T + per_square * Q + per_row * R, where T are the tokens
/// computed, Q the sum of squared lengths and R the rows; no coefficient is negative.
/// A weighted least-squares fit of relative errors in which old batches fade, one for
/// each of a few levels of concurrency, as batches that run side by side slow each other.
/// The tail is the distribution of actual over predicted time.
class LatencyModel {
 public:
  explicit LatencyModel(BatchLayout layout) : layout_(layout) {}

  /// `level`: batches that ran when this one started, itself included. Durations that
  /// are not positive are ignored.
  void learn(std::uint32_t level, const BatchShape& shape, Duration duration) noexcept;

  /// Before the first batch: a batch that was run to measure it. The tail learns nothing.
  void calibrate(const BatchShape& shape, Duration duration) noexcept;

  /// Before the first batch: what an earlier model has learned; later batches outweigh it.
  void restore(const LatencyMemory& memory) noexcept;

  /// What has been learned, for a later model; empty before enough batches have run.
  [[nodiscard]] std::optional<LatencyMemory> memory() const noexcept;

  /// Enough is known to decide by what is predicted.
  [[nodiscard]] bool is_confident() const noexcept { return samples_ >= kConfidentSamples || ahead_ >= kAheadSamples; }

  /// Nanoseconds; 0 before the first batch.
  [[nodiscard]] double mean(std::uint32_t level, const BatchShape& shape) const noexcept;

  static constexpr std::size_t kTerms = LatencyMemory::kTerms;
  using Vector = std::array<double, kTerms>;
  /// Nanoseconds per batch, token, square and row; zeros before the first batch.
  [[nodiscard]] Vector coefficients(std::uint32_t level) const noexcept;

  /// Nanoseconds of so many batches that add up to the shape.
  [[nodiscard]] double sum(std::uint32_t level, const BatchShape& all, double batches) const noexcept;

  /// What the time of a batch over its mean exceeds once in twenty batches; at least 1.
  [[nodiscard]] double tail95() const noexcept { return tail95_; }
  /// The same, once in a hundred.
  [[nodiscard]] double tail99() const noexcept { return tail99_; }

  /// With `level` batches at a time.
  [[nodiscard]] LatencyProfile profile(std::uint32_t level = 1) const noexcept;

  static constexpr std::uint64_t kConfidentSamples = 32;
  static constexpr std::uint64_t kAheadSamples = 8;  ///< measurements of a calibration
  static constexpr double kColdTail = 2.0;           ///< the tail while it is not known

 private:
  static constexpr std::size_t kLevels = LatencyMemory::kLevels;

  /// The decayed sums of the normal equations and their solution.
  struct Level {
    std::array<Vector, kTerms> products{};  ///< sum of x xT
    Vector targets{};                       ///< sum of x y
    Vector coefficients{};                  ///< nanoseconds per term
    std::uint64_t samples = 0;
    double drift = 1;                ///< recent mean of actual over predicted
    std::uint32_t off_course = 0;    ///< batches in a row with `drift` out of bounds
    std::uint32_t quick_fading = 0;  ///< batches left of the quicker forgetting
  };

  [[nodiscard]] static std::size_t level_of(std::uint32_t running) noexcept;
  [[nodiscard]] const Level* nearest(std::size_t index) const noexcept;
  [[nodiscard]] Vector terms(const BatchShape& shape) const noexcept;
  void watch_drift(Level& level, double ratio) noexcept;
  static void add(Level& level, const Vector& terms, double actual, double yardstick, double keep) noexcept;
  static void solve(Level& level) noexcept;

  BatchLayout layout_;
  std::array<Level, kLevels> levels_{};
  RatioHistogram ratios_;
  double tail95_ = kColdTail;
  double tail99_ = kColdTail;
  std::uint64_t samples_ = 0;
  std::uint64_t drifts_ = 0;
  std::uint64_t ahead_ = 0;  ///< what was known before the first batch, in measurements
  bool restored_ = false;
};

}  // namespace tidegate
