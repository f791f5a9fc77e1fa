// Waiter and Flight: the two records of the scheduler core, linked without allocation.
#pragma once

#include <cstdint>

#include "queue/order_tree.hpp"
#include "queue/slab.hpp"
#include "tidegate/runner.hpp"

namespace tidegate {

struct Flight;
struct Tenant;

/// One accepted request, from acceptance to completion.
struct Waiter : SlabNode {
  void* record = nullptr;  ///< the driver's
  Deadline deadline = kNoDeadline;
  Flight* flight = nullptr;
  Waiter* previous = nullptr;  ///< in its flight, by arrival
  Waiter* next = nullptr;
  bool joined = false;
};

enum class FlightState : std::uint8_t {
  queued,
  running,
  ready,   ///< between two steps of an iterative model
  parked,  ///< the same, and in no step until its consumer takes what it has emitted
};

/// One computation. A flight that does not run has at least one waiter; one that runs may have none.
struct alignas(64) Flight : SlabNode {
  // Two lines hold what is read where a batch looks at hundreds of flights and takes a few.
  FlightState state = FlightState::queued;
  bool opened = false;         ///< its first waiter has come; later ones have joined
  std::uint8_t overtaken = 0;  ///< batches in which one behind it in its line went first; steps without it
  Priority priority = Priority::interactive;  ///< the highest of its waiters'
  TreeHook<Flight> hook{};
  ItemSize size{};
  TimePoint order{};              ///< its place in its line, then by `sequence`
  std::uint64_t sequence = 0;     ///< by arrival
  std::uint64_t missed = 0;       ///< the last formation in which it did not fit
  Deadline urgent = kNoDeadline;  ///< the earliest of its waiters'
  std::uint64_t signature = 0;    ///< those of one batch are equal
  TimePoint arrival{};
  Tenant* tenant = nullptr;  ///< the first waiter's

  void* work = nullptr;  ///< the driver's
  Waiter* first_waiter = nullptr;
  Waiter* last_waiter = nullptr;
  std::uint32_t waiters = 0;

  Flight* previous = nullptr;  ///< in the queue, in its batch, or among those between steps in its slot
  Flight* next = nullptr;

  std::uint32_t slot = 0;   ///< between steps: where its state is
  std::uint64_t turn = 0;   ///< the same: by when it became ready
  TimePoint ready_since{};  ///< the same
  // A computation in parts: the whole has the waiters and the key and never stands in the queue;
  // the parts stand there and run, and have neither.
  Flight* whole = nullptr;       ///< of a part
  Flight* first_part = nullptr;  ///< of a whole: those that have not ended; never null
  Flight* next_part = nullptr;
  Flight* previous_part = nullptr;
  std::uint32_t parts_queued = 0;  ///< of a whole, which is `queued` while there are any
  std::uint32_t parts_ran = 0;     ///< of a whole, before it was doomed
  bool begun = false;              ///< of a whole: a part has started
  bool doomed = false;             ///< of a whole: a part failed, or parts were dropped; it will not be complete
  bool failed = false;             ///< of a part: it has no answer

  Digest key{};
  bool indexed = false;  ///< found by SingleFlight under `key`
  Flight* next_in_bucket = nullptr;
};

/// The flight with the waiters.
[[nodiscard]] inline Flight& owner_of(Flight& flight) noexcept {
  return flight.whole != nullptr ? *flight.whole : flight;
}

struct FlightOrder {
  static TreeHook<Flight>& hook(Flight& flight) noexcept { return flight.hook; }
  static bool before(const Flight& a, const Flight& b) noexcept {
    return a.order != b.order ? a.order < b.order : a.sequence < b.sequence;
  }
};
using FlightTree = OrderTree<Flight, FlightOrder>;

}  // namespace tidegate
