#include "tidegate/engine.hpp"

#include <fmt/format.h>

#include <new>
#include <system_error>

#include "base/try.hpp"
#include "engine/engine_impl.hpp"
#include "engine/guarded_call.hpp"
#include "engine/options_check.hpp"

namespace tidegate {
namespace {

constexpr std::size_t kMostModels = 1ULL << (64 - WaiterTable::kHandleBits);

std::shared_ptr<Services> make_services(const EngineOptions& options, std::shared_ptr<Executor> completions) {
  auto services = std::make_shared<Services>();
  services->clock = options.clock ? options.clock : make_steady_clock();
  services->completions = std::move(completions);
  services->cache = std::make_shared<TieredCache>(options.cache, services->clock);
  return services;
}

Result<void> check_replicas(const std::string& name, const std::vector<Replica>& replicas) {
  const auto refuse = [&](const char* why) {
    return Error(ErrorCode::invalid_argument, fmt::format("model '{}': {}", name, why));
  };
  if (name.empty()) return Error(ErrorCode::invalid_argument, "a model needs a name");
  if (replicas.empty()) return refuse("needs at least one replica");
  for (const Replica& replica : replicas) {
    if (replica.runner == nullptr) return refuse("a replica has no runner");
    TIDEGATE_CHECK(check_options(replica.options));
    if (replica.runner->info().fingerprint != replicas.front().runner->info().fingerprint) {
      return refuse("replicas differ in fingerprint; equal answers need equal models");
    }
  }
  return {};
}

/// Texts are cut to max_tokens: the longest must find room in a batch and in the queue.
Result<void> check_longest_item(const std::string& name, const ModelInfo& info, const ModelOptions& options) {
  const auto check = [&](const char* option, std::uint64_t value) -> Result<void> {
    if (info.max_tokens <= value) return {};
    return Error(ErrorCode::invalid_argument,
                 fmt::format("model '{}': {} is {}, but one item of the model may have {} tokens and could then never "
                             "run; raise it to that at least",
                             name, option, value, info.max_tokens));
  };
  TIDEGATE_CHECK(check("batching.max_batch_tokens", options.batching.max_batch_tokens));
  return check("admission.max_queued_tokens", options.admission.max_queued_tokens);
}

/// Setting up starts threads and reserves memory; what the system refuses is an Error.
template <class Setup>
auto contained(Setup&& setup) -> decltype(setup()) {
  try {
    return setup();
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory, "there is not enough memory to set up the engine");
  } catch (const std::system_error& error) {
    return Error(ErrorCode::unavailable, fmt::format("the system refused a thread: {}", error.what()));
  }
}

}  // namespace

Engine::Impl::Impl(EngineOptions engine_options)
    : options(std::move(engine_options)),
      completion_threads(options.completions ? nullptr : std::make_shared<ThreadPool>("tidegate-done", 1)),
      services(make_services(options, completion_threads ? completion_threads : options.completions)) {
  // The clock starts its thread with its first alarm: better now, where a refusal is an error.
  services->clock->cancel(services->clock->call_at(services->clock->now() + std::chrono::hours(1), [] {}));
  services->metrics.add_collector([cache = std::weak_ptr(services->cache)](std::vector<MetricSample>& samples) {
    const auto tiers = cache.lock();
    if (tiers == nullptr) return;
    const auto names = tiers->tier_names();
    const auto stats = tiers->stats();
    for (std::size_t i = 0; i < stats.size(); ++i) {
      const MetricLabels labels{{"tier", std::string(names[i])}};
      const auto add = [&](const char* name, const char* help, MetricKind kind, std::uint64_t value) {
        samples.push_back({name, help, kind, labels, static_cast<double>(value)});
      };
      add("tidegate_cache_hits_total", "Answers found", MetricKind::counter, stats[i].hits);
      add("tidegate_cache_misses_total", "Look-ups without an answer", MetricKind::counter, stats[i].misses);
      add("tidegate_cache_stale_total", "Answers found past their fresh life", MetricKind::counter, stats[i].stale);
      add("tidegate_cache_evicted_total", "Answers dropped for room", MetricKind::counter, stats[i].evicted);
      add("tidegate_cache_entries", "Answers held", MetricKind::gauge, stats[i].entries);
      add("tidegate_cache_bytes", "Memory held", MetricKind::gauge, stats[i].bytes);
    }
  });
}

