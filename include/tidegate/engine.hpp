// Engine: the one object a server holds. Requests in, answers out, exactly once each.
#pragma once

#include <future>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tidegate/cache.hpp"
#include "tidegate/calibration.hpp"
#include "tidegate/intake.hpp"
#include "tidegate/metrics.hpp"
#include "tidegate/queue.hpp"
#include "tidegate/scaling.hpp"
#include "tidegate/semantic.hpp"
#include "tidegate/stream.hpp"

namespace tidegate {

struct EngineOptions {
  CacheOptions cache{};
  EngineQueueOptions queue{};  ///< caps of all models together
  /// Where completions run; empty = one thread of the engine's own.
  std::shared_ptr<Executor> completions{};
  /// Where batches run; empty = one thread per replica and unit of concurrency,
  /// parked while idle.
  std::shared_ptr<Executor> workers{};
  /// Time and alarms; empty = make_steady_clock().
  std::shared_ptr<Clock> clock{};
  /// How long the destructor lets accepted requests finish before it fails them; a
  /// day at most.
  Duration drain_timeout = std::chrono::seconds(5);
};

struct ModelOptions {
  BatchingOptions batching{};
  AdmissionOptions admission{};
  CalibrationOptions calibration{};
  PoolOptions pool{};                              ///< needs max_queue_delay 0
  Duration slo{0};                                 ///< arrival to answer, wished for: LaneLoad::slo; 0 = none
  std::optional<SemanticCacheOptions> semantic{};  ///< none, or no embedder = only equal requests share answers
  CacheShare cache_share{};                        ///< needs CachePerModel::on
};

/// How one drain ended.
struct DrainReport {
  std::uint64_t finished = 0;       ///< completed with their answer during this drain
  std::uint64_t failed = 0;         ///< completed with shutting_down at its bound
  std::uint32_t stuck_batches = 0;  ///< still inside a runner when it ended
};

/// Thread-safe. Every accepted request completes exactly once: with its answer,
/// or with deadline_exceeded, cancelled, backend_failed, shutting_down, ... A
/// refused one changes nothing. Destruction drains with `drain_timeout` and is
/// bounded even if a runner hangs: such a runner keeps its thread and itself
/// alive until it returns. Completions get `drain_timeout` too, a second at least, to
/// run on the engine's own thread before the destructor returns.
class Engine {
 public:
  using Callback = UniqueFunction<void(Result<Response>)>;
  using ReadyCallback = UniqueFunction<void(Result<QueueRoom>)>;

  /// Errors: invalid_argument (names the option and its allowed range),
  /// out_of_memory, unavailable (the system has no thread to give).
  [[nodiscard]] static Result<Engine> create(EngineOptions options = {});

  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;
  ~Engine();

  /// Serves `name` from these replicas, which must have equal fingerprints.
  /// Errors: invalid_argument, already_exists, shutting_down, queue_full (1024
  /// models), out_of_memory, unavailable (no thread; no memory for a share of the cache while its answers
  /// are used), not_found (the embedder of a semantic tier, which must be added first).
  [[nodiscard]] Result<void> add_model(std::string name, std::vector<Replica> replicas, ModelOptions options = {});

  /// As add_model, in the shape that serves the most within ModelOptions::slo: each is loaded and measured for
  /// 300 ms at most, or what an earlier run has kept of them is read. Without samples, or without
  /// calibration, one replica has all cores. Errors: as add_model, and those of the loader.
  [[nodiscard]] Result<void> add_model(std::string name, ShapedModel model, ModelOptions options = {});

  /// Of a model with shapes, to be called every ten seconds or so: while its load is 0.7 or more, tries now and then
  /// a neighbouring shape and keeps it where it serves at least 3 % more. Blocks while a shape is loaded; no
  /// request is lost (replace_model). Errors: not_found, unsupported (its shape is fixed), those of the loader.
  [[nodiscard]] Result<ShapeReview> review_shape(std::string_view name = {});
  /// Of such a model: the shape that serves, and why: the choice, or the last change since. Waits for a
  /// review that is under way. Errors: not_found, unsupported.
  [[nodiscard]] Result<ShapeReview> shape(std::string_view name = {}) const;

