#include "queue/latency_model.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace tidegate {
namespace {

constexpr double kForgetting = 0.995;      // the last ~200 batches decide
constexpr double kQuickForgetting = 0.95;  // after a drift
constexpr std::uint32_t kQuickBatches = 64;
constexpr double kDriftLow = 0.7;
constexpr double kDriftHigh = 1.5;
constexpr double kNewestDrift = 0.25;        // weight of the newest ratio
constexpr std::uint32_t kDriftBatches = 16;  // out of bounds in a row, and the past no longer counts
constexpr double kPastAfterDrift = 0.02;
// Keeps the equations solvable where all batches were alike, far below what one batch adds.
constexpr double kRidge = 1e-9;
constexpr std::uint64_t kTailEvery = 8;  // batches between two readings of the tail
constexpr std::uint64_t kEagerSolutions = 128;
constexpr std::uint64_t kSolveEvery = 4;
constexpr std::uint64_t kFirstFits = 16;  // of a level: before them, predictions are no yardstick

/// Solves the equations of the chosen terms by elimination; false where they are singular.
template <class Matrix, class Vector>
bool solve_chosen(const Matrix& products, const Vector& targets, unsigned chosen, Vector& solution) {
  constexpr std::size_t n = std::tuple_size_v<Vector>;
  std::array<std::array<double, n + 1>, n> rows{};
  std::array<std::size_t, n> index{};
  std::size_t count = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if ((chosen >> i & 1U) != 0) index[count++] = i;
  }
  for (std::size_t r = 0; r < count; ++r) {
    for (std::size_t c = 0; c < count; ++c) rows[r][c] = products[index[r]][index[c]];
    rows[r][r] *= 1 + kRidge;
    rows[r][count] = targets[index[r]];
  }
  for (std::size_t k = 0; k < count; ++k) {
    // Symmetric and positive definite: no pivoting is needed.
    if (!(rows[k][k] > 0)) return false;
    for (std::size_t r = k + 1; r < count; ++r) {
      const double factor = rows[r][k] / rows[k][k];
      for (std::size_t c = k; c <= count; ++c) rows[r][c] -= factor * rows[k][c];
    }
  }
  solution = {};
  for (std::size_t k = count; k-- > 0;) {
    double value = rows[k][count];
    for (std::size_t c = k + 1; c < count; ++c) value -= rows[k][c] * solution[index[c]];
    solution[index[k]] = value / rows[k][k];
  }
  return true;
}

}  // namespace

std::size_t LatencyModel::level_of(std::uint32_t running) noexcept {
  if (running <= 2) return running <= 1 ? 0 : 1;
  return running <= 4 ? 2 : 3;
}

/// The level itself, or the nearest that has seen enough; nullptr if none has.
const LatencyModel::Level* LatencyModel::nearest(std::size_t index) const noexcept {
  if (levels_[index].samples >= kConfidentSamples) return &levels_[index];
  for (std::size_t distance = 1; distance < kLevels; ++distance) {
    if (index >= distance && levels_[index - distance].samples >= kConfidentSamples) return &levels_[index - distance];
    if (index + distance < kLevels && levels_[index + distance].samples >= kConfidentSamples) {
      return &levels_[index + distance];
    }
  }
  const auto most = std::max_element(levels_.begin(), levels_.end(),
                                     [](const Level& a, const Level& b) { return a.samples < b.samples; });
  return most->samples == 0 ? nullptr : &*most;
}

LatencyModel::Vector LatencyModel::terms(const BatchShape& shape) const noexcept {
  return {1.0, shape.computed_tokens(layout_), shape.computed_squares(layout_),
          static_cast<double>(shape.computed_rows())};
}

double LatencyModel::mean(std::uint32_t level, const BatchShape& shape) const noexcept {
  const Level* const known = nearest(level_of(level));
  if (known == nullptr) return 0;
  const Vector x = terms(shape);
  double sum = 0;
  for (std::size_t i = 0; i < kTerms; ++i) sum += known->coefficients[i] * x[i];
  return sum;
}

double LatencyModel::sum(std::uint32_t level, const BatchShape& all, double batches) const noexcept {
  const Level* const known = nearest(level_of(level));
  if (known == nullptr) return 0;
  const Vector& c = known->coefficients;
  return c[0] * batches + c[1] * static_cast<double>(all.tokens) + c[2] * all.squares +
         c[3] * static_cast<double>(all.rows);
}

LatencyModel::Vector LatencyModel::coefficients(std::uint32_t level) const noexcept {
  const Level* const known = nearest(level_of(level));
  return known == nullptr ? Vector{} : known->coefficients;
}

void LatencyModel::learn(std::uint32_t running, const BatchShape& shape, Duration duration) noexcept {
  if (duration <= Duration::zero()) return;
  const auto actual = static_cast<double>(duration.count());
  Level& level = levels_[level_of(running)];
  const double predicted = mean(running, shape);
  double yardstick = actual;
  if (level.samples >= kFirstFits && predicted > 0) {
    // Errors count relative to the prediction: relative to the outcome, short times would weigh more.
    yardstick = std::max(predicted, actual / 4);
    const double ratio = actual / predicted;
    ratios_.record(ratio);
    watch_drift(level, ratio);
  }
  const double keep = level.quick_fading > 0 ? kQuickForgetting : kForgetting;
  level.quick_fading -= level.quick_fading > 0 ? 1 : 0;
  add(level, terms(shape), actual, yardstick, keep);
  ++samples_;
  // One batch moves the fit of hundreds by little, so then not each is worth a solution.
  const bool settled = level.samples > kEagerSolutions && level.quick_fading == 0;
  if (!settled || level.samples % kSolveEvery == 0) solve(level);
  if (samples_ >= kConfidentSamples && samples_ % kTailEvery == 0) {
    tail95_ = std::max(1.0, ratios_.quantile(0.95));
    tail99_ = std::max(1.0, ratios_.quantile(0.99));
  }
}