Result<Engine::Impl::Found> Engine::Impl::find(std::string_view name) const {
  MutexLock lock(mutex);
  for (std::size_t i = 0; i < models.size(); ++i) {
    const auto& pipeline = models[i].pipeline;
    if (pipeline->name() == name || (name.empty() && models.size() == 1)) return Found{i, pipeline};
  }
  if (models.empty()) return Error(ErrorCode::not_found, "the engine serves no model yet; add one with add_model");
  if (name.empty()) return Error(ErrorCode::not_found, "the engine serves several models; name one");
  return Error(ErrorCode::not_found, fmt::format("the engine serves no model '{}'", name));
}

std::shared_ptr<Pipeline> Engine::Impl::pipeline(std::size_t i) const noexcept {
  MutexLock lock(mutex);
  return i < models.size() ? models[i].pipeline : nullptr;
}

std::shared_ptr<ThreadPool> Engine::Impl::workers(std::size_t i) const noexcept {
  MutexLock lock(mutex);
  return i < models.size() ? models[i].workers : nullptr;
}

void Engine::Impl::collect(std::vector<MetricSample>& samples) const {
  for (std::size_t i = 0; const auto model = pipeline(i); ++i) {
    const SchedulerStats stats = model->stats();
    const MetricLabels labels{{"model", model->name()}};
    const auto gauge = [&](const char* name, const char* help, std::uint64_t value) {
      samples.push_back({name, help, MetricKind::gauge, labels, static_cast<double>(value)});
    };
    gauge("tidegate_queue_items", "Computations waiting", stats.queued_items);
    gauge("tidegate_queue_tokens", "Tokens waiting", stats.queued_tokens);
    gauge("tidegate_queue_bytes", "Input bytes waiting", stats.queued_bytes);
    gauge("tidegate_running_batches", "Batches inside the model", stats.running_batches);
    gauge("tidegate_stuck_batches", "Batches inside the model for far too long", stats.stuck_batches);
    gauge("tidegate_requests_in_flight", "Requests accepted and not completed", stats.waiters);
    gauge("tidegate_held_requests", "Requests that have ended and wait for those before them", model->held());
    const auto counter = [&](const char* name, const char* help, std::uint64_t value) {
      samples.push_back({name, help, MetricKind::counter, labels, static_cast<double>(value)});
    };
    counter("tidegate_joined_total", "Requests that joined an equal one in flight", stats.joined);
    counter("tidegate_split_total", "Requests that were larger than a batch and ran in parts", stats.split);
    counter("tidegate_batches_total", "Batches run", stats.batches);
    counter("tidegate_wasted_items_total", "Computations nobody waited for any more", stats.wasted_items);
  }
}

