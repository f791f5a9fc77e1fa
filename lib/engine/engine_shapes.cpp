// Models whose shape, replicas times threads, is the engine's to choose.
#include <fmt/format.h>

#include <array>
#include <optional>
#include <utility>

#include "base/replace_file.hpp"
#include "base/try.hpp"
#include "engine/engine_impl.hpp"
#include "engine/options_check.hpp"
#include "engine/profile_file.hpp"
#include "engine/shape_file.hpp"
#include "engine/shape_trial.hpp"
#include "request/copy_input.hpp"

namespace tidegate {
namespace {

constexpr std::uint32_t kMostCores = 256;

std::string text_of(ReplicaShape shape) { return fmt::format("{} x {}", shape.replicas, shape.threads); }

/// What the loader gives, checked.
Result<std::vector<Replica>> load(const std::string& name, const ShapedModel& model, ReplicaShape shape) {
  const auto refuse = [&](std::string_view why) {
    return Error(ErrorCode::invalid_argument,
                 fmt::format("model '{}', loader of shape {}: {}", name, text_of(shape), why));
  };
  std::optional<Result<std::vector<Replica>>> loaded;
  try {
    loaded.emplace(model.load(shape));
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    return Error(ErrorCode::host_failed,
                 fmt::format("model '{}': the loader of shape {} threw: {}", name, text_of(shape), error.what()));
  }
  if (!*loaded) return std::move(*loaded).error();
  std::vector<Replica> replicas = *std::move(*loaded);
  TIDEGATE_CHECK(check_replicas(name, replicas));
  if (replicas.size() != shape.replicas) return refuse(fmt::format("it gave {} replicas", replicas.size()));
  return replicas;
}

struct Chosen {
  ReplicaShape shape{};
  std::vector<Replica> replicas;
  std::string why;
};

/// The measurements, and the replicas of the shape that they are best for.
class ShapeSearch {
 public:
  ShapeSearch(const std::string& name, const ShapedModel& model, const ModelOptions& options,
              const EngineQueueOptions& caps, const Clock& clock)
      : name_(name), model_(model), options_(options), caps_(caps), clock_(clock), shapes_(shapes_of(model.cores)) {}

  Result<Chosen> run() {
    TIDEGATE_TRY(best_.replicas, load(name_, model_, shapes_.front()));
    best_.shape = shapes_.front();
    const ModelInfo& info = best_.replicas.front().runner->info();
    fingerprint_ = info.fingerprint;
    TIDEGATE_CHECK(check_longest_item(name_, info, options_, caps_));
    if (shapes_.size() == 1) return without_measuring("one core has one shape");
    if (options_.calibration.mode == Calibration::off) return without_measuring("calibration is off");
    const ShapeKey key{info.fingerprint, processor_name(), model_.cores};
    const std::string path = path_beside(options_.calibration, info, shape_file_name(key));
    if (!path.empty()) {
      if (auto kept = read_shapes(read_small_file(path), key)) return take_kept(*std::move(kept));
    }
    for (const Input& input : options_.calibration.inputs) inputs_.push_back(copy_input(input));
    if (inputs_.empty()) inputs_.assign(info.sample_texts.begin(), info.sample_texts.end());
    if (inputs_.empty()) return without_measuring("the model has no samples to be measured with");
    if (!measure(best_.shape, best_.replicas)) return without_measuring("the model fails on its samples");
    for (std::size_t i = 1; i < shapes_.size(); ++i) TIDEGATE_CHECK(attempt(shapes_[i]));
    if (measured_.size() == shapes_.size() && !path.empty()) keep(path, key);
    return finish();
  }

 private:
  /// A length that one shape was not measured at counts for none, so the last may have changed the order of the first.
  Result<Chosen> finish() {
    const ShapeChoice choice = choose_shape(measured_, options_.slo);
    best_.why = "measured\n" + choice.why + skipped_;
    return in_shape(measured_[choice.index].shape);
  }

  /// What has been found, with the replicas of that shape.
  Result<Chosen> in_shape(ReplicaShape shape) {
    if (shape == best_.shape) return std::move(best_);
    best_.replicas.clear();
    TIDEGATE_TRY(best_.replicas, load(name_, model_, shape));
    best_.shape = shape;
    return std::move(best_);
  }

  Result<Chosen> without_measuring(std::string_view why) {
    best_.why = fmt::format("not measured: {}; {}\n", why, text_of(best_.shape));
    return std::move(best_);
  }

  Result<Chosen> take_kept(std::vector<ShapeMeasurement> kept) {
    const ShapeChoice choice = choose_shape(kept, options_.slo);
    best_.why = "measured by an earlier run\n" + choice.why;
    return in_shape(kept[choice.index].shape);
  }

  /// False: the model fails on its samples, or none could be run.
  bool measure(ReplicaShape shape, const std::vector<Replica>& replicas) {
    auto one = measure_shape(shape, replicas, inputs_, options_.batching, clock_);
    if (!one || one->points.empty()) return false;
    measured_.push_back(*std::move(one));
    return true;
  }

