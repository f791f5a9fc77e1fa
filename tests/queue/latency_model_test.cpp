// What the queue learns about the speed of a model.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>

#include "queue/latency_model.hpp"

using namespace tidegate;

namespace {

/// A machine with known coefficients, in nanoseconds, and a noise of its own.
struct Machine {
  double base = 200'000;
  double per_token = 9'000;
  double per_square = 12;
  double per_row = 15'000;
  double noise = 0.05;  ///< standard deviation of the relative error
  BatchLayout layout = BatchLayout::packed;

  [[nodiscard]] double mean(const BatchShape& shape) const {
    return base + per_token * shape.computed_tokens(layout) + per_square * shape.computed_squares(layout) +
           per_row * static_cast<double>(shape.rows);
  }
};

class Lesson {
 public:
  explicit Lesson(BatchLayout layout = BatchLayout::packed) : model(layout) {}

  BatchShape draw() {
    BatchShape shape;
    const std::uint32_t rows = 1 + random_() % 32;
    for (std::uint32_t i = 0; i < rows; ++i) shape.add({1, 3 + random_() % 253, 0});
    return shape;
  }
  Duration time(const Machine& machine, const BatchShape& shape) {
    std::normal_distribution<double> error(1.0, machine.noise);
    return Duration(static_cast<std::int64_t>(machine.mean(shape) * std::max(0.2, error(random_))));
  }
  void teach(const Machine& machine, int batches, std::uint32_t level = 1) {
    for (int i = 0; i < batches; ++i) {
      const BatchShape shape = draw();
      model.learn(level, shape, time(machine, shape));
    }
  }
  /// Largest relative error of the predicted mean over shapes of all sizes.
  double worst_error(const Machine& machine, std::uint32_t level = 1) {
    double worst = 0;
    for (int i = 0; i < 200; ++i) {
      const BatchShape shape = draw();
      worst = std::max(worst, std::abs(model.mean(level, shape) / machine.mean(shape) - 1));
    }
    return worst;
  }

  LatencyModel model;

 private:
  std::mt19937 random_{7};
};

}  // namespace

TEST_CASE("queue 4.13/73: two hundred noisy batches give predictions within 5 %") {
  for (const BatchLayout layout : {BatchLayout::packed, BatchLayout::padded}) {
    Lesson lesson(layout);
    Machine machine;
    machine.layout = layout;
    lesson.teach(machine, 200);
    CHECK(lesson.worst_error(machine) < 0.05);
  }
}

TEST_CASE("queue 4.13/73: without noise the coefficients themselves are found") {
  Lesson lesson;
  Machine machine;
  machine.noise = 0;
  lesson.teach(machine, 200);
  const LatencyProfile profile = lesson.model.profile();
  CHECK(profile.samples == 200);
  CHECK(profile.base_ns == doctest::Approx(machine.base).epsilon(0.05));
  CHECK(profile.per_token_ns == doctest::Approx(machine.per_token).epsilon(0.05));
  CHECK(profile.per_square_ns == doctest::Approx(machine.per_square).epsilon(0.05));
  CHECK(profile.per_row_ns == doctest::Approx(machine.per_row).epsilon(0.05));
}

TEST_CASE("queue 4.13/74: a step in speed is learned within 64 batches, in both directions") {
  for (const double factor : {3.0, 1.0 / 3}) {
    Lesson lesson;
    Machine machine;
    lesson.teach(machine, 500);
    machine.base *= factor;
    machine.per_token *= factor;
    machine.per_square *= factor;
    machine.per_row *= factor;
    CHECK(lesson.worst_error(machine) > 0.5);
    lesson.teach(machine, 64);
    CHECK(lesson.worst_error(machine) < 0.15);
    CHECK(lesson.model.profile().drifts == 1);
  }
}

TEST_CASE("queue 4.13/75: durations that are not positive teach nothing") {
  Lesson lesson;
  const BatchShape shape = lesson.draw();
  lesson.model.learn(1, shape, Duration(0));
  lesson.model.learn(1, shape, Duration(-5));
  lesson.model.learn(1, shape, Duration::min());
  CHECK(lesson.model.profile().samples == 0);
  CHECK(lesson.model.mean(1, shape) == 0);
}

