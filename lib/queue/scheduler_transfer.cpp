// Requests that leave a queue unanswered because another one takes them.
#include "queue/scheduler_state.hpp"

namespace tidegate {

std::optional<SchedulerCore::Waiting> SchedulerCore::waiting(WaiterId id) const noexcept {
  const Waiter* const waiter = state_->waiters.find(static_cast<std::uint64_t>(id));
  if (waiter == nullptr || waiter->flight->state != FlightState::queued) return std::nullopt;
  const Flight& flight = *waiter->flight;
  return Waiting{flight.work, flight.priority, flight.tenant->name};
}

void SchedulerCore::inherit_rates(TimePoint now, const SchedulerCore& former) {
  state_->begin(now);
  state_->tenants.inherit_rates(former.state_->tenants, state_->now);
  state_->settle();
}

bool SchedulerCore::withdraw(TimePoint now, WaiterId id) {
  State& state = *state_;
  state.begin(now);
  Waiter* const waiter = state.waiters.find(static_cast<std::uint64_t>(id));
  const bool waits = waiter != nullptr && waiter->flight->state == FlightState::queued;
  if (waits) {
    Flight& flight = *waiter->flight;
    state.forget_waiter(*waiter);
    ++state.stats.withdrawn;
    state.drop_if_abandoned(flight);
  }
  state.settle();
  return waits;
}

}  // namespace tidegate
