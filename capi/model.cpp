// Models: loaded, found, described, supplied by the host.
#include "tidegate/model.h"

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

/// Serves the replicas under `name` and makes a handle if one is wanted.
Result<void> add(tidegate_runtime& runtime, const std::string& name, std::vector<tidegate::Replica> replicas,
                 const tidegate::ModelOptions& options, tidegate_model** model) {
  // Made first: once the model is added nothing may fail.
  auto handle = std::make_unique<tidegate_model>(runtime.runtime, name);
  auto engine = runtime.runtime->use();
  if (!engine) return engine.error();
  if (auto added = (*engine)->add_model(name, std::move(replicas), options); !added) return added;
  if (model != nullptr) *model = handle.release();
  return {};
}

}  // namespace

tidegate_status tidegate_model_load(tidegate_runtime* runtime, const char* json, size_t length, tidegate_model** model,
                                    tidegate_error** err) noexcept {
  if (model != nullptr) *model = nullptr;
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check(runtime, "runtime"); !ok) return ok;
    const auto text = text_argument(json, length, "json");
    if (!text) return text.error();
    const auto config = tidegate::parse_model_config(*text);
    if (!config) return config.error();
    const SignalsBlocked blocked;
    auto replicas = tidegate::load_replicas(*config);
    if (!replicas) return replicas.error();
    return add(*runtime, config->name, std::move(*replicas), config->options, model);
  });
}

tidegate_status tidegate_model_register(tidegate_runtime* runtime, const char* name, size_t name_length,
                                        const char* json, size_t json_length, const tidegate_backend* table,
                                        tidegate_model** model, tidegate_error** err) noexcept {
  if (model != nullptr) *model = nullptr;
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check(runtime, "runtime"); !ok) return ok;
    const auto given_name = text_argument(name, name_length, "name");
    if (!given_name) return given_name.error();
    const auto text = json == nullptr ? Result<std::string_view>("{}") : text_argument(json, json_length, "json");
    if (!text) return text.error();
    const auto config = tidegate::parse_host_model_config(*given_name, *text);
    if (!config) return config.error();
    const auto known = read_struct(table, "table");
    if (!known) return known.error();
    if (known->run_batch == nullptr) return Error(ErrorCode::invalid_argument, "table: run_batch is NULL");
    if (known->reserved != 0) return Error(ErrorCode::unsupported, "table: reserved is not 0");
    const SignalsBlocked blocked;
    const auto host = std::make_shared<HostModel>(*known);
    auto runner = make_host_runner(host, config->fingerprint, config->rows);
    if (!runner) return runner.error();
    std::vector<tidegate::Replica> replicas;
    replicas.push_back({std::move(*runner), config->replica});
    if (auto added = add(*runtime, config->name, std::move(replicas), config->options, model); !added) return added;
    host->own();
    return {};
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