  /// Serves `name` from other replicas from now on, without losing a request: new ones go to
  /// the new version at once. What waits for the former goes there too, where the new one takes
  /// its prepared inputs (equal ModelInfo::preparation; where neither has one, equal fingerprints)
  /// and the request is not pinned (RequestOptions::version); the rest is answered by the former,
  /// which is destroyed on the completion executor when it has nothing left to do. An answer is cached under the
  /// version that computed it. Blocks while the new version is calibrated. Errors: as add_model; not_found (no such
  /// model), and what the new version answers if it fails on its samples: then nothing has changed.
  [[nodiscard]] Result<void> replace_model(std::string name, std::vector<Replica> replicas, ModelOptions options = {});

  /// Starts one request. Never blocks on the model; costs the caller the look-up in
  /// memory and, on a miss, the preparation of the input (tokenizing). With RequestOptions::admit_until it may block
  /// while the queue is full, but never in a completion callback or a model.
  /// On success `on_done` runs exactly once, later, on the completion executor and
  /// never inside this call. On an error nothing was accepted and `on_done` is
  /// destroyed uncalled: the error is the answer. Errors: not_found (model),
  /// invalid_argument, too_large, queue_full, quota_exceeded, overloaded (these with retry_after), backend_failed (an
  /// equal one has just failed by itself), shutting_down, out_of_memory, host_failed (executor, clock or tier threw).
  [[nodiscard]] Result<RequestId> infer(Request request, Callback on_done);

  /// As `infer`; a refusal is a ready future.
  [[nodiscard]] std::future<Result<Response>> infer_future(Request request);

  /// As `infer`, and blocks until the end of the request, which it answers. Where a replica
  /// is free, the batch that the request starts runs on the caller's thread and no other thread
  /// is woken. Where none is free the caller sleeps; the batch that takes its request up runs on the
  /// thread of the caller in it who has waited longest. Whoever runs one is in the call for as long as
  /// the model takes, also beyond the deadline and if it hangs. Not to be called by a
  /// completion callback or a runner. Errors: as `infer`, and every way a request can end.
  [[nodiscard]] Result<Response> infer_and_wait(Request request);

  /// Starts one request to an iterative model whose chunks are taken as they come. Like
  /// `infer` it never blocks on the model. Neither looked up, joined nor stored, whatever
  /// RequestOptions::cache says; `infer` of the same model answers all chunks at once, and is.
  /// Errors: as `infer`; unsupported (the model is not iterative), invalid_argument (options).
  [[nodiscard]] Result<Stream> stream(Request request, StreamOptions options = {});

  /// The answer if the memory tier holds it now. Runs on the caller's thread,
  /// never blocks, counts as a look-up. A stale one is also sent off to be computed anew, which costs this
  /// thread the preparation of the input.
  [[nodiscard]] std::optional<Response> try_cached(const Request& request);

  /// To be called when a request for `model` begins to arrive, and held until `infer` has
  /// returned: where the model's batching lingers for announced requests
  /// (Linger::announced), a free replica waits for it. Null where it does not. `infer`
  /// announces itself while it looks up and prepares. Errors: not_found, out_of_memory.
  [[nodiscard]] Result<Announcement> announce(std::string_view model = {});

  /// The room left in a model's queue: items, tokens, bytes. Never blocks. Errors: not_found, shutting_down.
  [[nodiscard]] Result<QueueRoom> capacity(std::string_view model = {}) const;
  /// Calls back once, on the completion executor, when QueueRoom::any(): with the room there is then (others
  /// may have been faster), or shutting_down. Errors: not_found, shutting_down, out_of_memory; then it is not called.
  [[nodiscard]] Result<void> on_ready(ReadyCallback callback, std::string_view model = {});

