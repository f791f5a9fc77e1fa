// Models: loaded, found, described, supplied by the host.
#include "tidegate/model.h"

#include <optional>
#include <utility>

#include "arguments.hpp"
#include "host_model.hpp"
#include "json_writer.hpp"
#include "runtime.hpp"

using namespace tidegate::capi;  // NOLINT: the C functions below are the API of this namespace
using tidegate::Error;
using tidegate::ErrorCode;
using tidegate::Result;

namespace {

std::string hex(const tidegate::Digest& digest) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : digest) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::string describe(const std::string& name, const tidegate::ModelInfo& info) {
  JsonWriter json;
  json.open('{');
  json.member("name", name);
  json.member("kind", info.kind);
  json.member("fingerprint", hex(info.fingerprint));
  json.key("deterministic").literal(info.deterministic ? "true" : "false");
  json.member("max_tokens", info.max_tokens);
  json.member("variant", info.variant);
  json.key("notes").open('[');
  for (const std::string& note : info.notes) json.string(note);
  json.close(']').close('}');
  return std::move(json).text();
}

/// A model and what serves it.
struct Served {
  std::string name;
  std::vector<tidegate::Replica> replicas;  // empty where the engine loads them in a shape of its choice
  tidegate::ModelOptions options;
  std::shared_ptr<HostModel> host{};  // of a model of the program's
  std::optional<tidegate::ModelConfig> described{};
};

/// Serves it under its name and makes a handle if one is wanted.
Result<void> add(tidegate_runtime& runtime, Served served, tidegate_model** model) {
  // Made first: once the model is added nothing may fail.
  auto handle = std::make_unique<tidegate_model>(runtime.runtime, served.name);
  auto engine = runtime.runtime->use(Runtime::Span::work);
  if (!engine) return engine.error();
  auto added = served.described ? add_described_model(**engine, *served.described)
                                : (*engine)->add_model(served.name, std::move(served.replicas), served.options);
  if (!added) return added;
  if (served.host != nullptr) served.host->own();
  if (model != nullptr) *model = handle.release();
  return {};
}

Result<void> replace(tidegate_runtime& runtime, Served served) {
  if (served.described) {
    return Error(ErrorCode::unsupported,
                 "cores: a model that replaces another is served as replicas and threads say; leave cores out");
  }
  auto engine = runtime.runtime->use(Runtime::Span::work);
  if (!engine) return engine.error();
  auto replaced = (*engine)->replace_model(served.name, std::move(served.replicas), served.options);
  if (replaced && served.host != nullptr) served.host->own();
  return replaced;
}

/// From a description. Blocks while files are read.
Result<Served> load(const char* json, size_t length) {
  const auto text = text_argument(json, length, "json");
  if (!text) return text.error();
  const auto config = tidegate::parse_model_config(*text);
  if (!config) return config.error();
  if (config->cores > 0) return Served{config->name, {}, {}, {}, *config};
  auto replicas = tidegate::load_replicas(*config);
  if (!replicas) return replicas.error();
  return Served{config->name, std::move(*replicas), config->options};
}

/// From a table of the program's.
Result<Served> host_model(const char* name, size_t name_length, const char* json, size_t json_length,
                          const tidegate_backend* table) {
  const auto given_name = text_argument(name, name_length, "name");
  if (!given_name) return given_name.error();
  const auto text = json == nullptr ? Result<std::string_view>("{}") : text_argument(json, json_length, "json");
  if (!text) return text.error();
  const auto config = tidegate::parse_host_model_config(*given_name, *text);
  if (!config) return config.error();
  const auto known = read_struct(table, "table");
  if (!known) return known.error();
  if (known->run_batch == nullptr) return Error(ErrorCode::invalid_argument, "table: run_batch is NULL");
  if (known->reserved != 0 || known->reserved2 != 0) {
    return Error(ErrorCode::unsupported, "table: a reserved field is not 0");
  }
  Served served{config->name, {}, config->options, std::make_shared<HostModel>(*known)};
  auto runner = make_host_runner(served.host, config->fingerprint, config->rows);
  if (!runner) return runner.error();
  served.replicas.push_back({std::move(*runner), config->replica});
  return served;
}

}  // namespace

tidegate_status tidegate_model_load(tidegate_runtime* runtime, const char* json, size_t length, tidegate_model** model,
                                    tidegate_error** err) noexcept {
  if (model != nullptr) *model = nullptr;
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check(runtime, "runtime"); !ok) return ok;
    const SignalsBlocked blocked;
    auto served = load(json, length);
    if (!served) return served.error();
    return add(*runtime, std::move(*served), model);
  });
}

tidegate_status tidegate_model_register(tidegate_runtime* runtime, const char* name, size_t name_length,
                                        const char* json, size_t json_length, const tidegate_backend* table,
                                        tidegate_model** model, tidegate_error** err) noexcept {
  if (model != nullptr) *model = nullptr;
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check(runtime, "runtime"); !ok) return ok;
    const SignalsBlocked blocked;
    auto served = host_model(name, name_length, json, json_length, table);
    if (!served) return served.error();
    return add(*runtime, std::move(*served), model);
  });
}

tidegate_status tidegate_model_replace(tidegate_runtime* runtime, const char* json, size_t length,
                                       tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check(runtime, "runtime"); !ok) return ok;
    const SignalsBlocked blocked;
    auto served = load(json, length);
    if (!served) return served.error();
    return replace(*runtime, std::move(*served));
  });
}

tidegate_status tidegate_model_replace_host(tidegate_runtime* runtime, const char* name, size_t name_length,
                                            const char* json, size_t json_length, const tidegate_backend* table,
                                            tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check(runtime, "runtime"); !ok) return ok;
    const SignalsBlocked blocked;
    auto served = host_model(name, name_length, json, json_length, table);
    if (!served) return served.error();
    return replace(*runtime, std::move(*served));
  });
}

tidegate_status tidegate_model_get(tidegate_runtime* runtime, const char* name, size_t length, tidegate_model** model,
                                   tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check_output(model, "model"); !ok) return ok;
    if (auto ok = check(runtime, "runtime"); !ok) return ok;
    const auto given = text_argument(name, length, "name");
    if (!given) return given.error();
    auto engine = runtime->runtime->use();
    if (!engine) return engine.error();
    if (const auto info = (*engine)->model_info(*given); !info) return info.error();
    *model = new tidegate_model(runtime->runtime, std::string(*given));
    return {};
  });
}

tidegate_status tidegate_model_info_json(const tidegate_model* model, char** text, size_t* length,
                                         tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check_output(text, "text"); !ok) return ok;
    if (auto ok = check(model, "model"); !ok) return ok;
    auto engine = model->runtime->use();
    if (!engine) return engine.error();
    const auto info = (*engine)->model_info(model->name);
    if (!info) return info.error();
    give_text(describe(model->name, *info), text, length);
    return {};
  });
}

tidegate_model* tidegate_model_retain(tidegate_model* model) noexcept {
  if (!is_live(model)) return nullptr;
  model->retain();
  return model;
}

void tidegate_model_release(tidegate_model* model) noexcept {
  if (is_live(model) && model->release()) delete model;
}
