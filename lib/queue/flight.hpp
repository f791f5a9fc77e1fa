// Waiter and Flight: the two records of the scheduler core, linked without allocation.
#pragma once

#include <cstdint>

#include "queue/slab.hpp"
#include "tidegate/runner.hpp"

namespace tidegate {

struct Flight;

/// One accepted request, from acceptance to completion.
struct Waiter : SlabNode {
  void* record = nullptr;  ///< the driver's
  Deadline deadline = kNoDeadline;
  Flight* flight = nullptr;
  Waiter* previous = nullptr;  ///< in its flight, by arrival
  Waiter* next = nullptr;
  bool joined = false;
};

enum class FlightState : std::uint8_t { queued, running };

/// One computation. A queued flight has at least one waiter; a running one may have none.
struct Flight : SlabNode {
  void* work = nullptr;  ///< the driver's
  ItemSize size{};
  TimePoint arrival{};
  FlightState state = FlightState::queued;
  bool opened = false;         ///< its first waiter has come; later ones have joined
  std::uint8_t overtaken = 0;  ///< batches in which a younger flight went first

  Waiter* first_waiter = nullptr;
  Waiter* last_waiter = nullptr;
  std::uint32_t waiters = 0;

  Flight* previous = nullptr;  ///< in the queue, or in its batch once it runs
  Flight* next = nullptr;

  Digest key{};
  bool indexed = false;  ///< found by SingleFlight under `key`
  Flight* next_in_bucket = nullptr;
};

}  // namespace tidegate