  /// The request completes with `cancelled` unless it has completed already
  /// (false). Other requests joined to the same computation are not disturbed.
  bool cancel(RequestId id);

  /// Refuses new requests, lets accepted ones finish until `bound`, then fails the
  /// rest with shutting_down. Blocks until then; the last completions may still run. A later call waits once more for
  /// the batches that are still inside a runner and reports how things stand then; drains of several threads run one
  /// after the other. The first one then writes CacheOptions::snapshot, which takes what the disk takes, beyond
  /// `bound`.
  DrainReport drain(Duration bound);

  [[nodiscard]] MetricsSnapshot metrics() const;
  /// Counters of each cache tier, memory first.
  [[nodiscard]] std::vector<CacheTierStats> cache_stats() const;
  /// From the return on no request is given an answer of the scope that was computed, or began to be,
  /// before: not by this engine, whoever stores it and however late. Other processes that share a further
  /// tier follow within 5 s while they have requests and it answers. With a `bound`, waits so long for the tiers to
  /// have taken it. Errors: not_found (model), invalid_argument (tag and version), out_of_memory,
  /// unavailable (a tier did not take it within the bound; it is offered again while there are requests),
  /// io_error (a snapshot of before cannot be removed, which takes what the disk takes), shutting_down (a drain
  /// ended before a tier had it).
  [[nodiscard]] Result<void> invalidate_cache(const CacheScope& scope, Duration bound = Duration::zero());
  /// Writes CacheOptions::snapshot now, as a drain does when it has ended. Answers the number of answers in it.
  /// Blocks until the file is on the disk. Errors: invalid_argument (no file), io_error, busy, out_of_memory.
  Result<std::uint64_t> save_cache();
  [[nodiscard]] CacheSnapshotStats snapshot_stats() const;
  /// Gives the memory tier another budget, in bytes, at most the one it began with: smaller under memory pressure, the
  /// old one when that is over. Blocks while entries move, milliseconds for each 64 MiB; then what no longer fits
  /// is gone, but for answers in use, which count. Errors: invalid_argument (more than that), out_of_memory.
  Result<void> resize_cache(std::uint64_t capacity_bytes);
  /// What other sizes and policies of the memory tier would have hit of late, by policy, then
  /// capacity; empty without MemoryCacheOptions::curve. Errors: out_of_memory.
  [[nodiscard]] Result<std::vector<CacheCurvePoint>> cache_curve() const;
  /// Each model's share of the memory tier; empty without CachePerModel::on. Errors: out_of_memory.
  [[nodiscard]] Result<std::vector<CacheShareStats>> cache_shares() const;
  /// Facts of a model; empty name = the only one. Errors: not_found.
  [[nodiscard]] Result<ModelInfo> model_info(std::string_view name = {}) const;
  /// The last 256 batches of a model and why each is as it is, oldest first (to_text
  /// prints one); empty name = the only model. Errors: not_found, out_of_memory.
  [[nodiscard]] Result<std::vector<BatchDecision>> explain(std::string_view name = {}) const;
  /// The semantic tier of a model; empty where it has none. Errors: not_found.
  [[nodiscard]] Result<std::optional<SemanticCacheStats>> semantic_stats(std::string_view name = {}) const;
  /// What the queue knows about a model's speed, and from where; empty name = the only one.
  /// Errors: not_found.
  [[nodiscard]] Result<LatencyProfile> latency_profile(std::string_view name = {}) const;
  /// A model's replicas, and its lane with service times, arrivals and what waits, for a policy
  /// (make_service_time_policy); empty name = the only model. Errors: not_found, out_of_memory.
  [[nodiscard]] Result<ScalingSnapshot> scaling_snapshot(std::string_view name = {}) const;

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tidegate
