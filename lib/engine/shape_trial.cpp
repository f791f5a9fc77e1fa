#include "engine/shape_trial.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/team.hpp"
#include "base/try.hpp"
#include "engine/calibration.hpp"
#include "engine/guarded_call.hpp"
#include "request/copy_input.hpp"

namespace tidegate {
namespace {

/// The mean over the replicas; the first error of any.
Result<Duration> run_everywhere(Team& team, std::span<const Replica> replicas, const CalibrationPlan& plan,
                                const Clock& clock) {
  std::vector<std::optional<Result<Duration>>> times(replicas.size());
  auto job = [&](std::size_t member) { times[member].emplace(time_of(*replicas[member].runner, plan, clock)); };
  team.run(job);
  Duration sum{0};
  for (std::optional<Result<Duration>>& time : times) {
    if (!*time) return std::move(*time).error();
    sum += **time;
  }
  return sum / static_cast<Duration::rep>(replicas.size());
}

}  // namespace

Result<ShapeMeasurement> measure_shape(ReplicaShape shape, std::span<const Replica> replicas,
                                       std::span<const Input> inputs, const BatchingOptions& batching,
                                       const Clock& clock) {
  ShapeMeasurement measured{shape, {}};
  std::vector<PreparedInput> prepared;
  for (const Input& input : inputs) {
    auto ready = guarded_prepare(*replicas.front().runner, copy_input(input));
    if (!ready) return measured;
    prepared.push_back(*std::move(ready));
  }
  const std::vector<CalibrationPlan> plans = calibration_plans(prepared, batching);
  if (plans.empty()) return measured;
  Team team("tidegate-shape", replicas.size());
  const TimePoint start = clock.now();
  // The first batch touches memory that later ones find ready, so it is no measurement.
  TIDEGATE_CHECK(run_everywhere(team, replicas, plans.front(), clock));
  constexpr int kRounds = 3;
  std::vector<Duration> best(plans.size(), Duration::zero());
  double per_token = 0;
  bool in_time = true;
  for (int round = 0; round < kRounds && in_time; ++round) {
    for (std::size_t i = 0; i < plans.size() && in_time; ++i) {
      const auto tokens = static_cast<double>(plans[i].shape.tokens);
      const Duration foreseen =
          round > 0 ? best[i] : Duration(static_cast<Duration::rep>(std::min(per_token * tokens, 1e17)));
      in_time = clock.now() - start + foreseen <= kCalibrationBudget;
      if (!in_time) break;
      TIDEGATE_TRY(const Duration time, run_everywhere(team, replicas, plans[i], clock));
      if (time <= Duration::zero()) continue;
      best[i] = best[i] == Duration::zero() ? time : std::min(best[i], time);
      per_token = static_cast<double>(time.count()) / tokens;
    }
  }
  for (std::size_t i = 0; i < plans.size(); ++i) {
    if (best[i] > Duration::zero()) {
      measured.points.push_back({at_least_one(plans[i].input->size).tokens, plans[i].copies, best[i]});
    }
  }
  return measured;
}

}  // namespace tidegate
