// Calibration: what is measured of a model when it is added, and in which shape it is served.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tidegate/router.hpp"
#include "tidegate/runner.hpp"
#include "tidegate/shape.hpp"

namespace tidegate {

struct Replica {
  std::unique_ptr<ModelRunner> runner;
  ReplicaOptions options{};
};

/// Whether a model's speed is measured when it is added, and kept when it is drained.
enum class Calibration : std::uint8_t { on, off };

/// What is known of a model's speed before its first request. When it is added, a profile
/// that an earlier run has kept is read, or a few batches are run, for about 300 ms at most. A
/// single batch that takes longer is not cut short.
struct CalibrationOptions {
  Calibration mode = Calibration::on;
  std::vector<Input> inputs{};  ///< of about three lengths; empty = ModelInfo::sample_texts
  /// Where the profile is kept; empty = ModelInfo::folder, and nowhere if that is empty too.
  std::string folder{};
};

/// A model that can be loaded in several shapes, which answer alike (equal fingerprints).
struct ShapedModel {
  /// Called on the thread of add_model and review_shape, one call at a time; blocks while it loads. Answers
  /// `replicas` replicas of `threads` threads each.
  std::function<Result<std::vector<Replica>>(ReplicaShape)> load;
  /// To be divided: one replica with all, two with half each, or one on each, whichever serves the most. 1..256.
  std::uint32_t cores = 1;
};

}  // namespace tidegate
