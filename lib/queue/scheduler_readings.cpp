// What the driver of a scheduler core takes and reads.
#include "queue/scheduler_state.hpp"

namespace tidegate {

Commands SchedulerCore::take_commands() {
  Commands& commands = state_->commands;
  Commands taken;
  taken.complete = commands.complete;
  taken.retire = commands.retire;
  taken.run.swap(commands.run);
  commands.complete.clear();
  commands.retire.clear();
  return taken;
}

Commands& SchedulerCore::commands() noexcept { return state_->commands; }

void SchedulerCore::take_back(std::vector<void*> works) noexcept {
  works.clear();
  std::vector<std::vector<void*>>& spare = state_->spare_works;
  if (works.capacity() > 0 && spare.size() < spare.capacity()) spare.push_back(std::move(works));
}

TimePoint SchedulerCore::next_wake() const noexcept {
  const State& state = *state_;
  if (state.starved) return state.now;
  const TimePoint deadline = std::min(state.deadlines.earliest(), state.earliest_stuck);
  const bool lingering = !state.denied && !state.queue.empty() && state_->has_free_slot();
  return lingering ? std::min(deadline, state.linger_end()) : deadline;
}

const SchedulerStats& SchedulerCore::stats() const noexcept { return state_->stats; }

std::vector<BatchDecision> SchedulerCore::decisions() const { return state_->decisions.read(); }

LatencyProfile SchedulerCore::profile() const noexcept { return state_->model.profile(); }

LaneLoad SchedulerCore::load(TimePoint now) const noexcept {
  constexpr std::int64_t kSoon = 10;
  constexpr std::int64_t kLasting = 60;
  const State& state = *state_;
  const TimePoint at = std::max(now, state.now);
  LaneLoad load;
  load.service = state.model.profile(state.slots);
  load.observed = state.meter.observed(at);
  load.arrivals_10s = state.meter.arrivals(at, kSoon);
  load.arrivals_60s = state.meter.arrivals(at, kLasting);
  load.served_10s = state.meter.served(at, kSoon);
  load.utilization_10s = std::min(1.0, state.meter.busy_slots(at, kSoon) / std::max<std::uint32_t>(1, state.slots));
  load.queued_items = state.stats.queued_items;
  load.queued_tokens = state.stats.queued_tokens;
  load.slots = state.slots;
  return load;
}

Duration SchedulerCore::expected_time(TimePoint now, Priority priority) const noexcept {
  if (state_->outlook().model == nullptr) return Duration::zero();
  constexpr double kMost = 9e18;
  Submission newcomer;
  newcomer.priority = priority;
  return Duration(static_cast<std::int64_t>(std::min(kMost, state_->estimated_time(now, {}, newcomer))));
}

void SchedulerCore::share_slots(SlotLender& lender) noexcept { state_->lender = &lender; }

LatencyModel& SchedulerCore::latency() noexcept { return state_->model; }
const LatencyModel& SchedulerCore::latency() const noexcept { return state_->model; }

}  // namespace tidegate
