// Runners and engines from their description.
#include "base/try.hpp"
#include "engine/config_tiers.hpp"
#include "tidegate/config.hpp"

namespace tidegate {
namespace {

Result<std::unique_ptr<ModelRunner>> load_runner(const ModelConfig& config) {
  switch (config.kind) {
    case ModelKind::encoder: {
      TextEncoderOptions options;
      options.folder = config.folder;
      options.precision = config.precision;
      options.threads = config.threads;
      options.prompt = config.prompt;
      options.module_path = config.module_path;
      options.isa = config.isa;
      options.pack_folder = config.pack_folder;
      return load_text_encoder(options);
    }
    case ModelKind::torchscript:
      return load_torchscript({config.file, config.sha256, config.threads, config.module_path, config.rows});
    case ModelKind::synthetic: {
      SyntheticOptions options = config.synthetic;
      options.rows = config.rows;
      return make_synthetic_runner(std::move(options));
    }
    case ModelKind::host: break;
  }
  return Error(ErrorCode::invalid_argument, "a model of kind host is supplied by the program, not loaded");
}

}  // namespace

Result<std::vector<Replica>> load_replicas(const ModelConfig& config) {
  std::vector<Replica> replicas;
  for (std::uint32_t i = 0; i < config.replicas; ++i) {
    TIDEGATE_TRY(auto runner, load_runner(config));
    replicas.push_back({std::move(runner), config.replica});
  }
  return replicas;
}

ShapedModel shaped_model(ModelConfig config) {
  const std::uint32_t cores = config.cores;
  return {[config = std::move(config)](ReplicaShape shape) mutable {
            config.replicas = shape.replicas;
            config.threads = shape.threads;
            return load_replicas(config);
          },
          cores};
}

Result<void> add_described_model(Engine& engine, const ModelConfig& config) {
  if (config.cores > 0) return engine.add_model(config.name, shaped_model(config), config.options);
  TIDEGATE_TRY(std::vector<Replica> replicas, load_replicas(config));
  return engine.add_model(config.name, std::move(replicas), config.options);
}

Result<Engine> create_engine(const EngineConfig& config) {
  EngineOptions options = config.engine;
  TIDEGATE_CHECK(config::add_tiers(options, config));
  TIDEGATE_TRY(Engine engine, Engine::create(std::move(options)));
  for (const ModelConfig& model : config.models) {
    TIDEGATE_CHECK(add_described_model(engine, model));
  }
  return engine;
}

}  // namespace tidegate
