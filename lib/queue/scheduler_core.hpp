// SchedulerCore: which requests run together, and when. A pure state machine: events
// in, commands out, time passed in. It holds no lock, reads no clock, calls no user
// code and starts no thread, so the live engine, the simulator and the tests run the
// same object.
//
// Words: a *waiter* is one accepted request. A *flight* is one computation; equal
// requests in flight share it (single-flight). A *slot* is room for one running batch
// on some replica. A *batch* is the flights that run together in one slot.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "queue/shared_room.hpp"
#include "tidegate/lane_load.hpp"
#include "tidegate/queue.hpp"
#include "tidegate/runner.hpp"

namespace tidegate {

class LatencyModel;
class SlotLender;

enum class WaiterId : std::uint64_t {};  ///< slot and generation; never reused
enum class BatchId : std::uint64_t {};

/// One part of a computation that runs in parts.
struct SubmittedPart {
  void* work = nullptr;  ///< the driver's; handed back in RunBatch and Retire, before the whole's
  ItemSize size{};
};

/// A request that needs a computation of its own.
struct Submission {
  void* waiter = nullptr;  ///< the driver's record of the request; handed back in Complete
  void* work = nullptr;    ///< the driver's record of the computation; handed back in RunBatch, Complete and Retire
  ItemSize size{};
  Deadline deadline = kNoDeadline;
  std::optional<Digest> key{};  ///< set: later equal requests may join this flight
  /// Whether this request itself may join an equal flight; one that wants a new
  /// computation may not.
  enum class Joining : std::uint8_t { allowed, never };
  Joining joining = Joining::allowed;
  Priority priority = Priority::interactive;
  std::string_view tenant{};
  std::uint64_t signature = 0;  ///< PreparedInput::signature
  /// Set: the request is larger than a batch and runs as these. They are accepted together or
  /// not at all; `size` is not read, and `work` stands for the whole in Complete and Retire.
  std::span<const SubmittedPart> parts{};
  /// `moves`: it waits in another queue and stays there if it is refused here. Its tenant has paid, it displaces
  /// nobody, and a refusal counts as nothing.
  enum class Origin : std::uint8_t { arrives, moves };
  Origin origin = Origin::arrives;
  const SharedRoom::Place* claim = nullptr;  ///< its caller's, of the room that is shared with other queues
  /// `waits`: where only room is lacking, the caller waits for it and submits again, so that refusal counts as nothing.
  enum class Patience : std::uint8_t { none, waits };
  Patience patience = Patience::none;
  /// `behind`: callers who wait for room come first, so none is there for this one.
  enum class Standing : std::uint8_t { first, behind };
  Standing standing = Standing::first;
};

/// How a waiter ended.
enum class Outcome : std::uint8_t {
  answered,  ///< the flight has run; the driver finds answer or model error in `work`
  deadline_exceeded,
  would_miss,  ///< the deadline is ahead, but the model would take longer
  shed,        ///< it has waited too long in a queue that stands (max_standing_delay)
  preempted,   ///< it gave way to a higher class in a full queue
  stuck,       ///< its batch has been inside the model for too long
  cancelled,
  shutting_down,
  step_too_large,  ///< its next step would break a cap of a batch
};

/// Deliver one waiter's end. Exactly one per accepted waiter.
struct Complete {
  void* waiter = nullptr;
  Outcome outcome = Outcome::answered;
  void* work = nullptr;  ///< set when answered
  bool joined = false;   ///< the flight was started by another waiter
};

/// How a batch ended.
enum class BatchEnd : std::uint8_t {
  ran,
  failed,         ///< as a whole, or in parts that were run again: its time says nothing
  out_of_memory,  ///< as `failed`; for a while batches have fewer tokens
};

/// How a step of an iterative model ended for one flight.
struct StepResult {
  enum class Kind : std::uint8_t {
    done,
    proceeds,  ///< has a next step
    parked,    ///< has a next step, but none before `unpark`
  };
  Kind kind = Kind::done;
  ItemSize next_size{};
};

/// Run these flights together, in this order, in a slot that is now taken.
struct RunBatch {
  BatchId id{};
  TimePoint formed{};
  std::vector<void*> works;
  Duration predicted{0};  ///< mean time inside the model; zero = not known
  // Iterative models only.
  std::uint32_t slot = 0;           ///< which: it holds the state of the flights that go on
  std::vector<StepResult> steps{};  ///< one for each work, for the driver to fill in for batch_done
};

/// Whether a flight may take several steps.
enum class Stepping : std::uint8_t { single, iterative };

/// The core has forgotten this flight; the driver may free `work`. After every
/// Complete that names it, and never while its batch runs.
struct Retire {
  void* work = nullptr;
};

/// What the driver must do, in this order: completions, batches, retirements.
struct Commands {
  std::vector<Complete> complete;
  std::vector<RunBatch> run;
  std::vector<Retire> retire;
  [[nodiscard]] bool empty() const noexcept { return complete.empty() && run.empty() && retire.empty(); }
};

struct SchedulerStats {
  std::uint64_t accepted = 0;  ///< waiters
  std::uint64_t joined = 0;    ///< of them, those that joined a flight
  std::uint64_t split = 0;     ///< of them, those that were accepted in parts
  std::uint64_t refused_full = 0, refused_too_large = 0, refused_draining = 0;
  std::uint64_t refused_quota = 0;    ///< the tenant's rate or share
  std::uint64_t refused_late = 0;     ///< it would have missed its deadline
  std::uint64_t refused_tenants = 0;  ///< max_tenants others were remembered
  std::uint64_t refused_poison = 0;   ///< an equal one has failed alone lately
  std::uint64_t answered = 0, deadline_exceeded = 0, would_miss = 0, cancelled = 0, shut_down = 0;
  std::uint64_t shed = 0, preempted = 0, stuck = 0, step_too_large = 0;
  std::uint64_t withdrawn = 0;  ///< left for another queue
  std::uint64_t batches = 0, batched_items = 0;
  std::uint64_t wasted_items = 0;  ///< flights that ran though every waiter had left or another part had failed
  std::uint32_t queued_items = 0;  ///< flights waiting now
  std::uint64_t queued_tokens = 0, queued_bytes = 0;
  std::uint32_t running_batches = 0, running_items = 0;
  std::uint32_t stuck_batches = 0;  ///< of the running ones
  std::uint32_t kept_items = 0;     ///< flights between two steps
  std::uint32_t parked_items = 0;   ///< of them
  std::uint32_t waiters = 0;        ///< accepted and not completed
};

/// Thread-compatible: the driver serializes all calls. `now` never goes backwards.
/// Every event may produce commands; the driver takes and executes them after it.
/// Out of memory: `join` and `submit` throw std::bad_alloc with nothing accepted; no
/// other event but inherit_rates throws, as room for the end of a request is made when it is accepted.
class SchedulerCore {
 public:
  /// Options must be valid (engine/options_check). `slots` may be 0 at first.
  SchedulerCore(const BatchingOptions& batching, const AdmissionOptions& admission, std::uint32_t slots,
                BatchLayout layout = BatchLayout::packed, Stepping stepping = Stepping::single);
  ~SchedulerCore();
  SchedulerCore(SchedulerCore&&) noexcept;
  SchedulerCore& operator=(SchedulerCore&&) noexcept;

