// WaiterTable: the accepted requests of one model that have not been told their end.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "base/prefetch.hpp"
#include "queue/delivery_order.hpp"
#include "queue/room.hpp"
#include "queue/scheduler_core.hpp"
#include "tidegate/engine.hpp"

namespace tidegate {

struct Work;
struct BatchJob;

/// One accepted request. Its address is stable until it is vacated. It carries its own
/// end, so that ending a request needs no memory.
struct alignas(64) PendingRequest : Turn {
  enum class Stage : std::uint8_t {
    vacant,
    preparing,  ///< looked up in further tiers or tokenized; the scheduler does not know it yet
    scheduled,  ///< `core_id` is valid
    elsewhere,  ///< a newer version of the model answers it; `handle_elsewhere` is valid
    held,       ///< the fields of the end are set, but others of its line come first
    ended,      ///< the fields of the end are set; its callback waits for the executor
    told,       ///< claimed by the one who calls it
  };
  /// What the caller of an awaited request is woken for; bits of `signal`.
  enum Signal : std::uint32_t { kNone = 0, kLead = 1, kEnded = 2 };

  Engine::Callback on_done;  ///< empty if awaited
  bool awaited = false;      ///< its caller waits for `signal`, and vacates it himself
  TimePoint accepted{};
  Deadline deadline = kNoDeadline;
  WaiterId core_id{};
  Stage stage = Stage::vacant;
  Version version = Version::any;
  bool forwarded = false;              ///< it came from an older version, which counts it
  std::uint64_t handle_elsewhere = 0;  ///< in the newer version's table
  std::uint32_t slot = 0;
  std::uint32_t generation = 1;  ///< grows each time the slot is vacated; so no handle is 0

  // The end. Once `ended`, the one who ended it and then the one who claimed it own these.
  Outcome outcome = Outcome::answered;
  bool joined = false;
  bool overruled = false;  ///< it was cancelled or due while it was held: the outcome counts, not the result
  Work* work = nullptr;    ///< set when answered by a computation; held
  TimePoint ended_at{};
  PendingRequest* next = nullptr;  ///< told after this one

  BatchJob* lead = nullptr;                  ///< the batch its caller is to run; set before kLead is signalled
  std::atomic<std::uint32_t> signal{kNone};  ///< its caller clears what he has seen to

  std::optional<Result<Response>> result{};  ///< of the end; empty: it follows from outcome and work

  /// Wakes the caller. What was written before is seen by him. The slot, which others may use by
  /// the time he has been woken, outlives this call with its table.
  void wake(Signal reason) noexcept {
    signal.fetch_or(reason, std::memory_order_release);
    signal.notify_one();
  }
};

/// Requests that end together, in order.
class EndedList {
 public:
  void push_back(PendingRequest& request) noexcept {
    request.next = nullptr;
    (last_ != nullptr ? last_->next : first_) = &request;
    last_ = &request;
    ++size_;
  }
  /// `more` is not to be used any more.
  void append(const EndedList& more) noexcept {
    if (more.first_ == nullptr) return;
    (last_ != nullptr ? last_->next : first_) = more.first_;
    last_ = more.last_;
    size_ += more.size_;
  }
  [[nodiscard]] PendingRequest* front() const noexcept { return first_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  PendingRequest* first_ = nullptr;
  PendingRequest* last_ = nullptr;
  std::size_t size_ = 0;
};

/// Slots with generations, so that an old id never finds a new request.
/// Thread-compatible. Only `add` allocates.
class WaiterTable {
 public:
  static constexpr unsigned kSlotBits = 22;
  static constexpr unsigned kHandleBits = kSlotBits + 32;

  /// The callback is still to be given.
  PendingRequest& add(TimePoint accepted, Deadline deadline) {
    if (vacant_.empty()) grow();
    PendingRequest& waiter = slots_[vacant_.back()];
    vacant_.pop_back();
    if (!vacant_.empty()) prefetch(slots_[vacant_.back()]);
    waiter.accepted = accepted;
    waiter.deadline = deadline;
    waiter.outcome = Outcome::answered;
    waiter.joined = false;
    waiter.overruled = false;
    waiter.stage = PendingRequest::Stage::preparing;
    waiter.version = Version::any;
    waiter.forwarded = false;
    ++pending_;
    return waiter;
  }

  /// Takes back an `add` of which nobody has heard.
  void withdraw(PendingRequest& waiter) noexcept {
    waiter.awaited = false;
    waiter.stage = PendingRequest::Stage::vacant;
    --pending_;
    vacant_.push_back(waiter.slot);
  }