Engine::Engine(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;
Engine::~Engine() = default;

Result<Engine> Engine::create(EngineOptions options) {
  TIDEGATE_CHECK(check_options(options));
  return contained([&]() -> Result<Engine> { return Engine(std::make_unique<Impl>(std::move(options))); });
}

Result<void> Engine::add_model(std::string name, std::vector<Replica> replicas, ModelOptions options) {
  TIDEGATE_CHECK(check_options(options));
  TIDEGATE_CHECK(check_replicas(name, replicas));
  TIDEGATE_CHECK(check_longest_item(name, replicas.front().runner->info(), options));
  return contained([&] { return impl_->add(name, std::move(replicas), options); });
}

Result<void> Engine::Impl::add(const std::string& name, std::vector<Replica> replicas,
                               const ModelOptions& model_options) {
  Model model;
  model.pipeline = std::make_shared<Pipeline>(name, std::move(replicas), model_options, services);
  std::shared_ptr<Executor> workers = options.workers;
  if (workers == nullptr) {
    workers = model.workers = std::make_shared<ThreadPool>("tidegate-run", model.pipeline->total_concurrency());
  }
  model.pipeline->start(std::move(workers));
  {
    MutexLock drain_lock(drain_mutex);
    if (drained) return Error(ErrorCode::shutting_down, "the engine is draining");
    MutexLock lock(mutex);
    for (const Model& other : models) {
      if (other.pipeline->name() == name) {
        return Error(ErrorCode::already_exists, fmt::format("the engine serves a model '{}' already", name));
      }
    }
    if (models.size() == kMostModels) {
      return Error(ErrorCode::queue_full, fmt::format("an engine serves at most {} models", kMostModels));
    }
    models.push_back(std::move(model));
  }
  return {};
}

Result<RequestId> Engine::infer(Request request, Callback on_done) {
  try {
    TIDEGATE_TRY(const Impl::Found model, impl_->find(request.model));
    TIDEGATE_TRY(const std::uint64_t handle, model.pipeline->infer(std::move(request), std::move(on_done)));
    return RequestId{model.index << WaiterTable::kHandleBits | handle};
  } catch (...) {
    // Nothing was accepted: the pipeline lets nothing pass from then on.
    return thrown_on_the_way();
  }
}

Result<Response> Engine::infer_and_wait(Request request) {
  try {
    TIDEGATE_TRY(const Impl::Found model, impl_->find(request.model));
    return model.pipeline->infer_and_wait(std::move(request));
  } catch (...) {
    return thrown_on_the_way();
  }
}

std::future<Result<Response>> Engine::infer_future(Request request) {
  auto promise = std::make_shared<std::promise<Result<Response>>>();
  auto future = promise->get_future();
  auto accepted =
      infer(std::move(request), [promise](Result<Response> result) { promise->set_value(std::move(result)); });
  if (!accepted) promise->set_value(std::move(accepted).error());
  return future;
}

std::optional<Response> Engine::try_cached(const Request& request) {
  try {
    const auto model = impl_->find(request.model);
    if (!model) return std::nullopt;
    return model->pipeline->try_cached(request);
  } catch (...) {
    return std::nullopt;  // without memory for the answer it is not here
  }
}

Result<Announcement> Engine::announce(std::string_view model) {
  return contained([&]() -> Result<Announcement> {
    TIDEGATE_TRY(const Impl::Found found, impl_->find(model));
    return found.pipeline->announce();
  });
}

bool Engine::cancel(RequestId id) {
  const auto value = static_cast<std::uint64_t>(id);
  const std::uint64_t index = value >> WaiterTable::kHandleBits;
  const std::shared_ptr<Pipeline> pipeline = impl_->pipeline(index);
  return pipeline != nullptr && pipeline->cancel(value & ((1ULL << WaiterTable::kHandleBits) - 1));
}

DrainReport Engine::drain(Duration bound) { return impl_->drain(bound); }

MetricsSnapshot Engine::metrics() const {
  MetricsSnapshot snapshot = impl_->services->metrics.snapshot();
  impl_->collect(snapshot.samples);
  return snapshot;
}

std::vector<CacheTierStats> Engine::cache_stats() const { return impl_->services->cache->stats(); }

void Engine::resize_cache(std::uint64_t capacity_bytes) { impl_->services->cache->resize_memory(capacity_bytes); }

Result<std::vector<CacheCurvePoint>> Engine::cache_curve() const {
  return contained([&]() -> Result<std::vector<CacheCurvePoint>> { return impl_->services->cache->curve(); });
}

Result<std::vector<BatchDecision>> Engine::explain(std::string_view name) const {
  return contained([&]() -> Result<std::vector<BatchDecision>> {
    TIDEGATE_TRY(const Impl::Found model, impl_->find(name));
    return model.pipeline->decisions();
  });
}

Result<LatencyProfile> Engine::latency_profile(std::string_view name) const {
  TIDEGATE_TRY(const Impl::Found model, impl_->find(name));
  return model.pipeline->latency_profile();
}

Result<ModelInfo> Engine::model_info(std::string_view name) const {
  TIDEGATE_TRY(const Impl::Found model, impl_->find(name));
  return model.pipeline->info();
}

}  // namespace tidegate
