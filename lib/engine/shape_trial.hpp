// ShapeTrial: what a model serves in one shape, measured with all replicas at work.
#pragma once

#include <span>
#include <vector>

#include "scaling/shape_choice.hpp"
#include "tidegate/calibration.hpp"
#include "tidegate/queue.hpp"
#include "tidegate/time.hpp"

namespace tidegate {

/// The batches of `calibrate`, each on all replicas at the same time, for kCalibrationBudget at most; of
/// several rounds the quickest counts. No point where an input cannot be prepared. Starts a thread
/// for every replica but the first and ends it. Error: the model fails on its samples. May throw
/// std::bad_alloc and std::system_error.
[[nodiscard]] Result<ShapeMeasurement> measure_shape(ReplicaShape shape, std::span<const Replica> replicas,
                                                     std::span<const Input> inputs, const BatchingOptions& batching,
                                                     const Clock& clock);

}  // namespace tidegate