  /// From here on `find` does not find it, but its slot is kept until it is vacated.
  void end(PendingRequest& waiter) noexcept {
    waiter.stage = PendingRequest::Stage::ended;
    --pending_;
  }

  /// The ended request, to the first who asks: it and those behind it are the caller's
  /// to tell and to vacate. nullptr for everybody after that.
  [[nodiscard]] PendingRequest* claim(std::uint64_t handle) noexcept {
    PendingRequest* const waiter = in_slot(handle);
    if (waiter == nullptr || waiter->stage != PendingRequest::Stage::ended) return nullptr;
    waiter->stage = PendingRequest::Stage::told;
    return waiter;
  }

  /// Frees the slot of an ended request, whose callback, result and work are gone.
  void vacate(PendingRequest& waiter) noexcept {
    waiter.stage = PendingRequest::Stage::vacant;
    waiter.awaited = false;
    if (++waiter.generation == 0) waiter.generation = 1;
    vacant_.push_back(waiter.slot);
  }

  [[nodiscard]] static std::uint64_t handle(const PendingRequest& waiter) noexcept {
    return std::uint64_t{waiter.generation} << kSlotBits | waiter.slot;
  }

  /// nullptr if the request has ended.
  [[nodiscard]] PendingRequest* find(std::uint64_t handle) noexcept {
    PendingRequest* const waiter = in_slot(handle);
    return waiter != nullptr && is_pending(*waiter) ? waiter : nullptr;
  }

  /// Requests that have not ended.
  [[nodiscard]] std::size_t size() const noexcept { return pending_; }
  [[nodiscard]] bool full() const noexcept { return vacant_.empty() && slots_.size() == 1ULL << kSlotBits; }

  /// Before the first `add`: handles of an earlier table in the same place find nothing here.
  void number_from(std::uint32_t generation) noexcept { first_generation_ = generation; }
  [[nodiscard]] std::uint32_t next_generation() const noexcept {
    std::uint32_t last = first_generation_;
    for (const PendingRequest& waiter : slots_) last = std::max(last, waiter.generation + 1);
    return last;
  }

  template <class Visit>
  void for_each_scheduled(Visit&& visit) {
    for (PendingRequest& waiter : slots_) {
      if (waiter.stage == PendingRequest::Stage::scheduled) visit(waiter);
    }
  }

  /// Calls `visit(PendingRequest&)` for those the scheduler does not know yet.
  template <class Visit>
  void for_each_preparing(Visit&& visit) {
    for (PendingRequest& waiter : slots_) {
      if (waiter.stage == PendingRequest::Stage::preparing) visit(waiter);
    }
  }

  /// Whether the scheduler does not know one yet. From the first call on none may be added: each slot is looked at
  /// once.
  [[nodiscard]] bool any_preparing() noexcept {
    while (looked_ < slots_.size() && slots_[looked_].stage != PendingRequest::Stage::preparing) ++looked_;
    return looked_ < slots_.size();
  }

 private:
  [[nodiscard]] static bool is_pending(const PendingRequest& waiter) noexcept {
    return waiter.stage == PendingRequest::Stage::preparing || waiter.stage == PendingRequest::Stage::scheduled ||
           waiter.stage == PendingRequest::Stage::elsewhere || waiter.stage == PendingRequest::Stage::held;
  }
  [[nodiscard]] PendingRequest* in_slot(std::uint64_t handle) noexcept {
    const std::uint64_t slot = handle & ((1ULL << kSlotBits) - 1);
    if (slot >= slots_.size() || slots_[slot].generation != handle >> kSlotBits) return nullptr;
    return &slots_[slot];
  }

  void grow() {
    constexpr std::size_t kChunk = 16;  // divides the largest number of slots
    make_room(vacant_, slots_.size() + kChunk);
    for (std::size_t i = 0; i < kChunk; ++i) {
      slots_.emplace_back();
      slots_.back().slot = static_cast<std::uint32_t>(slots_.size() - 1);
      slots_.back().generation = first_generation_;
      vacant_.push_back(slots_.back().slot);
    }
  }

  std::deque<PendingRequest> slots_;
  std::vector<std::uint32_t> vacant_;  ///< has room for every slot
  std::size_t pending_ = 0;
  std::uint32_t first_generation_ = 1;
  std::size_t looked_ = 0;  ///< slots in front of it are not preparing any more
};

}  // namespace tidegate
