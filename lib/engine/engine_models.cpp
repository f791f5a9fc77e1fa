// The models of an engine: added, replaced, counted.
#include <chrono>

#include "base/try.hpp"
#include "engine/engine_impl.hpp"

namespace tidegate {
namespace {

/// Of all versions of one model.
struct ModelCount {
  SchedulerStats stats{};
  std::uint64_t held = 0;
  Duration expected{0};
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
  add("tidegate_expected_seconds", "Foreseen until a request that comes now is answered; 0 = not known",
      MetricKind::gauge, std::chrono::duration<double>(count.expected).count());
  counter("tidegate_joined_total", "Requests that joined an equal one in flight", stats.joined);
  counter("tidegate_split_total", "Requests that were larger than a batch and ran in parts", stats.split);
  counter("tidegate_batches_total", "Batches run", stats.batches);
  counter("tidegate_wasted_items_total", "Computations nobody waited for any more", stats.wasted_items);
  counter("tidegate_refused_tenants_total", "Requests of new tenants refused as max_tenants others were remembered",
          stats.refused_tenants);
}

}  // namespace

Result<ModelRoster::Model> Engine::Impl::make_model(const std::string& name, std::vector<Replica> replicas,
                                                    const ModelOptions& model_options) {
  ModelRoster::Model model;
  std::shared_ptr<SimilarStage> similar;
  if (model_options.semantic) {
    TIDEGATE_TRY(similar, make_similar_stage(name, *model_options.semantic, replicas.front().runner->info()));
  }
  model.pipeline = std::make_shared<Pipeline>(name, std::move(replicas), model_options, services, std::move(similar));
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
    add_counters(count.stats, stats);
    add_gauges(count.stats, stats);
    count.held += one->held();
    count.expected = std::max(count.expected, one->expected_time());
  }
  for (const auto& [name, count] : models) publish(name, count, samples);
}

}  // namespace tidegate
