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
#include "cache/cache_namespace.hpp"
#include "cache/caching_benefit.hpp"
#include "cache/tiered_cache.hpp"
#include "engine/batch_job.hpp"
#include "engine/model_metrics.hpp"
#include "engine/room_line.hpp"
#include "engine/services.hpp"
#include "engine/shared_pool.hpp"
#include "engine/similar_stage.hpp"
#include "engine/split_request.hpp"
#include "engine/waiter_table.hpp"
#include "engine/work.hpp"
#include "queue/latency_model.hpp"
#include "queue/scheduler_core.hpp"
#include "router/router.hpp"

namespace tidegate {

/// Lock order: mutex_, then that of a newer version of the model, then the clock's, the router's,
/// the memory cache's or an executor's own lock. Runners, further cache tiers and callbacks are never called under
/// mutex_.
///
/// What throws (an allocation, the program's executor, clock or cache tier) is caught
/// where the request can still be refused; from its acceptance on, ending a request
/// needs no memory, and an executor that throws is gone round (post_delivery, dispatch).
///
/// Once warm, a request costs no heap: its records come from pools and go back to them.
/// What the pools and the scheduler give, and what is handed from one to the other, is touched
/// under mutex_; what may call the host's code (the end of an input, an answer or a
/// callback) is done outside.
class Pipeline final : public std::enable_shared_from_this<Pipeline>, public RoomListener {
 public:
  Pipeline(std::string name, std::vector<Replica> replicas, const ModelOptions& options,
           std::shared_ptr<Services> services, std::shared_ptr<SimilarStage> similar = {});
  ~Pipeline() override;

  /// Reads the kept profile or measures the first replica; before `start`. A model that has
  /// neither is served all the same. Error: it fails on its own samples.
  [[nodiscard]] Result<void> learn_speed(const CalibrationOptions& options, const BatchingOptions& batching);
  /// Keeps what was learned for the next start. A folder that cannot be written is no error.
  void keep_speed() noexcept;

  /// From now on every batch needs a slot of the pool's too; before `start`.
  void share_slots(std::shared_ptr<SharedPool> pool, double weight);
  /// The pool holds a slot for this model.
  void slot_offered() noexcept { alarm_rang(); }

  /// `workers` runs the batches; set once, before the first request.
  void start(std::shared_ptr<Executor> workers);

  // The flow, in order. `infer` answers the request's handle or the refusal.
  [[nodiscard]] Result<std::uint64_t> infer(Request&& request, Engine::Callback&& on_done);

  /// As `infer`, and waits for the end. A batch that holds a computation of this request's runs on
  /// this thread, unless that of a caller who has waited longer is in it too.
  [[nodiscard]] Result<Response> infer_and_wait(Request&& request);

  [[nodiscard]] Result<Stream> stream(Request&& request, const StreamOptions& options);
  /// The consumer of the stream has taken a chunk.
  void unpark(std::uint64_t handle) noexcept;
  void callback_threw() noexcept { metrics_.callback_threw(); }

  [[nodiscard]] std::optional<Response> try_cached(const Request& request);
  bool cancel(std::uint64_t handle) noexcept;

  /// While the result lives, a free slot may wait for a request (Linger::announced); null
  /// where nothing waits for announced ones.
  [[nodiscard]] std::shared_ptr<void> announce();

  // Room in the queue (pipeline_room.cpp).

  /// Somebody who is told once that there is room.
  struct ReadyNote {
    Engine::ReadyCallback on_ready;
    std::atomic<bool> told{false};
  };
  /// Errors: shutting_down.
  [[nodiscard]] Result<QueueRoom> room();
  [[nodiscard]] std::uint32_t callers_waiting() const;
  /// Errors: shutting_down; then it is not told. May throw std::bad_alloc.
  [[nodiscard]] Result<void> on_ready(std::shared_ptr<ReadyNote> note);
  void room_came() noexcept override;

  // Replacement by a newer version (pipeline_succession.cpp).

  /// What waits here and may be answered by another version waits there from now on, where
  /// that one takes prepared inputs of this one's. Every request stays known here, under its handle,
  /// until it has been answered.
  void hand_over_to(const std::shared_ptr<Pipeline>& successor) noexcept;
  /// Completions that come in order come after those of the former version, which is told when it is closed. Called
  /// before the first request. May throw std::bad_alloc.
  void follow(Pipeline& former);
  /// What tenants have used of their rates here they have used there; before `successor` has requests.
  void hand_rates_to(Pipeline& successor) const noexcept;
  /// Of handles: those of this pipeline are below. Set before the first request.
  [[nodiscard]] std::uint32_t next_generation() const noexcept;
  void number_requests_from(std::uint32_t generation) noexcept;

