#include "tidegate/engine.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <system_error>

#include "base/sha256.hpp"
#include "base/try.hpp"
#include "base/wall_time.hpp"
#include "cache/cache_namespaces.hpp"
#include "cache/snapshot_keeper.hpp"
#include "engine/engine_impl.hpp"
#include "engine/guarded_call.hpp"
#include "engine/options_check.hpp"
#include "queue/shared_room.hpp"

namespace tidegate {
namespace {

std::shared_ptr<Services> make_services(const EngineOptions& options, std::shared_ptr<Executor> completions) {
  auto services = std::make_shared<Services>();
  services->clock = options.clock ? options.clock : make_steady_clock();
  services->completions = std::move(completions);
  services->cache = std::make_shared<TieredCache>(options.cache, services->clock, services->completions);
  services->namespaces = std::make_shared<CacheNamespaces>(CacheNamespace::Surroundings{
      services->clock, options.cache.tiers, std::max(options.cache.time_to_live, options.cache.tier_time_to_live),
      services->completions, unix_microseconds, [weak = std::weak_ptr(services)] {
        if (const auto self = weak.lock()) static_cast<void>(self->snapshot->discard());
      }});
  services->snapshot = std::make_shared<SnapshotKeeper>(options.cache.snapshot, services->cache, services->namespaces);
  services->snapshot->restore();
  const EngineQueueOptions& caps = options.queue;
  if (caps.max_queued_items + caps.max_queued_tokens + caps.max_queued_bytes > 0) {
    services->room = std::make_shared<SharedRoom>(caps);
  }
  return services;
}

void collect_shares(const std::vector<CacheShareStats>& shares, std::vector<MetricSample>& samples) {
  for (const CacheShareStats& share : shares) {
    const MetricLabels labels{{"model", share.model}};
    const auto add = [&](const char* name, const char* help, MetricKind kind, std::uint64_t value) {
      samples.push_back({name, help, kind, labels, static_cast<double>(value)});
    };
    add("tidegate_cache_share_bytes", "Part of the memory cache that the model has", MetricKind::gauge, share.bytes);
    add("tidegate_cache_share_used_bytes", "Bytes of it in use", MetricKind::gauge, share.memory.bytes);
    add("tidegate_cache_share_entries", "Answers in it", MetricKind::gauge, share.memory.entries);
    add("tidegate_cache_share_hits_total", "Answers found in it", MetricKind::counter, share.memory.hits);
    add("tidegate_cache_share_misses_total", "Look-ups in it without an answer", MetricKind::counter,
        share.memory.misses);
  }
}

void collect_room(const SharedRoom& room, std::vector<MetricSample>& samples) {
  const auto add = [&](const char* name, const char* help, MetricKind kind, std::uint64_t value) {
    samples.push_back({name, help, kind, {}, static_cast<double>(value)});
  };
  const QueueAmount used = room.used();
  add("tidegate_engine_queue_items", "Computations waiting, all models", MetricKind::gauge, used.items);
  add("tidegate_engine_queue_tokens", "Tokens waiting, all models", MetricKind::gauge, used.tokens);
  add("tidegate_engine_queue_bytes", "Input bytes waiting, all models", MetricKind::gauge, used.bytes);
  add("tidegate_engine_queue_refused_total", "Requests refused by the caps of all models together", MetricKind::counter,
      room.refused());
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
      services(make_services(options, completion_threads ? completion_threads : options.completions)),
      roster(std::make_shared<ModelRoster>(services)) {
  // The clock starts its thread with its first alarm: better now, where a refusal is an error.
  services->clock->cancel(services->clock->call_at(services->clock->now() + std::chrono::hours(1), [] {}));
  services->metrics.add_collector([kept = std::weak_ptr(services->snapshot)](std::vector<MetricSample>& samples) {
    if (const auto keeper = kept.lock()) keeper->collect(samples);
  });
  if (services->room != nullptr) {
    services->metrics.add_collector(
        [room = services->room](std::vector<MetricSample>& samples) { collect_room(*room, samples); });
  }
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
      add("tidegate_cache_bytes", "Bytes held", MetricKind::gauge, stats[i].bytes);
      add("tidegate_cache_expired_total", "Misses by an answer too old", MetricKind::counter, stats[i].expired);
      add("tidegate_cache_rejected_total", "Answers not admitted", MetricKind::counter, stats[i].rejected);
      add("tidegate_cache_corrupt_total", "Misses by a damaged record", MetricKind::counter, stats[i].corrupt);
      add("tidegate_cache_late_total", "Look-ups given up", MetricKind::counter, stats[i].late);
      add("tidegate_cache_dropped_total", "Answers not stored for lack of budget", MetricKind::counter,
          stats[i].dropped);
      add("tidegate_cache_failed_total", "Reads and writes the storage refused", MetricKind::counter, stats[i].failed);
      add("tidegate_cache_resets_total", "Times the store was emptied", MetricKind::counter, stats[i].resets);
      add("tidegate_cache_pinned_bytes", "Bytes of answers that left and are still used", MetricKind::gauge,
          stats[i].pinned);
      add("tidegate_cache_troubled", "1 while nothing can be stored", MetricKind::gauge, stats[i].troubled);
    }
    tiers->collect(samples);
    if (tiers->shares() != nullptr) collect_shares(tiers->shares()->shares(), samples);
  });
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
  TIDEGATE_CHECK(check_longest_item(name, replicas.front().runner->info(), options, impl_->options.queue));
  return contained(
      [&] { return impl_->with_limits_kept(name, [&] { return impl_->add(name, std::move(replicas), options); }); });
}