  /// A shape that cannot be loaded or measured is left out: the others serve.
  Result<void> attempt(ReplicaShape shape) {
    auto replicas = load(name_, model_, shape);
    if (!replicas) {
      skipped_ += fmt::format("{}: {}\n", text_of(shape), replicas.error().message());
      return {};
    }
    if (replicas->front().runner->info().fingerprint != fingerprint_) {
      return Error(ErrorCode::invalid_argument,
                   fmt::format("model '{}': shape {} has another fingerprint than {}; every shape must answer alike",
                               name_, text_of(shape), text_of(shapes_.front())));
    }
    if (!measure(shape, *replicas)) {
      skipped_ += fmt::format("{}: the model fails on its samples\n", text_of(shape));
      return {};
    }
    if (measured_[choose_shape(measured_, options_.slo).index].shape != shape) return {};
    best_.shape = shape;
    best_.replicas = *std::move(replicas);
    return {};
  }

  void keep(const std::string& path, const ShapeKey& key) const {
    const std::string text = write_shapes(key, measured_);
    const std::array parts{std::as_bytes(std::span(text))};
    // A folder that cannot be written is no error: the next start measures again.
    static_cast<void>(replace_file(path, parts));
  }

  const std::string& name_;
  const ShapedModel& model_;
  const ModelOptions& options_;
  const EngineQueueOptions& caps_;
  const Clock& clock_;
  const std::vector<ReplicaShape> shapes_;
  std::vector<Input> inputs_;
  std::vector<ShapeMeasurement> measured_;
  Digest fingerprint_{};
  Chosen best_;
  std::string skipped_;
};

}  // namespace

Result<void> Engine::Impl::add_shaped(const std::string& name, ShapedModel model, ModelOptions model_options) {
  if (!model.load) return Error(ErrorCode::invalid_argument, fmt::format("model '{}': it has no loader", name));
  if (model.cores < 1 || model.cores > kMostCores) {
    return Error(ErrorCode::invalid_argument,
                 fmt::format("model '{}': cores is {}; it must be 1 to {}", name, model.cores, kMostCores));
  }
  TIDEGATE_TRY(Chosen chosen, ShapeSearch(name, model, model_options, options.queue, *services->clock).run());
  const auto place = std::make_shared<ShapedPlace>(std::move(model), std::move(model_options), chosen.shape);
  {
    MutexLock lock(place->mutex);
    place->last = {ShapeStep::stay, chosen.shape, std::move(chosen.why)};
  }
  TIDEGATE_CHECK(add(name, std::move(chosen.replicas), place->options));
  MutexLock lock(shaped_mutex);
  shaped[name] = place;
  return {};
}

Result<std::shared_ptr<ShapedPlace>> Engine::Impl::find_shaped(std::string_view name) const {
  TIDEGATE_TRY(const Found found, find(name));
  MutexLock lock(shaped_mutex);
  const auto place = shaped.find(found.pipeline->name());
  if (place != shaped.end()) return place->second;
  return Error(ErrorCode::unsupported,
               fmt::format("the shape of model '{}' is fixed: it was added with its replicas", found.pipeline->name()));
}

void Engine::Impl::forget_shapes(const std::string& name) {
  MutexLock lock(shaped_mutex);
  shaped.erase(name);
}

Result<ShapeReview> Engine::Impl::review(std::string_view name) {
  TIDEGATE_TRY(const std::shared_ptr<ShapedPlace> place, find_shaped(name));
  MutexLock lock(place->mutex);
  std::string model;
  ShapeSample sample;
  {
    TIDEGATE_TRY(const Found found, find(name));
    model = found.pipeline->name();
    const ScalingSnapshot snapshot = found.pipeline->scaling_snapshot();
    const LaneLoad& lane = snapshot.lanes.front();
    const bool in_slo = lane.slo <= Duration::zero() || found.pipeline->expected_time() <= lane.slo;
    sample = {snapshot.now, lane.observed, lane.utilization_10s, lane.served_10s.tokens, in_slo};
  }
  const ReplicaShape former = place->climber.shape();
  ShapeClimber::Decision decision = place->climber.decide(sample);
  if (decision.shape != former) {
    const auto serve = [&]() -> Result<void> {
      TIDEGATE_TRY(std::vector<Replica> replicas, load(model, place->model, decision.shape));
      TIDEGATE_TRY(const std::shared_ptr<ShapedPlace> now, find_shaped(model));
      if (now != place) return Error(ErrorCode::unsupported, "the model was replaced during its review");
      return replace(model, std::move(replicas), place->options);
    };
    if (auto served = serve(); !served) {
      place->climber.failed(sample.now);
      return std::move(served).error();
    }
  }
  ShapeReview review{decision.step, decision.shape, std::move(decision.why)};
  if (review.step != ShapeStep::stay) place->last = review;
  return review;
}

}  // namespace tidegate
