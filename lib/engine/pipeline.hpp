// Pipeline: the way of a request through the stages, for one model.
#pragma once

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
  Duration run{0};
  std::uint32_t batch_size = 0;
  std::int32_t replica = -1;
  std::shared_ptr<Work> held_by_scheduler;  ///< itself, until retired
};

/// Lock order: mutex_, then the clock's, the router's or an executor's own lock.
/// Runners, caches and callbacks are never called under mutex_.
class Pipeline : public std::enable_shared_from_this<Pipeline> {
 public:
  Pipeline(std::string name, std::vector<Replica> replicas, const ModelOptions& options,
           std::shared_ptr<Services> services);

  /// `workers` runs the batches; set once, before the first request.
  void start(std::shared_ptr<Executor> workers);

  // The flow, in order. `infer` answers the request's handle or the refusal.
  [[nodiscard]] Result<std::uint64_t> infer(Request request, Engine::Callback on_done);

  [[nodiscard]] std::optional<Response> try_cached(const Input& input);
  bool cancel(std::uint64_t handle);

  // Drain, in the order the engine calls it (engine/drain.cpp).
  void close();                               ///< refuses new requests, dispatches what waits
  std::uint64_t fail_remaining();             ///< completes every waiter with shutting_down; how many
  void on_idle(UniqueFunction<void()> note);  ///< once: when no waiter and no batch is left
  void await_performed();                     ///< until every completion decided so far is posted
  [[nodiscard]] SchedulerStats stats() const;

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const ModelInfo& info() const noexcept { return runners_.begin()->second->info(); }
  [[nodiscard]] std::uint32_t total_concurrency() const { return router_.total_concurrency(); }

 private:
  /// A request on its way to the scheduler.
  struct Passage {
    Input input;             ///< until prepared
    PreparedInput prepared;  ///< from then on
    std::optional<CacheKey> key;
    CacheMode mode = CacheMode::use;
    std::uint64_t handle = 0;
  };
  /// One waiter's end, ready to be turned into a callback outside the lock.
  struct Ending {
    Engine::Callback on_done;
    TimePoint accepted{};
    Outcome outcome = Outcome::answered;
    bool joined = false;
    std::shared_ptr<const Work> work;
  };
  /// What one event of the scheduler asks to be done outside the lock.
  struct Effects {
    std::vector<Ending> endings;
    std::vector<std::pair<RunBatch, std::vector<std::shared_ptr<Work>>>> batches;
    std::vector<std::shared_ptr<Work>> retired;
  };
  struct Delivery {
    Engine::Callback on_done;
    Result<Response> result;
    Duration total{0};
  };

  // stages of the flow
  [[nodiscard]] Result<Passage> admit(Request&& request, Engine::Callback&& on_done);
  [[nodiscard]] std::optional<CacheHit> look_up(const Passage& passage, CacheMode mode);
  [[nodiscard]] bool join(const Passage& passage, CacheMode mode);
  [[nodiscard]] Result<void> prepare(Passage& passage);
  void look_up_further(Passage passage);
  [[nodiscard]] Result<void> enqueue(Passage passage);
  void dispatch(RunBatch batch, std::vector<std::shared_ptr<Work>> works);
  void run(BatchId batch, std::vector<std::shared_ptr<Work>>& works, std::optional<ReplicaLease> lease);
  void fill(const Work& work);
  void complete(std::vector<Ending> endings);

  // what the stages stand on (pipeline_effects.cpp)
  /// Every call is followed by one of `perform`, outside the lock.
  [[nodiscard]] Effects take_effects() TIDEGATE_REQUIRES(mutex_);
  /// Nothing waits, runs or is about to be told.
  [[nodiscard]] bool is_idle() const TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] Ending take_out(PendingRequest& waiter, Outcome outcome) TIDEGATE_REQUIRES(mutex_);
  void arm_alarm(TimePoint now) TIDEGATE_REQUIRES(mutex_);
  void perform(Effects effects);
  void deliver(std::vector<Delivery> deliveries);
  /// Ends one request that is not in the scheduler, if it has not ended already.
  void end_with(std::uint64_t handle, Result<Response> result);
  /// Forgets a refused request and its callback; false if it has ended already.
  [[nodiscard]] bool withdraw(std::uint64_t handle);
  /// Withdraws and answers the error, or the handle if the request has ended already.
  [[nodiscard]] Result<std::uint64_t> refuse(std::uint64_t handle, Error error);
  [[nodiscard]] Response respond(const Ending& ending, TimePoint now) const;
  void alarm_rang();

  const std::string name_;
  const std::shared_ptr<Services> services_;
  ModelMetrics metrics_;
  Router router_;
  std::map<ReplicaId, std::unique_ptr<ModelRunner>> runners_;  ///< constant after construction
  std::shared_ptr<Executor> workers_;

  mutable Mutex mutex_;  ///< guards the scheduler, the waiters and the alarm
  SchedulerCore core_ TIDEGATE_GUARDED_BY(mutex_);
  WaiterTable waiters_ TIDEGATE_GUARDED_BY(mutex_);
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
