// The models of an engine: added, replaced, counted.
#include <chrono>

#include "base/try.hpp"
#include "cache/snapshot_keeper.hpp"
#include "engine/engine_impl.hpp"

namespace tidegate {
namespace {

/// Of all versions of one model.
struct ModelCount {
  SchedulerStats stats{};
  std::uint64_t held = 0;
  std::uint64_t callers_waiting = 0;
  Duration expected{0};
  std::optional<SemanticCacheStats> semantic{};  ///< of the newest version that has it
};

void add_counters(SchedulerStats& sum, const SchedulerStats& one) {
  sum.joined += one.joined;
  sum.split += one.split;
  sum.batches += one.batches;
  sum.wasted_items += one.wasted_items;
  sum.refused_tenants += one.refused_tenants;
}

void add_gauges(SchedulerStats& sum, const SchedulerStats& one) {
  sum.queued_items += one.queued_items;
  sum.queued_tokens += one.queued_tokens;
  sum.queued_bytes += one.queued_bytes;
  sum.running_batches += one.running_batches;
  sum.stuck_batches += one.stuck_batches;
  sum.kept_items += one.kept_items;
  sum.parked_items += one.parked_items;
  sum.waiters += one.waiters;
}

void publish(const std::string& model, const ModelCount& count, std::vector<MetricSample>& samples) {
  const SchedulerStats& stats = count.stats;
  const MetricLabels labels{{"model", model}};
  const auto add = [&](const char* name, const char* help, MetricKind kind, double value) {
    samples.push_back({name, help, kind, labels, value});
  };
  const auto gauge = [&](const char* name, const char* help, std::uint64_t value) {
    add(name, help, MetricKind::gauge, static_cast<double>(value));
  };
  const auto counter = [&](const char* name, const char* help, std::uint64_t value) {
    add(name, help, MetricKind::counter, static_cast<double>(value));
  };
  gauge("tidegate_queue_items", "Computations waiting", stats.queued_items);
  gauge("tidegate_queue_tokens", "Tokens waiting", stats.queued_tokens);
  gauge("tidegate_queue_bytes", "Input bytes waiting", stats.queued_bytes);
  gauge("tidegate_running_batches", "Batches inside the model", stats.running_batches);
  gauge("tidegate_stuck_batches", "Batches inside the model for far too long", stats.stuck_batches);
  gauge("tidegate_kept_items", "Items between two steps of an iterative model", stats.kept_items);
  gauge("tidegate_parked_items", "Of them, those whose consumers have not taken their chunks", stats.parked_items);
  gauge("tidegate_requests_in_flight", "Requests accepted and not completed", stats.waiters);
  gauge("tidegate_held_requests", "Requests that have ended and wait for those before them", count.held);
  gauge("tidegate_callers_waiting", "Callers who wait for room in the queue", count.callers_waiting);
  add("tidegate_expected_seconds", "Foreseen until a request that comes now is answered; 0 = not known",
      MetricKind::gauge, std::chrono::duration<double>(count.expected).count());
  counter("tidegate_joined_total", "Requests that joined an equal one in flight", stats.joined);
  counter("tidegate_split_total", "Requests that were larger than a batch and ran in parts", stats.split);
  counter("tidegate_batches_total", "Batches run", stats.batches);
  counter("tidegate_wasted_items_total", "Computations nobody waited for any more", stats.wasted_items);
  counter("tidegate_refused_tenants_total", "Requests of new tenants refused as max_tenants others were remembered",
          stats.refused_tenants);
}

void publish(const std::string& model, const SemanticCacheStats& stats, std::vector<MetricSample>& samples) {
  const auto add = [&](const char* name, const char* help, MetricKind kind, double value) {
    samples.push_back({name, help, kind, {{"model", model}}, value});
  };
  const auto counter = [&](const char* name, const char* help, std::uint64_t value) {
    add(name, help, MetricKind::counter, static_cast<double>(value));
  };
  counter("tidegate_semantic_hits_total", "Requests answered with a like question's answer", stats.hits);
  counter("tidegate_semantic_misses_total", "Questions without a like one", stats.misses);
  counter("tidegate_semantic_guarded_total", "Like questions whose words differ", stats.guarded);
  counter("tidegate_semantic_tried_total", "Like questions' answers that were compared", stats.tried);
  counter("tidegate_semantic_wrong_total", "Of them, those that differed", stats.wrong);
  const auto gauge = [&](const char* name, const char* help, double value) {
    add(name, help, MetricKind::gauge, value);
  };
  gauge("tidegate_semantic_entries", "Questions kept", static_cast<double>(stats.entries));
  gauge("tidegate_semantic_bytes", "Bytes of them", static_cast<double>(stats.bytes));
  gauge("tidegate_semantic_threshold", "Least cosine of questions that share an answer", stats.threshold);
  gauge("tidegate_semantic_false_hit_bound", "Upper bound of the share of wrong answers", stats.false_hit_bound);
  gauge("tidegate_semantic_serving", "1 while like questions' answers are used",
        stats.state == SemanticCacheStats::State::serving ? 1 : 0);
}

}  // namespace

Result<ModelRoster::Model> Engine::Impl::make_model(const std::string& name, std::vector<Replica> replicas,
                                                    const ModelOptions& model_options) {
  ModelRoster::Model model;
  std::shared_ptr<SimilarStage> similar;
  if (model_options.semantic && !model_options.semantic->embedder.empty()) {
    TIDEGATE_TRY(similar, make_similar_stage(name, *model_options.semantic, replicas.front().runner->info()));
    services->namespaces->open(name)->outlast(model_options.semantic->time_to_live);
  }
  model.pipeline = std::make_shared<Pipeline>(name, std::move(replicas), model_options, services, std::move(similar));
  TIDEGATE_TRY(std::shared_ptr<TieredCache> cache, open_share(name, model_options.cache_share));
  if (cache != nullptr) model.pipeline->keep_in(std::move(cache));
  if (model_options.batching.ordering != Ordering::none && model.pipeline->info().iterative) {
    return Error(ErrorCode::invalid_argument,
                 "model '" + name + "' is iterative: its answers come in steps, and batching.ordering must be none");
  }
  if (!model_options.pool.name.empty()) {
    if (model.pipeline->info().iterative) {
      return Error(ErrorCode::invalid_argument,
                   "model '" + name + "' is iterative: it keeps its slots between steps and cannot share pool '" +
                       model_options.pool.name + "'");
    }
    TIDEGATE_TRY(std::shared_ptr<SharedPool> pool, pools.find_or_add(model_options.pool));
    model.pipeline->share_slots(std::move(pool), model_options.pool.weight);
  }
  return model;
}

/// Null where all models share the memory tier.
Result<std::shared_ptr<TieredCache>> Engine::Impl::open_share(const std::string& name, const CacheShare& limits) {
  const auto& shares = services->cache->shares();
  if (shares == nullptr) {
    const bool asks = limits.min_bytes != 0 || limits.max_bytes != 0;
    if (!asks || options.cache.memory.per_model == CachePerModel::on) return std::shared_ptr<TieredCache>();
    return Error(ErrorCode::invalid_argument, "model '" + name + "': cache.share.min_bytes is " +
                                                  std::to_string(limits.min_bytes) + " and cache.share.max_bytes " +
                                                  std::to_string(limits.max_bytes) +
                                                  "; both must be 0 unless cache.memory.per_model is on");
  }
  const bool is_new = !shares->limits_of(name);
  TIDEGATE_TRY(auto cache, services->cache->for_model(name, limits));
  if (is_new) services->snapshot->restore_into(*cache, name);
  return cache;
}

/// Runs `change`, which gives a model other limits; they are as before if it fails.
Result<void> Engine::Impl::with_limits_kept(const std::string& name, const std::function<Result<void>()>& change) {
  const auto& shares = services->cache->shares();
  const auto before = shares != nullptr ? shares->limits_of(name) : std::nullopt;
  auto done = change();
  if (!done && before) static_cast<void>(shares->set_limits(name, *before));
  return done;
}

void Engine::Impl::start(ModelRoster::Model& model) {
  std::shared_ptr<Executor> workers = options.workers;
  if (workers == nullptr) {
    workers = model.workers = std::make_shared<ThreadPool>("tidegate-run", model.pipeline->total_concurrency());
  }
  model.pipeline->start(std::move(workers));
}

Result<void> Engine::Impl::add(const std::string& name, std::vector<Replica> replicas,
                               const ModelOptions& model_options) {
  TIDEGATE_TRY(ModelRoster::Model model, make_model(name, std::move(replicas), model_options));
  model.pipeline->learn_invalidations();
  // A model that fails on its samples is served without a calibration.
  static_cast<void>(model.pipeline->learn_speed(model_options.calibration, model_options.batching));
  start(model);
  MutexLock drain_lock(drain_mutex);
  if (drained) return Error(ErrorCode::shutting_down, "the engine is draining");
  return roster->add(std::move(model));
}

Result<void> Engine::Impl::replace(const std::string& name, std::vector<Replica> replicas,
                                   const ModelOptions& model_options) {
  if (auto known = find(name); !known) return std::move(known).error();
  TIDEGATE_TRY(ModelRoster::Model model, make_model(name, std::move(replicas), model_options));
  TIDEGATE_CHECK(model.pipeline->learn_speed(model_options.calibration, model_options.batching));
  start(model);
  const std::shared_ptr<Pipeline> successor = model.pipeline;
  std::shared_ptr<Pipeline> former;
  {
    MutexLock drain_lock(drain_mutex);
    if (drained) return Error(ErrorCode::shutting_down, "the engine is draining");
    // Before anybody finds the successor: whose rates are used up is at no moment let in.
    if (const auto serving = find(name)) serving->pipeline->hand_rates_to(*successor);
    auto replaced = roster->replace(std::move(model));
    if (!replaced) return std::move(replaced).error();
    former = *std::move(replaced);
  }
  former->hand_over_to(successor);
  return {};
}

/// The versions of a model count as one.
void Engine::Impl::collect(std::vector<MetricSample>& samples) const {
  std::map<std::string, ModelCount> models;
  for (const ModelRoster::Departed& gone : roster->departed()) add_counters(models[gone.name].stats, gone.stats);
  for (std::size_t i = 0; i < roster->size(); ++i) {
    const auto one = roster->pipeline(i);
    if (one == nullptr) continue;
    ModelCount& count = models[one->name()];
    const SchedulerStats stats = one->stats();
    if (const auto semantic = one->semantic_stats()) count.semantic = semantic;
    add_counters(count.stats, stats);
    add_gauges(count.stats, stats);
    count.held += one->held();
    count.callers_waiting += one->callers_waiting();
    count.expected = std::max(count.expected, one->expected_time());
  }
  for (const auto& [name, count] : models) {
    publish(name, count, samples);
    if (count.semantic) publish(name, *count.semantic, samples);
  }
}

}  // namespace tidegate