TEST_CASE("queue 4.13/75: extreme shapes and durations leave every prediction finite and not negative") {
  Lesson lesson;
  const std::uint64_t huge = 1ULL << 50;
  for (int i = 0; i < 100; ++i) {
    lesson.model.learn(1, BatchShape::of({1, huge, huge}), Duration::max());
    lesson.model.learn(1, BatchShape::of({1, 1, 0}), Duration(1));
  }
  for (const std::uint64_t tokens : {std::uint64_t{1}, std::uint64_t{1} << 20, huge}) {
    const double mean = lesson.model.mean(1, BatchShape::of({1, tokens, 0}));
    CHECK(std::isfinite(mean));
    CHECK(mean >= 0);
  }
  CHECK(std::isfinite(lesson.model.tail99()));
}

TEST_CASE("queue 4.13/76: between 93 and 97 of a hundred batches end within the tail of 95") {
  for (const double noise : {0.05, 0.2}) {
    Lesson lesson;
    Machine machine;
    machine.noise = noise;
    lesson.teach(machine, 1000);
    int covered = 0;
    constexpr int kBatches = 4000;
    for (int i = 0; i < kBatches; ++i) {
      const BatchShape shape = lesson.draw();
      const Duration actual = lesson.time(machine, shape);
      covered += static_cast<double>(actual.count()) <= lesson.model.mean(1, shape) * lesson.model.tail95() ? 1 : 0;
      lesson.model.learn(1, shape, actual);
    }
    const double share = static_cast<double>(covered) / kBatches;
    CHECK(share > 0.93);
    CHECK(share < 0.97);
  }
}

TEST_CASE("queue: batches that run side by side are learned apart, and unknown levels borrow the nearest") {
  Lesson lesson;
  Machine alone;
  Machine crowded = alone;
  crowded.base *= 2;
  crowded.per_token *= 2;
  crowded.per_square *= 2;
  crowded.per_row *= 2;
  lesson.teach(alone, 200, 1);
  CHECK(lesson.worst_error(alone, 2) < 0.1);
  lesson.teach(crowded, 200, 2);
  CHECK(lesson.worst_error(alone, 1) < 0.1);
  CHECK(lesson.worst_error(crowded, 2) < 0.1);
  CHECK(lesson.worst_error(crowded, 7) < 0.1);
}

TEST_CASE("queue: batches of one shape are predicted though their coefficients cannot be told apart") {
  LatencyModel model(BatchLayout::packed);
  for (int i = 0; i < 100; ++i) model.learn(1, BatchShape::of({1, 64, 0}), Duration(1'000'000));
  CHECK(model.mean(1, BatchShape::of({1, 64, 0})) == doctest::Approx(1e6).epsilon(0.001));
}

TEST_CASE("a latency model that takes over a memory predicts as the one before, and its live batches outweigh it") {
  const Machine before;
  Lesson first;
  first.teach(before, 300);
  const auto memory = first.model.memory();
  REQUIRE(memory);
  Lesson second;
  second.model.restore(*memory);
  CHECK(second.model.is_confident());
  CHECK(second.model.profile().source == LatencySource::stored);
  CHECK(second.model.profile().samples == 0);
  CHECK(second.worst_error(before) < 0.1);
  CHECK(second.model.tail95() == first.model.tail95());
  Machine after = before;
  after.base *= 3;
  after.per_token *= 3;
  after.per_square *= 3;
  after.per_row *= 3;
  second.teach(after, 200);
  CHECK(second.worst_error(after) < 0.1);
  CHECK(second.model.profile().drifts == 1);
  CHECK(second.model.profile().source == LatencySource::learned);
}

TEST_CASE("a calibrated latency model predicts from the first batch, with the cold tail") {
  const Machine machine;
  Lesson lesson;
  for (int round = 0; round < 2; ++round) {
    for (const std::uint32_t rows : {1U, 2U, 4U, 8U}) {
      for (const std::uint64_t length : {8U, 32U, 128U}) {
        BatchShape shape;
        for (std::uint32_t i = 0; i < rows; ++i) shape.add({1, length, 0});
        lesson.model.calibrate(shape, lesson.time(machine, shape));
      }
    }
  }
  CHECK(lesson.model.is_confident());
  CHECK(lesson.worst_error(machine) < 0.25);
  CHECK(lesson.model.tail95() == LatencyModel::kColdTail);
  CHECK(lesson.model.profile().source == LatencySource::calibrated);
  CHECK(!lesson.model.memory());
}