Result<void> Engine::replace_model(std::string name, std::vector<Replica> replicas, ModelOptions options) {
  TIDEGATE_CHECK(check_options(options));
  TIDEGATE_CHECK(check_replicas(name, replicas));
  return contained([&]() -> Result<void> {
    TIDEGATE_CHECK(impl_->with_limits_kept(name, [&] { return impl_->replace(name, std::move(replicas), options); }));
    impl_->forget_shapes(name);
    return {};
  });
}

Result<void> Engine::add_model(std::string name, ShapedModel model, ModelOptions options) {
  TIDEGATE_CHECK(check_options(options));
  return contained([&] {
    return impl_->with_limits_kept(name, [&] { return impl_->add_shaped(name, std::move(model), std::move(options)); });
  });
}

Result<ShapeReview> Engine::review_shape(std::string_view name) {
  return contained([&] { return impl_->review(name); });
}

Result<ShapeReview> Engine::shape(std::string_view name) const {
  return contained([&]() -> Result<ShapeReview> {
    TIDEGATE_TRY(const std::shared_ptr<ShapedPlace> place, impl_->find_shaped(name));
    MutexLock lock(place->mutex);
    return place->last;
  });
}

/// The embedder is kept by its engine only; a text that finds it gone is simply not compared.
Result<std::shared_ptr<SimilarStage>> Engine::Impl::make_similar_stage(const std::string& name,
                                                                       const SemanticCacheOptions& semantic,
                                                                       const ModelInfo& model) const {
  const auto refuse = [&](ErrorCode code, std::string_view why) {
    return Error(code, fmt::format("model '{}', semantic.embedder '{}': {}", name, semantic.embedder, why));
  };
  if (model.kind == "encoder") {
    return refuse(ErrorCode::invalid_argument, "embeddings are never answered with those of another text");
  }
  if (!model.deterministic) {
    return refuse(ErrorCode::invalid_argument, "answers of a model that is not deterministic are never kept");
  }
  const auto embedder = find(semantic.embedder);
  if (!embedder || semantic.embedder.empty()) {
    return refuse(ErrorCode::not_found, "the engine serves no such model; add it first");
  }
  auto embed = [weak = std::weak_ptr(embedder->pipeline), embedder_name = semantic.embedder](
                   std::string text, Deadline deadline, UniqueFunction<void(std::vector<float>)> done) {
    const auto pipeline = weak.lock();
    if (pipeline == nullptr) return;
    RequestOptions how;
    how.deadline = deadline;
    auto told = [done = std::move(done)](Result<Response> result) mutable {
      std::vector<float> embedding;
      if (result && result->outputs.size() == 1) {
        const auto numbers = result->outputs.front().as<float>();
        embedding.assign(numbers.begin(), numbers.end());
      }
      done(std::move(embedding));
    };
    static_cast<void>(pipeline->infer(Request{embedder_name, std::move(text), std::move(how)}, std::move(told)));
  };
  Sha256 scope;
  scope.update(std::as_bytes(std::span(model.fingerprint)));
  scope.update(std::as_bytes(std::span(embedder->pipeline->info().fingerprint)));
  return std::make_shared<SimilarStage>(semantic, services->clock, std::move(embed), scope.finish());
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

Result<Stream> Engine::stream(Request request, StreamOptions options) {
  try {
    TIDEGATE_TRY(const Impl::Found model, impl_->find(request.model));
    return model.pipeline->stream(std::move(request), options);
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

Result<QueueRoom> Engine::capacity(std::string_view model) const {
  return contained([&]() -> Result<QueueRoom> {
    TIDEGATE_TRY(const Impl::Found found, impl_->find(model));
    return found.pipeline->room();
  });
}

Result<void> Engine::on_ready(ReadyCallback callback, std::string_view model) {
  return contained([&]() -> Result<void> {
    TIDEGATE_TRY(const Impl::Found found, impl_->find(model));
    auto note = std::make_shared<Pipeline::ReadyNote>();
    note->on_ready = std::move(callback);
    return found.pipeline->on_ready(std::move(note));
  });
}

bool Engine::cancel(RequestId id) {
  const auto value = static_cast<std::uint64_t>(id);
  const std::uint64_t index = value >> WaiterTable::kHandleBits;
  const std::shared_ptr<Pipeline> pipeline = impl_->roster->pipeline(index);
  return pipeline != nullptr && pipeline->cancel(value & ((1ULL << WaiterTable::kHandleBits) - 1));
}

DrainReport Engine::drain(Duration bound) { return impl_->drain(bound); }

MetricsSnapshot Engine::metrics() const {
  MetricsSnapshot snapshot = impl_->services->metrics.snapshot();
  impl_->collect(snapshot.samples);
  return snapshot;
}

std::vector<CacheTierStats> Engine::cache_stats() const { return impl_->services->cache->stats(); }

Result<std::vector<CacheCurvePoint>> Engine::cache_curve() const {
  return contained([&]() -> Result<std::vector<CacheCurvePoint>> { return impl_->services->cache->curve(); });
}

Result<std::vector<BatchDecision>> Engine::explain(std::string_view name) const {
  return contained([&]() -> Result<std::vector<BatchDecision>> {
    TIDEGATE_TRY(const Impl::Found model, impl_->find(name));
    return model.pipeline->decisions();
  });
}

Result<std::optional<SemanticCacheStats>> Engine::semantic_stats(std::string_view name) const {
  TIDEGATE_TRY(const Impl::Found model, impl_->find(name));
  return model.pipeline->semantic_stats();
}

Result<LatencyProfile> Engine::latency_profile(std::string_view name) const {
  TIDEGATE_TRY(const Impl::Found model, impl_->find(name));
  return model.pipeline->latency_profile();
}

Result<ScalingSnapshot> Engine::scaling_snapshot(std::string_view name) const {
  return contained([&]() -> Result<ScalingSnapshot> {
    TIDEGATE_TRY(const Impl::Found model, impl_->find(name));
    return model.pipeline->scaling_snapshot();
  });
}

Result<ModelInfo> Engine::model_info(std::string_view name) const {
  TIDEGATE_TRY(const Impl::Found model, impl_->find(name));
  return model.pipeline->info();
}

}  // namespace tidegate