  // Drain, in the order the engine calls it (engine/drain.cpp).
  void close() noexcept;                      ///< refuses new requests, dispatches what waits
  std::uint64_t fail_remaining() noexcept;    ///< completes every waiter with shutting_down; how many
  void on_idle(UniqueFunction<void()> note);  ///< once: when no waiter and no batch is left
  void await_performed();                     ///< until every completion decided so far is posted
  [[nodiscard]] SchedulerStats stats() const;
  [[nodiscard]] std::uint32_t held() const;  ///< requests that have ended and wait for their turn
  [[nodiscard]] LatencyProfile latency_profile() const;
  [[nodiscard]] ScalingSnapshot scaling_snapshot() const;
  [[nodiscard]] Duration expected_time() const;  ///< of an interactive request that came now
  [[nodiscard]] std::optional<SemanticCacheStats> semantic_stats() const;
  [[nodiscard]] std::vector<BatchDecision> decisions() const;

  /// From now on no request is given an answer from before. May throw std::bad_alloc.
  void invalidate(InvalidationTable::Scope scope, Duration bound) { names_->invalidate(scope, bound); }
  /// The chain its answers are kept in, in place of the engine's. Before it is started.
  void keep_in(std::shared_ptr<TieredCache> cache) { cache_ = std::move(cache); }
  [[nodiscard]] const std::shared_ptr<TieredCache>& cache() const noexcept { return cache_; }
  /// Reads what other processes and former runs have invalidated; waits 250 ms at most.
  void learn_invalidations() noexcept;
  [[nodiscard]] const std::shared_ptr<CacheNamespace>& names() const noexcept { return names_; }

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const ModelInfo& info() const noexcept { return runners_.begin()->second->info(); }
  [[nodiscard]] std::uint32_t total_concurrency() const { return router_.total_concurrency(); }

 private:
  /// A request on its way to the scheduler.
  struct Passage {
    Input input;  ///< until prepared
    std::optional<CacheKey> key;
    CacheStamps stamps{};  ///< that the key was made with
    RequestOptions options{};
    TimePoint accepted{};
    std::uint64_t batches_ended = 0;  ///< of the model, before the look-up in memory
    std::shared_ptr<Stream::Buffer> stream{};
    std::shared_ptr<SimilarQuestion> similar{};  ///< to be answered, or computed, by the semantic tier
    std::shared_ptr<void> announcement{};        ///< set while the scheduler lingers for announced requests
    std::vector<PreparedInput> parts{};          ///< of an input that is larger than a batch
    bool renews = false;                         ///< for nobody, and so in no line
    bool awaited = false;                        ///< the caller waits for the end
    Submission::Patience patience = Submission::Patience::none;
    Submission::Standing standing = Submission::Standing::first;
    RoomPlace* place = nullptr;        ///< of a caller who waits for room
    std::uint64_t handle = 0;          ///< 0 = not admitted yet
    PendingRequest* waiter = nullptr;  ///< of an admitted one; an awaited one's stays until its caller vacates it
  };
  /// What one event of the scheduler asks to be done outside the lock.
  struct Effects {
    EndedList ended;              ///< to be told by an executor
    EndedList awaited;            ///< whose callers wait
    BatchJob* batches = nullptr;  ///< linked by `next`, as `last` is
    BatchJob* last_batch = nullptr;
    Work* spent = nullptr;  ///< nobody holds them; linked by `next`
    [[nodiscard]] bool empty() const noexcept {
      return ended.size() + awaited.size() == 0 && batches == nullptr && spent == nullptr;
    }
    void add(PendingRequest& waiter) noexcept { (waiter.awaited ? awaited : ended).push_back(waiter); }
  };
  /// What others have asked to be told of, to be called outside the lock.
  struct Notes {
    std::vector<UniqueFunction<void()>> of_idle, of_lines;
    std::vector<std::shared_ptr<ReadyNote>> of_ready;
  };
  /// The request whose `infer` a thread is in (pipeline.cpp).
  class Asking;

