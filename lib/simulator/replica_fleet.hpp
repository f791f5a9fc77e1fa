// ReplicaFleet: the replicas of a simulation, as a scaling policy wants them.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "tidegate/scaling.hpp"
#include "tidegate/simulator.hpp"

namespace tidegate {

/// Starting ones count from the decision on and run batches `start` later. A shrink takes the
/// youngest that start first; a replica finishes the batches it runs.
class ReplicaFleet {
 public:
  /// Begins at `begin` with one replica that is ready. Without a policy it stays at that; with one there
  /// is always one. `origin`: what times of changes are counted from.
  ReplicaFleet(const QueueReplayOptions& options, TimePoint origin, TimePoint begin);

  /// The next decision, or the next replica that gets ready; kNoDeadline = none.
  [[nodiscard]] TimePoint next_event() const noexcept;
  [[nodiscard]] bool is_decision_due(TimePoint now) const noexcept { return policy_ != nullptr && tick_ <= now; }
  void decide(TimePoint now, LaneLoad lane);
  /// Replicas that are due become ready. How many run batches now.
  std::int32_t ready(TimePoint now) noexcept;

  /// Fills in the report's fields of replicas.
  void report(TimePoint end, QueueReplay& replay) &&;

 private:
  void resize(TimePoint now, std::int32_t replicas);

  const QueueReplayOptions& options_;
  const std::shared_ptr<const ScalingPolicy> policy_;
  const TimePoint origin_;
  TimePoint tick_;
  ScalingState state_;
  std::int32_t asked_ = 1;
  std::int32_t ready_ = 1;
  std::deque<TimePoint> starting_;  ///< when each is ready, in order
  TimePoint counted_;               ///< replica_seconds_ holds what was before
  double replica_seconds_ = 0;
  std::int32_t most_ = 1;
  std::vector<ReplicaChange> changes_;
};

}  // namespace tidegate
