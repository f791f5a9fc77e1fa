// WaiterTable: the accepted requests of one model that have not completed.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "queue/scheduler_core.hpp"
#include "tidegate/engine.hpp"

namespace tidegate {

/// One accepted request. Its address is stable until it is removed.
struct PendingRequest {
  enum class Stage : std::uint8_t {
    vacant,
    preparing,  ///< looked up in further tiers or tokenized; the scheduler does not know it yet
    scheduled,  ///< `core_id` is valid
  };

  Engine::Callback on_done;
  TimePoint accepted{};
  Deadline deadline = kNoDeadline;
  WaiterId core_id{};
  Stage stage = Stage::vacant;
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;  ///< grows each time the slot is vacated
};

/// Slots with generations, so that an old id never finds a new request.
/// Thread-compatible.
class WaiterTable {
 public:
  static constexpr unsigned kSlotBits = 22;
  static constexpr unsigned kHandleBits = kSlotBits + 32;

  PendingRequest& add(TimePoint accepted, Deadline deadline, Engine::Callback on_done) {
    if (vacant_.empty()) {
      slots_.emplace_back();
      slots_.back().slot = static_cast<std::uint32_t>(slots_.size() - 1);
      vacant_.push_back(slots_.back().slot);
    }
    PendingRequest& waiter = slots_[vacant_.back()];
    vacant_.pop_back();
    waiter.on_done = std::move(on_done);
    waiter.accepted = accepted;
    waiter.deadline = deadline;
    waiter.stage = PendingRequest::Stage::preparing;
    return waiter;
  }

  /// Vacates the slot and hands out what completes the request.
  Engine::Callback remove(PendingRequest& waiter) {
    waiter.stage = PendingRequest::Stage::vacant;
    ++waiter.generation;
    vacant_.push_back(waiter.slot);
    return std::move(waiter.on_done);
  }

  [[nodiscard]] static std::uint64_t handle(const PendingRequest& waiter) noexcept {
    return std::uint64_t{waiter.generation} << kSlotBits | waiter.slot;
  }

  /// nullptr if the request has completed.
  [[nodiscard]] PendingRequest* find(std::uint64_t handle) noexcept {
    const std::uint64_t slot = handle & ((1ULL << kSlotBits) - 1);
    if (slot >= slots_.size()) return nullptr;
    PendingRequest& waiter = slots_[slot];
    const bool same = waiter.stage != PendingRequest::Stage::vacant && waiter.generation == handle >> kSlotBits;
    return same ? &waiter : nullptr;
  }

  [[nodiscard]] std::size_t size() const noexcept { return slots_.size() - vacant_.size(); }
  [[nodiscard]] bool full() const noexcept { return vacant_.empty() && slots_.size() == 1ULL << kSlotBits; }

  /// The waiters the scheduler does not know yet.
  [[nodiscard]] std::vector<PendingRequest*> preparing() {
    std::vector<PendingRequest*> found;
    for (PendingRequest& waiter : slots_) {
      if (waiter.stage == PendingRequest::Stage::preparing) found.push_back(&waiter);
    }
    return found;
  }

 private:
  std::deque<PendingRequest> slots_;
  std::vector<std::uint32_t> vacant_;
};

}  // namespace tidegate
