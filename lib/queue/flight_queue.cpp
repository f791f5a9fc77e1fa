#include "queue/flight_queue.hpp"

namespace tidegate {

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

void FlightQueue::push_back(Flight& flight) noexcept {
  list_.push_back(flight);
  rows_ += flight.size.rows;
  tokens_ += flight.size.tokens;
  bytes_ += flight.size.bytes;
}

void FlightQueue::unlink(Flight& flight) noexcept {
  list_.remove(flight);
  rows_ -= flight.size.rows;
  tokens_ -= flight.size.tokens;
  bytes_ -= flight.size.bytes;
}

}  // namespace tidegate