  // stages of the flow
  [[nodiscard]] Passage passage_of(Request&& request);
  [[nodiscard]] Result<std::uint64_t> carry_through(Passage& passage, Engine::Callback& on_done);
  [[nodiscard]] Result<std::uint64_t> carry_on(Passage& passage, Engine::Callback& on_done, Asking& asking);
  [[nodiscard]] Result<void> answer(Passage& passage, Engine::Callback& on_done, CacheHit&& hit, Asking& asking);
  [[nodiscard]] Result<void> join(Passage& passage, Engine::Callback& on_done, Asking& asking);
  [[nodiscard]] Result<void> look_up_further(Passage& passage, PreparedInput& prepared, Engine::Callback& on_done,
                                             Asking& asking);
  [[nodiscard]] Result<void> look_for_similar(Passage& passage, PreparedInput& prepared, Engine::Callback& on_done,
                                              Asking& asking);
  [[nodiscard]] Result<void> enqueue(Passage& passage, PreparedInput& prepared, Engine::Callback& on_done,
                                     Asking* asking);
  [[nodiscard]] Result<void> try_enqueue(Passage& passage, PreparedInput& prepared, Engine::Callback& on_done,
                                         Asking* asking);
  [[nodiscard]] Result<void> admit(Passage& passage) TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] Result<void> submit(TimePoint now, Passage& passage, PreparedInput& prepared) noexcept
      TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] bool dispatch(BatchJob& job) noexcept;
  void run(BatchJob& job) noexcept;
  [[nodiscard]] BatchEnd compute(BatchJob& job) noexcept;
  [[nodiscard]] bool take_step(Work& work, BatchItem& item) noexcept;
  void hand_out(Work& work, BatchItem& item) noexcept;
  static void report_steps(BatchJob& job) noexcept;
  [[nodiscard]] std::optional<ReplicaLease> lease_for(const BatchJob& job);
  void deliver(std::uint64_t handle, const Error* refusal) noexcept;
  [[nodiscard]] Result<Response> await(PendingRequest& own) noexcept;
  [[nodiscard]] Effects vacate(PendingRequest* first) noexcept;

  // requests in parts (pipeline_parts.cpp)
  void acquire_parts(Work& whole, std::size_t count) TIDEGATE_REQUIRES(mutex_);
  void take_back(Work& work) noexcept TIDEGATE_REQUIRES(mutex_);
  void fill_parts(Work& whole, std::vector<PreparedInput>& inputs) noexcept TIDEGATE_REQUIRES(mutex_);
  void end_batch(TimePoint now, BatchJob& job, BatchEnd end) noexcept TIDEGATE_REQUIRES(mutex_);

  // room in the queue (pipeline_room.cpp)
  class RoomWait;
  [[nodiscard]] bool may_wait(const Passage& passage) const noexcept;
  /// Tries again and again, whenever there may be room and it is the caller's turn.
  [[nodiscard]] Result<void> wait_for_room(Passage& passage, PreparedInput& prepared, Engine::Callback& on_done,
                                           Asking* asking);
  void claim_room(Passage& passage) noexcept TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] QueueRoom room_now() noexcept TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] bool is_ready_due() noexcept TIDEGATE_REQUIRES(mutex_);
  void tell(Notes& notes) noexcept;
  void tell_ready(const std::shared_ptr<ReadyNote>& note) noexcept;
  void call(ReadyNote& note) noexcept;
  void hand_notes_to(const std::shared_ptr<Pipeline>& successor) noexcept;
  [[nodiscard]] std::shared_ptr<Pipeline> notes_successor() const;
  void tell_room() noexcept;

  // completions in order (pipeline_order.cpp)
  [[nodiscard]] Result<void> check_order(const RequestOptions& options) const TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] Result<void> stand_in_line(PendingRequest& waiter, const RequestOptions& options)
      TIDEGATE_REQUIRES(mutex_);
  /// The fields of its end are set. Who may be told now is added to `effects`: it, those who
  /// were held behind it, or nobody.
  void conclude(PendingRequest& waiter, TimePoint now, Effects& effects) noexcept TIDEGATE_REQUIRES(mutex_);
  void leave_line(PendingRequest& waiter, TimePoint now, Effects& effects) noexcept TIDEGATE_REQUIRES(mutex_);
  void call(PendingRequest& held, TimePoint now, Effects& effects) noexcept TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] bool lines_are_done() const TIDEGATE_REQUIRES(mutex_);
  void begin_lines() noexcept;
  void overrule(PendingRequest& held, Outcome outcome, TimePoint now, Effects& effects) noexcept
      TIDEGATE_REQUIRES(mutex_);
  void expire_held(TimePoint now, Effects& effects) noexcept TIDEGATE_REQUIRES(mutex_);
  void withdraw(PendingRequest& waiter) noexcept TIDEGATE_REQUIRES(mutex_);
  void pass_on(Effects next) noexcept;

  // replacement (pipeline_succession.cpp)
  void hand_over(std::uint64_t handle, Pipeline& successor);
  [[nodiscard]] bool take_over(PendingRequest& from, const SchedulerCore::Waiting& waiting,
                               Engine::Callback& forward) noexcept TIDEGATE_REQUIRES(mutex_);
  void answered_elsewhere(std::uint64_t handle, Result<Response> result) noexcept;

  // what the caches know and are told (pipeline_cache.cpp)
  [[nodiscard]] std::optional<CacheHit> look_up(Passage& passage);
  /// The error that the model gave an equal request a short while ago.
  [[nodiscard]] std::optional<Error> find_error(const Passage& passage);
  /// The error, remembered if it is the request's own.
  [[nodiscard]] Error remember(const Passage& passage, Error error) noexcept;
  void found_further(Passage passage, PreparedInput prepared, std::optional<CacheHit> hit) noexcept;
  /// Asks the semantic tier; the request, admitted, goes on from there.
  void ask_similar(Passage passage, PreparedInput prepared);
  void found_similar(Passage passage, PreparedInput prepared, SimilarStage::Told told) noexcept;
  /// Set where the request and the model take like questions' answers.
  [[nodiscard]] std::shared_ptr<SimilarQuestion> similar_question(const Passage& passage, const Input& input) const;
  [[nodiscard]] bool answered_meanwhile(Passage& passage, PendingRequest& waiter) noexcept TIDEGATE_REQUIRES(mutex_);
  /// Has a stale answer computed anew, for nobody.
  void renew(Input&& input, const std::string& tenant, const std::string& tag) noexcept;
  /// True if the answer was offered to the caches.
  [[nodiscard]] bool keep(const Work& work) noexcept;
  void enqueue_admitted(Passage& passage, PreparedInput& prepared) noexcept;
  [[nodiscard]] static bool reads_caches(const Passage& passage) noexcept;
  [[nodiscard]] bool uses_cache(const CacheKey& key) const noexcept;
  [[nodiscard]] static Response response_of(CacheHit&& hit);

  // what the stages stand on (pipeline_effects.cpp)
  /// Every call is followed by one of `perform`, outside the lock, unless there is nothing
  /// to perform and no request was taken back. `own` is of this thread's caller.
  [[nodiscard]] Effects take_effects(TimePoint now, PendingRequest* own = nullptr) noexcept TIDEGATE_REQUIRES(mutex_);
  void take_batches(Effects& effects, std::vector<RunBatch>& batches, PendingRequest* own) noexcept
      TIDEGATE_REQUIRES(mutex_);
  /// Whether the effects, just taken, need no `perform`; then it must not be called.
  [[nodiscard]] bool need_nothing(const Effects& effects) noexcept TIDEGATE_REQUIRES(mutex_);
  /// Nothing waits, runs or is about to be told.
  [[nodiscard]] bool is_idle() const TIDEGATE_REQUIRES(mutex_);
  /// False if the clock would not take the alarm; the former one stays.
  [[nodiscard]] bool arm_alarm(TimePoint now) noexcept TIDEGATE_REQUIRES(mutex_);
  /// Ends a request that the scheduler has taken but nobody can wake for.
  void give_up(PendingRequest& waiter, TimePoint now) noexcept TIDEGATE_REQUIRES(mutex_);
  void perform(Effects effects) noexcept;
  [[nodiscard]] Effects begin_drain() noexcept TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] Notes take_notes() noexcept TIDEGATE_REQUIRES(mutex_);
  /// Ends batches that no executor would take; their slots take the next ones.
  [[nodiscard]] Effects end_refused(BatchJob* refused) noexcept TIDEGATE_REQUIRES(mutex_);
  static void wake(const EndedList& awaited) noexcept;
  void release(Work* spent) noexcept TIDEGATE_REQUIRES(mutex_);
  /// Posts the request's `deliver`; the Error if no executor took it.
  [[nodiscard]] std::optional<Error> post_delivery(std::uint64_t handle) noexcept;
  void tell(PendingRequest& ended) noexcept;
  /// The end, counted; once.
  [[nodiscard]] Result<Response> end_of(PendingRequest& ended) noexcept;
  [[nodiscard]] Result<Response> result_of(PendingRequest& ended) const noexcept;
  /// Ends one request that is not in the scheduler, if it has not ended already.
  void end_with(std::uint64_t handle, Result<Response> result) noexcept;
  /// Forgets a refused request and its callback; false if the scheduler has it or it has
  /// ended already.
  [[nodiscard]] bool refuse(std::uint64_t handle) noexcept;
  void alarm_rang() noexcept;
  void change_announced(void (SchedulerCore::*event)(TimePoint)) noexcept;

  const std::string name_;
  const bool lingers_for_announced_;
  const ModelOptions options_;
  const std::shared_ptr<Services> services_;
  std::shared_ptr<TieredCache> cache_;           ///< constant once started
  const std::shared_ptr<CacheNamespace> names_;  ///< what has been invalidated
  InvalidationTable::Scope version_scope_ = 0;   ///< this version's in it; constant after construction
  std::unique_ptr<PoolLane> lane_;               ///< null where the slots are the model's own; outlives core_
  const std::shared_ptr<SimilarStage> similar_;  ///< null where only equal requests share answers
  std::optional<CachingBenefit> benefit_;        ///< empty where the caches are never bypassed
  ModelMetrics metrics_;
  Router router_;
  std::map<ReplicaId, std::unique_ptr<ModelRunner>> runners_;  ///< constant after construction
  const bool iterative_;
  std::vector<ReplicaId> slot_replicas_;       ///< of each slot, if iterative; constant after construction
  std::map<ReplicaId, std::string> variants_;  ///< the same
  std::shared_ptr<Executor> workers_;

  mutable Mutex mutex_;  ///< guards the scheduler, the waiters and the alarm
  SchedulerCore core_ TIDEGATE_GUARDED_BY(mutex_);
  WaiterTable waiters_ TIDEGATE_GUARDED_BY(mutex_);
  WorkPool works_ TIDEGATE_GUARDED_BY(mutex_);
  BatchJobPool jobs_ TIDEGATE_GUARDED_BY(mutex_);
  std::shared_ptr<Pipeline> successor_ TIDEGATE_GUARDED_BY(mutex_);  ///< has taken requests of this one
  DeliveryOrder order_ TIDEGATE_GUARDED_BY(mutex_);
  RoomLine line_ TIDEGATE_GUARDED_BY(mutex_);  ///< callers who wait for room
  std::vector<std::shared_ptr<ReadyNote>> ready_notes_ TIDEGATE_GUARDED_BY(mutex_);
  std::weak_ptr<Pipeline> notes_successor_ TIDEGATE_GUARDED_BY(mutex_);  ///< the newer version, which tells them
  std::uint64_t departures_seen_ TIDEGATE_GUARDED_BY(mutex_) = 0;        ///< by the first of the line
  SharedRoom::Place listening_;                                          ///< for them, to the room of all models
  bool closed_ TIDEGATE_GUARDED_BY(mutex_) = false;
  bool drains_later_ TIDEGATE_GUARDED_BY(mutex_) = false;         ///< once nobody is in a look-up
  std::string profile_path_ TIDEGATE_GUARDED_BY(mutex_);          ///< empty = the profile is not kept, or not any more
  TimePoint alarm_at_ TIDEGATE_GUARDED_BY(mutex_) = kNoDeadline;  ///< kNoDeadline = none is set
  AlarmId alarm_ TIDEGATE_GUARDED_BY(mutex_) = 0;
  std::vector<UniqueFunction<void()>> idle_notes_ TIDEGATE_GUARDED_BY(mutex_);
  std::vector<UniqueFunction<void()>> line_notes_ TIDEGATE_GUARDED_BY(mutex_);  ///< told once lines_are_done
  /// Effects taken and not yet performed: their waiters have left the table, but their
  /// completions are not posted.
  std::uint32_t performing_ TIDEGATE_GUARDED_BY(mutex_) = 0;
  std::condition_variable performed_;  ///< performing_ has shrunk
  /// Counted under mutex_ when the answers of a batch are in memory; read before a look-up,
  /// which then sees them (acquire), or sees the count change.
  std::atomic<std::uint64_t> batches_ended_{0};
};

}  // namespace tidegate