/// One more row of the equations: its error counts relative to `yardstick`.
void LatencyModel::add(Level& level, const Vector& terms, double actual, double yardstick, double keep) noexcept {
  Vector x = terms;
  for (double& term : x) term /= yardstick;
  const double y = actual / yardstick;
  for (std::size_t i = 0; i < kTerms; ++i) {
    for (std::size_t j = 0; j < kTerms; ++j) level.products[i][j] = keep * level.products[i][j] + x[i] * x[j];
    level.targets[i] = keep * level.targets[i] + x[i] * y;
  }
  ++level.samples;
}

void LatencyModel::calibrate(const BatchShape& shape, Duration duration) noexcept {
  if (duration <= Duration::zero()) return;
  const auto actual = static_cast<double>(duration.count());
  add(levels_[0], terms(shape), actual, actual, 1);
  solve(levels_[0]);
  ++ahead_;
}

/// The equations of made-up batches that take exactly what the coefficients say.
void LatencyModel::restore(const LatencyMemory& memory) noexcept {
  constexpr std::array kRows{1.0, 2.0, 4.0, 8.0};
  constexpr std::array kLengths{4.0, 16.0, 64.0, 256.0};
  constexpr int kTimes = 4;  // together as much as 64 batches
  for (std::size_t i = 0; i < kLevels; ++i) {
    if (memory.levels[i].samples == 0) continue;
    for (int time = 0; time < kTimes; ++time) {
      for (const double rows : kRows) {
        for (const double length : kLengths) {
          const Vector x{1.0, rows * length, rows * length * length, rows};
          double mean = 0;
          for (std::size_t t = 0; t < kTerms; ++t) mean += memory.levels[i].coefficients[t] * x[t];
          if (mean > 0) add(levels_[i], x, mean, mean, 1);
        }
      }
    }
    solve(levels_[i]);
    ahead_ += levels_[i].samples;
  }
  tail95_ = std::max(1.0, memory.tail95);
  tail99_ = std::max(tail95_, memory.tail99);
  restored_ = true;
}

std::optional<LatencyMemory> LatencyModel::memory() const noexcept {
  if (samples_ < kConfidentSamples) return std::nullopt;
  LatencyMemory memory;
  memory.tail95 = tail95_;
  memory.tail99 = tail99_;
  for (std::size_t i = 0; i < kLevels; ++i) {
    if (levels_[i].samples < kConfidentSamples) continue;
    memory.levels[i] = {levels_[i].samples, levels_[i].coefficients};
  }
  return memory;
}

/// A lasting change of speed (a throttled machine, a new neighbour) makes the past worthless.
void LatencyModel::watch_drift(Level& level, double ratio) noexcept {
  level.drift += kNewestDrift * (ratio - level.drift);
  const bool off = level.drift < kDriftLow || level.drift > kDriftHigh;
  level.off_course = off ? level.off_course + 1 : 0;
  if (level.off_course < kDriftBatches) return;
  for (Vector& row : level.products) {
    for (double& value : row) value *= kPastAfterDrift;
  }
  for (double& value : level.targets) value *= kPastAfterDrift;
  level.quick_fading = kQuickBatches;
  level.off_course = 0;
  level.drift = 1;
  ratios_.clear();
  ++drifts_;
}

/// The best fit without negative coefficients: the least error over all choices of terms
/// whose unconstrained solution is not negative. There are fifteen.
void LatencyModel::solve(Level& level) noexcept {
  double least = std::numeric_limits<double>::infinity();
  for (unsigned chosen = 1; chosen < 1U << kTerms; ++chosen) {
    Vector candidate{};
    if (!solve_chosen(level.products, level.targets, chosen, candidate)) continue;
    if (std::any_of(candidate.begin(), candidate.end(), [](double c) { return !(c >= 0) || !std::isfinite(c); })) {
      continue;
    }
    // The squared error without its constant part. It is reckoned in full, so that a
    // solution that rounding has spoiled is not mistaken for a good one.
    double error = 0;
    for (std::size_t i = 0; i < kTerms; ++i) {
      double fitted = 0;
      for (std::size_t j = 0; j < kTerms; ++j) fitted += level.products[i][j] * candidate[j];
      error += candidate[i] * (fitted - 2 * level.targets[i]);
    }
    if (error < least) {
      least = error;
      level.coefficients = candidate;
    }
  }
}

LatencyProfile LatencyModel::profile(std::uint32_t level) const noexcept {
  LatencyProfile profile;
  profile.samples = samples_;
  profile.drifts = drifts_;
  profile.tail95 = tail95_;
  profile.tail99 = tail99_;
  if (samples_ >= kConfidentSamples) {
    profile.source = LatencySource::learned;
  } else if (ahead_ > 0) {
    profile.source = restored_ ? LatencySource::stored : LatencySource::calibrated;
  } else if (samples_ > 0) {
    profile.source = LatencySource::learned;
  }
  const Level* const known = nearest(level_of(level));
  if (known == nullptr) return profile;
  profile.base_ns = known->coefficients[0];
  profile.per_token_ns = known->coefficients[1];
  profile.per_square_ns = known->coefficients[2];
  profile.per_row_ns = known->coefficients[3];
  return profile;
}

}  // namespace tidegate
