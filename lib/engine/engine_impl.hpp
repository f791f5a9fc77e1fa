// What an Engine owns.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/thread_pool.hpp"
#include "engine/model_roster.hpp"
#include "scaling/shape_climber.hpp"
#include "tidegate/calibration.hpp"

namespace tidegate {

/// A model whose shape is the engine's to choose.
struct ShapedPlace {
  ShapedPlace(ShapedModel shaped, ModelOptions with, ReplicaShape start)
      : model(std::move(shaped)), options(std::move(with)), climber(model.cores, start) {}

  Mutex mutex;  // before drain_mutex; held while a shape is loaded and takes over
  const ShapedModel model;
  const ModelOptions options;
  ShapeClimber climber TIDEGATE_GUARDED_BY(mutex);
  ShapeReview last TIDEGATE_GUARDED_BY(mutex);
};

struct Engine::Impl {
  explicit Impl(EngineOptions engine_options);
  /// Drains with drain_timeout, then ends the threads or leaves stuck ones behind.
  ~Impl();

  using Found = ModelRoster::Found;
  [[nodiscard]] Result<Found> find(std::string_view name) const { return roster->find(name); }
  void collect(std::vector<MetricSample>& samples) const;

  /// May throw std::bad_alloc and std::system_error.
  [[nodiscard]] Result<void> add(const std::string& name, std::vector<Replica> replicas,
                                 const ModelOptions& model_options);
  [[nodiscard]] Result<void> replace(const std::string& name, std::vector<Replica> replicas,
                                     const ModelOptions& model_options);
  // Models with shapes (engine_shapes.cpp).
  [[nodiscard]] Result<void> add_shaped(const std::string& name, ShapedModel shaped, ModelOptions model_options);
  [[nodiscard]] Result<ShapeReview> review(std::string_view name);
  /// Errors: not_found, unsupported.
  [[nodiscard]] Result<std::shared_ptr<ShapedPlace>> find_shaped(std::string_view name) const;
  void forget_shapes(const std::string& name);

  [[nodiscard]] Result<std::shared_ptr<SimilarStage>> make_similar_stage(const std::string& name,
                                                                         const SemanticCacheOptions& semantic,
                                                                         const ModelInfo& model) const;
  DrainReport drain(Duration bound) noexcept;
  DrainReport drain_once(Duration bound) noexcept;
  void await_idle(Duration bound);
  [[nodiscard]] Result<ModelRoster::Model> make_model(const std::string& name, std::vector<Replica> replicas,
                                                      const ModelOptions& model_options);
  void start(ModelRoster::Model& model);
  [[nodiscard]] Result<std::shared_ptr<TieredCache>> open_share(const std::string& name, const CacheShare& limits);
  [[nodiscard]] Result<void> with_limits_kept(const std::string& name, const std::function<Result<void>()>& change);
  [[nodiscard]] std::uint64_t answered() const noexcept;

  const EngineOptions options;
  const std::shared_ptr<ThreadPool> completion_threads;  ///< null if the user supplied an executor
  const std::shared_ptr<Services> services;

  const std::shared_ptr<ModelRoster> roster;
  PoolTable pools;

  mutable Mutex shaped_mutex;  // leaf
  std::map<std::string, std::shared_ptr<ShapedPlace>> shaped TIDEGATE_GUARDED_BY(shaped_mutex);

  Mutex drain_mutex;  // before the roster's; not held while a drain does its work
  std::condition_variable drain_ended;
  bool drained TIDEGATE_GUARDED_BY(drain_mutex) = false;               ///< a drain has begun
  std::thread::id drain_thread TIDEGATE_GUARDED_BY(drain_mutex) = {};  ///< whose drain runs now
};

}  // namespace tidegate
