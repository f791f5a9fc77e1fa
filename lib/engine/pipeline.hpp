// Pipeline: the way of a request through the stages, for one model.
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.hpp"
#include "cache/tiered_cache.hpp"
#include "engine/model_metrics.hpp"
#include "engine/services.hpp"
#include "engine/split_request.hpp"
#include "engine/waiter_table.hpp"
#include "queue/scheduler_core.hpp"
#include "router/router.hpp"

namespace tidegate {

/// One computation: made by `enqueue`, filled by `run`, freed when the scheduler
/// retires it and the last delivery has read it.
struct Work : std::enable_shared_from_this<Work> {
  PreparedInput input;
  std::optional<CacheKey> key;
  Result<std::vector<Tensor>> output = Error(ErrorCode::internal, "the batch has not run");
  TimePoint formed{};
  Duration dispatch{0};  ///< formed to started
  Duration run{0};
  std::uint32_t batch_size = 0;
  std::int32_t replica = -1;
  std::uint32_t parts_count = 1;            ///< it ran in so many parts
  Work* whole = nullptr;                    ///< of a part; the scheduler retires it after its parts
  std::unique_ptr<PartsOfWork> in_parts{};  ///< of a whole, which does not run itself and has no input
  bool poisonous = false;                   ///< the model failed on it alone and not on its neighbours
  std::shared_ptr<Work> held_by_scheduler;  ///< itself, until retired
  Work* next_retired = nullptr;
};

/// Lock order: mutex_, then the clock's, the router's, the memory cache's or an executor's
/// own lock. Runners, further cache tiers and callbacks are never called under mutex_.
///
/// What throws (an allocation, the program's executor, clock or cache tier) is caught
/// where the request can still be refused; from its acceptance on, ending a request
/// needs no memory, and an executor that throws is gone round (post_delivery, dispatch).
class Pipeline : public std::enable_shared_from_this<Pipeline> {
 public:
  Pipeline(std::string name, std::vector<Replica> replicas, const ModelOptions& options,
           std::shared_ptr<Services> services);

  /// `workers` runs the batches; set once, before the first request.
  void start(std::shared_ptr<Executor> workers);

  // The flow, in order. `infer` answers the request's handle or the refusal.
  [[nodiscard]] Result<std::uint64_t> infer(Request request, Engine::Callback on_done);

  /// As `infer`, and waits for the end. The batch that the request starts runs on this thread.
  [[nodiscard]] Result<Response> infer_and_wait(Request request);
  [[nodiscard]] std::optional<Response> try_cached(const Request& request);
  bool cancel(std::uint64_t handle) noexcept;

  /// While the result lives, a free slot may wait for a request (Linger::announced); null
  /// where nothing waits for announced ones.
  [[nodiscard]] std::shared_ptr<void> announce();

  // Drain, in the order the engine calls it (engine/drain.cpp).
  void close() noexcept;                      ///< refuses new requests, dispatches what waits
  std::uint64_t fail_remaining() noexcept;    ///< completes every waiter with shutting_down; how many
  void on_idle(UniqueFunction<void()> note);  ///< once: when no waiter and no batch is left
  void await_performed();                     ///< until every completion decided so far is posted
  [[nodiscard]] SchedulerStats stats() const;
  [[nodiscard]] std::uint32_t held() const;  ///< requests that have ended and wait for their turn
  [[nodiscard]] LatencyProfile latency_profile() const;
  [[nodiscard]] std::vector<BatchDecision> decisions() const;

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const ModelInfo& info() const noexcept { return runners_.begin()->second->info(); }
  [[nodiscard]] std::uint32_t total_concurrency() const { return router_.total_concurrency(); }

 private:
  /// A request on its way to the scheduler.
  struct Passage {
    Input input;             ///< until prepared
    PreparedInput prepared;  ///< from then on
    std::optional<CacheKey> key;
    RequestOptions options{};
    std::uint64_t handle = 0;
    std::uint64_t batches_done = 0;        ///< of the model, before the look-up in memory
    std::vector<PreparedInput> parts{};    ///< of an input that is larger than a batch
    std::shared_ptr<void> announcement{};  ///< set while the scheduler lingers for announced requests
  };
  /// What one event of the scheduler asks to be done outside the lock.
  struct Effects {
    EndedList ended;
    std::vector<RunBatch> batches;
    Work* retired = nullptr;  ///< linked by next_retired
  };
  /// A batch on its way to a worker; `taken` by the worker or by the one who could not
  /// hand it over. Relaxed would do: the executor orders the rest.
  struct BatchJob {
    RunBatch batch;
    std::atomic<bool> taken{false};
  };

