// What a pipeline knows of its model's speed before the first request and after the last.
#include <array>
#include <string>

#include "base/replace_file.hpp"
#include "base/try.hpp"
#include "engine/calibration.hpp"
#include "engine/pipeline.hpp"
#include "engine/profile_file.hpp"
#include "request/copy_input.hpp"

namespace tidegate {
Result<void> Pipeline::learn_speed(const CalibrationOptions& options, const BatchingOptions& batching) {
  if (options.mode == Calibration::off || batching.prediction == Prediction::off) return {};
  const ModelInfo& model = info();
  if (const std::string path = path_beside(options, model, profile_name(profile_key(model))); !path.empty()) {
    {
      MutexLock lock(mutex_);
      profile_path_ = path;
    }
    const std::string text = read_small_file(path);
    if (const auto memory = read_profile(text, profile_key(model))) {
      metrics_.profile_file("loaded");
      MutexLock lock(mutex_);
      core_.latency().restore(*memory);
      return {};
    }
    if (!text.empty()) metrics_.profile_file("ignored");
  }
  std::vector<Input> inputs;
  for (const Input& input : options.inputs) inputs.push_back(copy_input(input));
  if (inputs.empty()) inputs.assign(model.sample_texts.begin(), model.sample_texts.end());
  if (inputs.empty()) return {};
  TIDEGATE_TRY(const auto points, calibrate(*runners_.begin()->second, inputs, batching, *services_->clock));
  MutexLock lock(mutex_);
  for (const CalibrationPoint& point : points) core_.latency().calibrate(point.shape, point.time);
  return {};
}

LatencyProfile Pipeline::latency_profile() const {
  MutexLock lock(mutex_);
  return core_.profile();
}

ScalingSnapshot Pipeline::scaling_snapshot() const {
  ScalingSnapshot snapshot;
  LaneLoad lane;
  {
    MutexLock lock(mutex_);
    snapshot.now = services_->clock->now();
    lane = core_.load(snapshot.now);
  }
  const auto replicas = static_cast<std::uint32_t>(runners_.size());
  snapshot.spec_replicas = snapshot.status_replicas = static_cast<std::int32_t>(replicas);
  lane.model = name_;
  lane.pool = options_.pool.name;
  lane.slots_per_replica = std::max(1U, lane.slots / replicas);
  lane.max_batch_size = options_.batching.max_batch_size;
  lane.max_batch_tokens = options_.batching.max_batch_tokens;
  lane.slo = options_.slo;
  snapshot.lanes.push_back(std::move(lane));
  return snapshot;
}

Duration Pipeline::expected_time() const {
  MutexLock lock(mutex_);
  return core_.expected_time(services_->clock->now(), Priority::interactive);
}

void Pipeline::keep_speed() noexcept {
  try {
    std::optional<LatencyMemory> memory;
    std::string path;
    {
      MutexLock lock(mutex_);
      path.swap(profile_path_);
      memory = core_.latency().memory();
    }
    if (path.empty() || !memory) return;
    const std::string text = write_profile(profile_key(info()), *memory);
    const std::array parts{std::as_bytes(std::span(text))};
    metrics_.profile_file(replace_file(path, parts) ? "kept" : "not_kept");
  } catch (...) {
    // The next start measures again.
  }
}

}  // namespace tidegate
