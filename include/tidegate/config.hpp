// EngineConfig: an engine and its models described by JSON, from one table of keys.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tidegate/disk_cache.hpp"
#include "tidegate/engine.hpp"
#include "tidegate/modules.hpp"
#include "tidegate/redis_cache.hpp"

namespace tidegate {

/// Which runner serves a model. `host` models are supplied by the program and
/// cannot be loaded from a description.
enum class ModelKind : std::uint8_t { encoder, torchscript, synthetic, host };

/// One model as described; which keys apply depends on the kind (see the schema).
struct ModelConfig {
  std::string name;
  ModelKind kind = ModelKind::encoder;
  std::string folder;  ///< encoder: sentence-transformers folder
  Precision precision = Precision::f32;
  std::string isa;                ///< encoder: as TextEncoderOptions::isa
  std::string pack_folder;        ///< encoder: as TextEncoderOptions::pack_folder
  std::string prompt;             ///< encoder: as TextEncoderOptions::prompt
  std::string file;               ///< torchscript: archive
  std::string sha256;             ///< torchscript: pinned digest of `file`
  std::string module_path;        ///< encoder, torchscript: empty = the usual places
  std::uint32_t threads = 1;      ///< encoder, torchscript: cores one batch may use
  ItemRows rows = ItemRows::one;  ///< torchscript, synthetic, host: as TorchScriptOptions::rows
  SyntheticOptions synthetic{};   ///< its `rows` is not read
  std::string fingerprint;        ///< host: names model and version; empty = never cached
  std::uint32_t replicas = 1;
  /// Not of kind host. Above 0: `replicas` and `threads` are not read, and the shape of so many cores is chosen
  /// by measuring (Engine::add_model of a ShapedModel). 0 = the shape is replicas x threads.
  std::uint32_t cores = 0;
  ReplicaOptions replica{};
  ModelOptions options{};
};

struct EngineConfig {
  EngineOptions engine{};
  /// Shared cache behind the memory tier; an empty address = none.
  RedisCacheOptions redis{};
  DiskCacheOptions disk{};  ///< behind the other tiers; without a folder there is none
  /// CachePreset that budget and lives of the caches were taken from, for answers of so many bytes; empty = none.
  /// Read from JSON before the keys that may change them.
  std::string cache_preset{};
  std::uint64_t cache_preset_answer_bytes = 1536;
  std::vector<ModelConfig> models{};
};

// Keys are dotted; nested objects and dotted keys mean the same. Every error names
// the key; that of an unknown key names the nearest one, that of a wrong value its
// type and range. Errors of the four below: invalid_argument.

/// Sets the keys that `json` (one object) holds on top of `base`; a list replaces
/// the former list.
[[nodiscard]] Result<EngineConfig> merge_config(EngineConfig base, std::string_view json);

/// As merge_config onto the defaults.
[[nodiscard]] Result<EngineConfig> parse_config(std::string_view json);

/// One model from a JSON object, on top of `base`.
[[nodiscard]] Result<ModelConfig> parse_model_config(std::string_view json, ModelConfig base = {});

/// As parse_model_config for a model the program supplies under `name`: only the
/// keys of kind `host`.
[[nodiscard]] Result<ModelConfig> parse_host_model_config(std::string_view name, std::string_view json);

/// The effective values, defaults included, as a JSON object; times are cut to the
/// unit of their key. parse_config accepts it while every value is one the schema
/// allows. A model of kind `host` never is: the program must supply it again.
[[nodiscard]] std::string dump_config(const EngineConfig& config);

/// Every key: {"runtime": [...], "model": [...], "tenant": [...]}, each with key, type, unit,
/// default, minimum, maximum, values, since and text.
[[nodiscard]] std::string config_schema_json();

/// Loads the replicas of a described model. Blocks while files are read and
/// checked. Errors: as load_text_encoder and load_torchscript; invalid_argument
/// for kind `host`.
[[nodiscard]] Result<std::vector<Replica>> load_replicas(const ModelConfig& config);

/// The same in any shape; `config.cores` above 0.
[[nodiscard]] ShapedModel shaped_model(ModelConfig config);

/// Loads and adds it under its name: in the shape that is described, or that is measured to be the best.
/// Errors: as load_replicas and Engine::add_model.
[[nodiscard]] Result<void> add_described_model(Engine& engine, const ModelConfig& config);

/// Creates an engine with its cache tiers and loads every model of the description.
/// Errors: as make_redis_cache, open_disk_cache, Engine::create, load_replicas and Engine::add_model.
[[nodiscard]] Result<Engine> create_engine(const EngineConfig& config);

/// Engine::invalidate_cache for programs that serve nothing: the tiers of the description are told, and its
/// snapshot is removed. An empty `scope.model` means every described model. Waits `bound` for each model.
/// Errors: not_found (model), invalid_argument (nothing is described that outlives a process; tag and version),
/// unavailable, io_error (snapshot), as make_redis_cache and open_disk_cache; busy also after the others were
/// told, if a process that runs has the disk folder and Redis is described: the message says so.
[[nodiscard]] Result<void> invalidate_described(const EngineConfig& config, const CacheScope& scope, Duration bound);

/// What an engine would restore from the file now, and what it would skip. May throw std::bad_alloc.
[[nodiscard]] CacheSnapshotStats inspect_cache_snapshot(const std::string& file);

}  // namespace tidegate