  // stages of the flow
  [[nodiscard]] Result<Passage> admit(Request&& request, Engine::Callback&& on_done);
  [[nodiscard]] Result<std::uint64_t> carry_on(Passage passage);
  [[nodiscard]] std::optional<CacheHit> look_up(const Passage& passage);
  [[nodiscard]] bool join(const Passage& passage);
  [[nodiscard]] Result<void> prepare(Passage& passage);
  void look_up_further(Passage passage);
  void found_further(Passage passage, std::optional<CacheHit> hit) noexcept;
  [[nodiscard]] Result<void> enqueue(Passage passage);
  [[nodiscard]] bool answered_meanwhile(const Passage& passage, PendingRequest& waiter) TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] Result<void> submit(TimePoint now, Passage& passage, PendingRequest& waiter) TIDEGATE_REQUIRES(mutex_);
  void hand_over(const std::shared_ptr<Work>& work) noexcept TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] bool dispatch(RunBatch& batch) noexcept;
  /// `own`: the handle of the request whose thread this is, which is told here at once.
  void run(const RunBatch& batch, std::optional<ReplicaLease> lease, std::optional<std::uint64_t> own = {}) noexcept;
  [[nodiscard]] BatchEnd compute(const RunBatch& batch, ReplicaId replica) noexcept;
  void end_batch(TimePoint now, const RunBatch& batch, BatchEnd end) noexcept TIDEGATE_REQUIRES(mutex_);
  void deliver(std::uint64_t handle, const Error* refusal) noexcept;

  // completions in order (pipeline_order.cpp)
  [[nodiscard]] Result<void> check_order(const RequestOptions& options) const TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] Result<void> stand_in_line(PendingRequest& waiter, const RequestOptions& options)
      TIDEGATE_REQUIRES(mutex_);
  /// The fields of its end are set. Who may be told now is appended to `ended`: it, those who
  /// were held behind it, or nobody.
  void conclude(PendingRequest& waiter, EndedList& ended) noexcept TIDEGATE_REQUIRES(mutex_);
  void leave_line(PendingRequest& waiter, EndedList& ended) noexcept TIDEGATE_REQUIRES(mutex_);
  void overrule(PendingRequest& held, Outcome outcome, EndedList& ended) noexcept TIDEGATE_REQUIRES(mutex_);
  void expire_held(TimePoint now, EndedList& ended) noexcept TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] EndedList vacate(PendingRequest* first) noexcept;
  void pass_on(const EndedList& ended) noexcept;

  // what the stages stand on (pipeline_effects.cpp)
  /// Every call is followed by one of `perform`, outside the lock.
  [[nodiscard]] Effects take_effects() noexcept TIDEGATE_REQUIRES(mutex_);
  /// How many batches have ended so far.
  [[nodiscard]] std::uint64_t batches_done() const TIDEGATE_REQUIRES(mutex_);
  /// Nothing waits, runs or is about to be told.
  [[nodiscard]] bool is_idle() const TIDEGATE_REQUIRES(mutex_);
  /// False if the clock would not take the alarm; the former one stays.
  [[nodiscard]] bool arm_alarm(TimePoint now) noexcept TIDEGATE_REQUIRES(mutex_);
  /// Ends a request that the scheduler has taken but nobody can wake for.
  void give_up(PendingRequest& waiter, TimePoint now) noexcept TIDEGATE_REQUIRES(mutex_);
  void perform(Effects effects) noexcept;
  /// Posts the request's `deliver`; the Error if no executor took it.
  [[nodiscard]] std::optional<Error> post_delivery(std::uint64_t handle) noexcept;
  void tell(PendingRequest& ended) noexcept;
  [[nodiscard]] Result<Response> result_of(PendingRequest& ended) const noexcept;
  /// Ends one request that is not in the scheduler, if it has not ended already.
  void end_with(std::uint64_t handle, Result<Response> result) noexcept;
  /// Forgets a refused request and its callback and answers the error; the handle if the
  /// scheduler has it or it has ended already.
  [[nodiscard]] Result<std::uint64_t> refuse(std::uint64_t handle, Error error) noexcept;
  void alarm_rang() noexcept;
  void change_announced(void (SchedulerCore::*event)(TimePoint)) noexcept;

  const std::string name_;
  const bool lingers_for_announced_;
  const ModelOptions options_;
  const std::shared_ptr<Services> services_;
  ModelMetrics metrics_;
  Router router_;
  std::map<ReplicaId, std::unique_ptr<ModelRunner>> runners_;  ///< constant after construction
  std::map<ReplicaId, std::string> variants_;                  ///< the same
  std::shared_ptr<Executor> workers_;

  mutable Mutex mutex_;  ///< guards the scheduler, the waiters and the alarm
  SchedulerCore core_ TIDEGATE_GUARDED_BY(mutex_);
  WaiterTable waiters_ TIDEGATE_GUARDED_BY(mutex_);
  DeliveryOrder order_ TIDEGATE_GUARDED_BY(mutex_);
  bool closed_ TIDEGATE_GUARDED_BY(mutex_) = false;
  TimePoint alarm_at_ TIDEGATE_GUARDED_BY(mutex_) = kNoDeadline;  ///< kNoDeadline = none is set
  AlarmId alarm_ TIDEGATE_GUARDED_BY(mutex_) = 0;
  UniqueFunction<void()> idle_note_ TIDEGATE_GUARDED_BY(mutex_);
  /// Effects taken and not yet performed: their waiters have left the table, but their
  /// completions are not posted.
  std::uint32_t performing_ TIDEGATE_GUARDED_BY(mutex_) = 0;
  std::condition_variable performed_;  ///< performing_ has shrunk
};

}  // namespace tidegate
