// The C functions of settings.
#include "arguments.hpp"
#include "boundary.hpp"
#include "settings.hpp"

using namespace tidegate::capi;  // NOLINT: the C functions below are the API of this namespace
using tidegate::Result;

tidegate_status tidegate_config_create(tidegate_config** config, tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check_output(config, "config"); !ok) return ok;
    *config = new tidegate_config;
    return {};
  });
}

tidegate_status tidegate_config_merge_json(tidegate_config* config, const char* json, size_t length,
                                           tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check(config, "config"); !ok) return ok;
    const auto text = text_argument(json, length, "json");
    if (!text) return text.error();
    auto merged = tidegate::merge_config(config->values, *text);
    if (!merged) return merged.error();
    config->values = std::move(*merged);
    return {};
  });
}

tidegate_status tidegate_config_dump_json(const tidegate_config* config, char** text, size_t* length,
                                          tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check_output(text, "text"); !ok) return ok;
    if (auto ok = check(config, "config"); !ok) return ok;
    give_text(tidegate::dump_config(config->values), text, length);
    return {};
  });
}

const char* tidegate_config_schema_json(size_t* length) noexcept {
  return guarded_value<const char*>(nullptr, [length] {
    // Never destroyed: the library has no static destructors.
    static const std::string* const schema = new std::string(tidegate::config_schema_json());
    if (length != nullptr) *length = schema->size();
    return schema->c_str();
  });
}

void tidegate_config_release(tidegate_config* config) noexcept {
  if (is_live(config)) delete config;
}
