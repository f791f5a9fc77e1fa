// Calibration: a model's speed, measured before it serves.
#pragma once

#include <span>
#include <vector>

#include "queue/batch_shape.hpp"
#include "tidegate/queue.hpp"
#include "tidegate/runner.hpp"
#include "tidegate/time.hpp"

namespace tidegate {

struct CalibrationPoint {
  BatchShape shape{};
  Duration time{0};
};

/// Batches of 1, 2, 4 and 8 items of each input are run, small ones first, the whole round again
/// while time is left. No batch is begun that would last beyond kCalibrationBudget,
/// judged by the one before; the first has no judge.
inline constexpr Duration kCalibrationBudget = std::chrono::milliseconds(300);

/// A batch to be run: so many copies of one input.
struct CalibrationPlan {
  const PreparedInput* input = nullptr;
  std::uint32_t copies = 1;
  BatchShape shape{};
};
/// The batches that the caps allow, by the tokens in them. `inputs` outlive them.
[[nodiscard]] std::vector<CalibrationPlan> calibration_plans(std::span<const PreparedInput> inputs,
                                                             const BatchingOptions& batching);
/// Runs it. Error: what the model said of the first item it failed on.
[[nodiscard]] Result<Duration> time_of(ModelRunner& runner, const CalibrationPlan& plan, const Clock& clock);

/// Empty where an input cannot be prepared or nothing could be run. Error: the model fails
/// on its samples. Keeps to the caps of `batching`; counts nowhere.
[[nodiscard]] Result<std::vector<CalibrationPoint>> calibrate(ModelRunner& runner, std::span<const Input> inputs,
                                                              const BatchingOptions& batching, const Clock& clock);

}  // namespace tidegate
