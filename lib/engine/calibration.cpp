#include "engine/calibration.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/try.hpp"
#include "engine/guarded_call.hpp"
#include "request/copy_input.hpp"

namespace tidegate {

std::vector<CalibrationPlan> calibration_plans(std::span<const PreparedInput> inputs, const BatchingOptions& batching) {
  std::vector<CalibrationPlan> plans;
  for (const PreparedInput& input : inputs) {
    CalibrationPlan plan{&input};
    for (const std::uint32_t copies : {1U, 2U, 4U, 8U}) {
      while (plan.copies < copies || plan.shape.rows == 0) {
        plan.shape.add(at_least_one(input.size));
        if (plan.shape.rows > at_least_one(input.size).rows) ++plan.copies;
      }
      if (plan.shape.rows > batching.max_batch_size || plan.shape.tokens > batching.max_batch_tokens ||
          plan.shape.bytes > batching.max_batch_bytes) {
        break;
      }
      plans.push_back(plan);
    }
  }
  std::stable_sort(plans.begin(), plans.end(),
                   [](const CalibrationPlan& a, const CalibrationPlan& b) { return a.shape.tokens < b.shape.tokens; });
  return plans;
}

Result<Duration> time_of(ModelRunner& runner, const CalibrationPlan& plan, const Clock& clock) {
  std::vector<BatchItem> items(plan.copies);
  for (BatchItem& item : items) item.input = plan.input;
  const TimePoint start = clock.now();
  guarded_run(runner, items);
  const Duration time = clock.now() - start;
  for (BatchItem& item : items) {
    if (!item.output) return std::move(item.output).error();
  }
  return time;
}

Result<std::vector<CalibrationPoint>> calibrate(ModelRunner& runner, std::span<const Input> inputs,
                                                const BatchingOptions& batching, const Clock& clock) {
  const TimePoint start = clock.now();
  std::vector<PreparedInput> prepared;
  for (const Input& input : inputs) {
    auto ready = guarded_prepare(runner, copy_input(input));
    if (!ready) return std::vector<CalibrationPoint>{};
    prepared.push_back(*std::move(ready));
  }
  const std::vector<CalibrationPlan> plans = calibration_plans(prepared, batching);
  std::vector<CalibrationPoint> points;
  if (plans.empty()) return points;
  // The first batch touches memory that later ones find ready, so it is no measurement.
  TIDEGATE_CHECK(time_of(runner, plans.front(), clock));
  constexpr int kRounds = 3;
  std::vector<Duration> last(plans.size(), Duration::zero());
  for (int round = 0; round < kRounds; ++round) {
    double per_token = 0;
    for (std::size_t i = 0; i < plans.size(); ++i) {
      const auto tokens = static_cast<double>(plans[i].shape.tokens);
      const Duration foreseen =
          round > 0 ? last[i] : Duration(static_cast<Duration::rep>(std::min(per_token * tokens, 1e17)));
      if (clock.now() - start + foreseen > kCalibrationBudget) return points;
      TIDEGATE_TRY(const Duration time, time_of(runner, plans[i], clock));
      if (time <= Duration::zero()) continue;
      points.push_back({plans[i].shape, time});
      last[i] = time;
      per_token = static_cast<double>(time.count()) / tokens;
    }
  }
  return points;
}

}  // namespace tidegate
