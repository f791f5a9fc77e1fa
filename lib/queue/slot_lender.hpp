// SlotLender: where a queue that shares execution slots with others asks for one.
#pragma once

#include <cstdint>

#include "tidegate/time.hpp"

namespace tidegate {

/// Whether the queue that gives a slot back has more to run.
enum class Backlog : std::uint8_t { none, some };

/// Called by a SchedulerCore within its events. Implementations throw nothing and call no queue.
class SlotLender {
 public:
  virtual ~SlotLender() = default;
  /// A batch could start: true if it may. Else the core is to be told (`advance`) once it may.
  [[nodiscard]] virtual bool take() noexcept = 0;
  /// Nothing could start: a slot that is held for the queue may go to another.
  virtual void decline() noexcept = 0;
  /// The batch for which `take` was allowed started, and will last about so long.
  virtual void charge(Duration predicted) noexcept = 0;
  /// It has ended. Also called, with zeros, where the batch could not be started after all.
  virtual void give_back(Duration predicted, Duration actual, Backlog backlog) noexcept = 0;
};

}  // namespace tidegate