  // ---- events ---------------------------------------------------------------

  /// Attaches a request to a flight of equal key, queued or running; nullopt if
  /// there is none, if it has kMaxWaitersPerFlight already, or while draining. A flight
  /// that waits takes on the highest class and the earliest deadline of its waiters.
  [[nodiscard]] std::optional<WaiterId> join(TimePoint now, const Digest& key, Deadline deadline, Priority priority,
                                             void* waiter);

  /// Accepts a request or refuses it unchanged: shutting_down, backend_failed (in
  /// quarantine), too_large (the item
  /// alone breaks a batch cap or a queue cap), queue_full (which cap, its numbers,
  /// retry_after), quota_exceeded (the tenant's rate or share), overloaded (it would
  /// miss its deadline, or max_tenants others have work or used rates). Where lower classes can give way,
  /// requests of them are preempted instead of queue_full. A keyed submission that finds an equal flight joins it; then
  /// `work` is unused and `Accepted::joined` is true: the driver keeps ownership of `work`.
  struct Accepted {
    WaiterId id{};
    bool joined = false;
  };
  [[nodiscard]] Result<Accepted> submit(TimePoint now, const Submission& submission);

  /// Completes the waiter with `cancelled`; false if it has completed. A queued
  /// flight whose last waiter leaves is unlinked in O(1); a running one finishes
  /// and is counted as wasted.
  bool cancel(TimePoint now, WaiterId id);

  /// A waiter's flight, while it waits.
  struct Waiting {
    void* work = nullptr;
    Priority priority{};
    std::string_view tenant{};  ///< valid until the next event
  };
  [[nodiscard]] std::optional<Waiting> waiting(WaiterId id) const noexcept;

