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

Result<Engine> create_engine(const EngineConfig& config) {
  EngineOptions options = config.engine;
  TIDEGATE_CHECK(config::add_tiers(options, config));
  TIDEGATE_TRY(Engine engine, Engine::create(std::move(options)));
  for (const ModelConfig& model : config.models) {
    TIDEGATE_TRY(std::vector<Replica> replicas, load_replicas(model));
    TIDEGATE_CHECK(engine.add_model(model.name, std::move(replicas), model.options));
  }
  return engine;
}

}  // namespace tidegate
