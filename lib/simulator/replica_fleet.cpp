#include "simulator/replica_fleet.hpp"

#include <algorithm>
#include <utility>

namespace tidegate {

ReplicaFleet::ReplicaFleet(const QueueReplayOptions& options, TimePoint origin, TimePoint begin)
    : options_(options),
      policy_(options.scaling),
      origin_(origin),
      tick_(policy_ == nullptr ? kNoDeadline : begin + options.scaling_interval),
      counted_(begin) {}

TimePoint ReplicaFleet::next_event() const noexcept {
  return starting_.empty() ? tick_ : std::min(tick_, starting_.front());
}

void ReplicaFleet::decide(TimePoint now, LaneLoad lane) {
  tick_ = now + options_.scaling_interval;
  lane.model = "trace";
  lane.slots_per_replica = options_.slots;
  lane.max_batch_size = options_.batching.max_batch_size;
  lane.max_batch_tokens = options_.batching.max_batch_tokens;
  lane.slo = options_.slo;
  ScalingSnapshot snapshot;
  snapshot.now = now;
  snapshot.spec_replicas = snapshot.status_replicas = asked_;
  snapshot.lanes.push_back(std::move(lane));
  ScalingDecision decision = policy_->decide(snapshot, std::move(state_));
  state_ = std::move(decision.state);
  // Without any replica what waits would wait for ever.
  const std::int32_t wanted = std::max(1, decision.replicas);
  if (wanted == asked_) return;
  changes_.push_back({now - origin_, asked_, wanted, decision.explain()});
  resize(now, wanted);
}

void ReplicaFleet::resize(TimePoint now, std::int32_t replicas) {
  replica_seconds_ += asked_ * std::chrono::duration<double>(now - counted_).count();
  counted_ = now;
  for (std::int32_t more = replicas - asked_; more > 0; --more) starting_.push_back(now + options_.replica_start);
  for (std::int32_t fewer = asked_ - replicas; fewer > 0; --fewer) {
    starting_.empty() ? static_cast<void>(--ready_) : starting_.pop_back();
  }
  asked_ = replicas;
  most_ = std::max(most_, asked_);
}

std::int32_t ReplicaFleet::ready(TimePoint now) noexcept {
  while (!starting_.empty() && starting_.front() <= now) {
    starting_.pop_front();
    ++ready_;
  }
  return ready_;
}

void ReplicaFleet::report(TimePoint end, QueueReplay& replay) && {
  resize(std::max(end, counted_), asked_);
  replay.replica_seconds = replica_seconds_;
  replay.most_replicas = most_;
  replay.changes = std::move(changes_);
}

}  // namespace tidegate
