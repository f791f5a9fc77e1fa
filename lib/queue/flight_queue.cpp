#include "queue/flight_queue.hpp"

#include <algorithm>

namespace tidegate {
namespace {

TimePoint place_of(const Flight& flight) noexcept {
  if (flight.urgent != kNoDeadline) return flight.urgent;
  const Duration target = FlightQueue::kClassTarget[index_of(flight.priority)];
  return flight.arrival > kNoDeadline - target ? kNoDeadline : flight.arrival + target;
}

TenantLine& line_of(Flight& flight) noexcept { return flight.tenant->lines[index_of(flight.priority)]; }

}  // namespace

void FlightList::push_back(Flight& flight) noexcept {
  flight.previous = back_;
  flight.next = nullptr;
  (back_ != nullptr ? back_->next : front_) = &flight;
  back_ = &flight;
  ++size_;
}

void FlightList::remove(Flight& flight) noexcept {
  (flight.previous != nullptr ? flight.previous->next : front_) = flight.next;
  (flight.next != nullptr ? flight.next->previous : back_) = flight.previous;
  flight.previous = flight.next = nullptr;
  --size_;
}

void FlightQueue::enter(Flight& flight) noexcept {
  ClassQueue& queue = of(flight.priority);
  if (queue.items == 0) queue.opened_at = flight.arrival;
  ++queue.items;
  queue.total.add(flight.size);
  TenantLine& line = line_of(flight);
  if (line.flights.empty()) {
    line.served = std::max(line.served, queue.clock);
    queue.lines.insert(line);
  }
  line.flights.insert(flight);
}

void FlightQueue::leave(Flight& flight) noexcept {
  ClassQueue& queue = of(flight.priority);
  --queue.items;
  queue.total.subtract(flight.size);
  if (queue.items == 0) queue.owed = 0;
  TenantLine& line = line_of(flight);
  line.flights.erase(flight);
  if (line.flights.empty()) queue.lines.erase(line);
}

void FlightQueue::push_back(Flight& flight) noexcept {
  list_.push_back(flight);
  total_.add(flight.size);
  ++flight.tenant->queued;
  flight.order = place_of(flight);
  enter(flight);
}

void FlightQueue::unlink(Flight& flight) noexcept {
  leave(flight);
  --flight.tenant->queued;
  total_.subtract(flight.size);
  list_.remove(flight);
  ++departures_;
}

void FlightQueue::move(Flight& flight, Priority priority, Deadline urgent) noexcept {
  if (flight.priority == priority && flight.urgent == urgent) return;
  const bool promoted = flight.order == TimePoint::min();
  const bool stays = flight.priority == priority;
  TenantLine& line = line_of(flight);
  stays ? line.flights.erase(flight) : leave(flight);
  flight.priority = priority;
  flight.urgent = urgent;
  if (!promoted) flight.order = place_of(flight);
  stays ? line.flights.insert(flight) : enter(flight);
}

void FlightQueue::promote(Flight& flight) noexcept {
  TenantLine& line = line_of(flight);
  line.flights.erase(flight);
  flight.order = TimePoint::min();
  line.flights.insert(flight);
}

void FlightQueue::serve(TenantLine& line, Flight& flight) noexcept {
  ClassQueue& queue = of(flight.priority);
  queue.clock = std::max(queue.clock, line.served);
  unlink(flight);
  // Its place changes with what it has been served; alone it has only one.
  const bool moves = !line.flights.empty() && queue.lines.size() > 1;
  if (moves) queue.lines.erase(line);
  line.served += static_cast<double>(flight.size.tokens) / line.tenant->weight;
  if (moves) queue.lines.insert(line);
}

void FlightQueue::charge(Flight& flight) noexcept {
  ClassQueue& queue = of(flight.priority);
  TenantLine& line = line_of(flight);
  queue.clock = std::max(queue.clock, line.served);
  const bool moves = !line.flights.empty() && !line.set_aside;
  if (moves) queue.lines.erase(line);
  line.served += static_cast<double>(flight.size.tokens) / line.tenant->weight;
  if (moves) queue.lines.insert(line);
}

void FlightQueue::set_aside(TenantLine& line, Priority priority) noexcept {
  of(priority).lines.erase(line);
  line.set_aside = true;
}

void FlightQueue::put_back(TenantLine& line, Priority priority) noexcept {
  line.set_aside = false;
  of(priority).lines.insert(line);
}

}  // namespace tidegate