  /// Forgets a waiter whose flight still waits, without a Complete: another queue answers it.
  /// False, with nothing changed, if it has completed or its flight runs.
  bool withdraw(TimePoint now, WaiterId id);

  /// What the tenants of `former` have used of their rates they have used here, each within the limits
  /// that hold here. May throw std::bad_alloc; then some have inherited.
  void inherit_rates(TimePoint now, const SchedulerCore& former);

  /// Time has passed: ends waiters whose deadline is due and batches whose linger is over.
  void advance(TimePoint now);

  /// The batch has run; its slot is free. Unknown or repeated ids are ignored.
  /// `steps`: as in its RunBatch, filled in; a flight without one is done.
  void batch_done(TimePoint now, BatchId id, BatchEnd end = BatchEnd::ran, std::span<const StepResult> steps = {});

  /// The flight of this waiter may take its next step; no effect if it is not parked.
  void unpark(TimePoint now, WaiterId id);

  /// Before its batch_done: this part of a computation has no answer. Its request ends as
  /// answered (the driver finds the error in the whole's work), and parts of it that wait
  /// never run. False if another part has failed before, or `work` is no running part.
  bool part_failed(TimePoint now, BatchId id, const void* work);

  /// A request of this key failed by itself where others did not: for a minute, equal ones
  /// are refused (backend_failed).
  void quarantine(TimePoint now, const Digest& key);

  /// Slots may grow and shrink; running batches above the new number finish, and so do
  /// flights that go on there.
  void set_slots(TimePoint now, std::uint32_t slots);

  /// A request is on its way (announced), or no longer is: it has been submitted, joined
  /// or given up. Under Linger::announced a free slot waits for company only meanwhile.
  void announce_arrival(TimePoint now);
  void end_announcement(TimePoint now);

  /// From now on submit and join refuse. Queued work goes on.
  void begin_drain(TimePoint now);

  /// Completes every remaining waiter with shutting_down and unlinks queued flights.
  /// Running batches stay until batch_done. Implies begin_drain.
  void fail_remaining(TimePoint now);

  // ---- what the driver must do next -------------------------------------------

  [[nodiscard]] Commands take_commands();

  /// The same commands in place, for a driver that may not fail: it takes their
  /// contents and leaves the lists `complete` and `retire` cleared, not moved from, for
  /// their room belongs to those who are still to end.
  [[nodiscard]] Commands& commands() noexcept;

  /// The list of a RunBatch that has been read: its room is for a later batch's.
  void take_back(std::vector<void*> works) noexcept;

  /// The earliest moment `advance` has something to do; kNoDeadline = none.
  [[nodiscard]] TimePoint next_wake() const noexcept;

  [[nodiscard]] const SchedulerStats& stats() const noexcept;

  /// When a request that was refused for want of room may try again.
  [[nodiscard]] Duration retry_after() const noexcept;

  /// The last 256 batches, oldest first.
  [[nodiscard]] std::vector<BatchDecision> decisions() const;

  /// What has been learned about the model's speed.
  [[nodiscard]] LatencyProfile profile() const noexcept;

  /// Arrivals, what waits and what a batch takes with as many at a time as there are slots. The
  /// names, caps and SLO are for who knows them to fill in.
  [[nodiscard]] LaneLoad load(TimePoint now) const noexcept;

  /// When a smallest request that came now would be answered, as check_deadline foresees it;
  /// zero while the model's speed is not known.
  [[nodiscard]] Duration expected_time(TimePoint now, Priority priority) const noexcept;

  /// From now on every batch needs a slot of `lender`'s, besides one of its own. Before the
  /// first event; `lender` outlives the core. A lingering queue wants no slot meanwhile.
  void share_slots(SlotLender& lender) noexcept;

  /// From now on what waits needs room of `room`, besides that of its own caps. Before the first event;
  /// `room` outlives the core.
  void share_room(SharedRoom& room) noexcept;

  /// Computations that have left the queue and batches that have ended, so far: grows whenever there may be room.
  [[nodiscard]] std::uint64_t departures() const noexcept;
  /// Whether the last request that was refused lacked no room but the shared one.
  [[nodiscard]] bool lacked_shared_room() const noexcept;

  /// What is left for newcomers of this class, without those that would have to give way; nothing while draining.
  [[nodiscard]] QueueRoom room(Priority priority) noexcept;

  /// What the queue knows of the model's speed, to be taught before the first event.
  [[nodiscard]] LatencyModel& latency() noexcept;
  [[nodiscard]] const LatencyModel& latency() const noexcept;

  static constexpr std::uint32_t kMaxWaitersPerFlight = 1024;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tidegate
