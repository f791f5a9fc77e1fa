// JSON in and out of the configuration table.
#include <algorithm>
#include <bit>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include "base/try.hpp"
#include "engine/config_schema.hpp"
#include "engine/json_tree.hpp"
#include "tidegate/cache_presets.hpp"

namespace tidegate {
namespace {

using config::Field;
using config::kListKey;
using config::Value;
using config::ValueType;

constexpr std::size_t kMaxJsonBytes = 16U << 20;
constexpr std::size_t kMaxKeyShown = 128;

Error invalid(std::string message) { return Error(ErrorCode::invalid_argument, std::move(message)); }

/// A key as given by the user, cut to a printable length.
std::string shown(std::string_view key) {
  std::string text;
  for (const char c : key.substr(0, kMaxKeyShown)) {
    const auto byte = static_cast<unsigned char>(c);
    text += byte < 0x20 || byte == 0x7f ? '?' : c;
  }
  return key.size() > kMaxKeyShown ? text + "..." : text;
}

Result<JsonTree> parse_object(std::string_view json) {
  if (json.size() > kMaxJsonBytes) return invalid("the configuration is larger than 16 MiB");
  if (json.find('\0') != std::string_view::npos) return invalid("the configuration holds a NUL byte");
  auto parsed = parse_json_tree(json);
  if (!parsed) return invalid("the configuration cannot be read: " + std::string(parsed.error().message()));
  if (parsed->as<JsonTree::Object>() == nullptr) return invalid("the configuration must be a JSON object");
  return parsed;
}

template <class Target>
const Field<Target>* find_field(std::span<const Field<Target>> fields, std::string_view key) {
  const auto found = std::find_if(fields.begin(), fields.end(), [key](const auto& f) { return f.key == key; });
  return found == fields.end() ? nullptr : &*found;
}

/// The last part of a dotted key counts as well, so "shard" finds "cache.memory.shards", and
/// so does its beginning: "weight" finds "weight_percent". A single edit of a whole key is nearer
/// than the last part of another one.
std::size_t distance(std::string_view given, std::string_view key) {
  constexpr std::size_t kLastPart = 3;
  constexpr std::size_t kBeginning = kLastPart + 2;
  const std::string_view last = key.substr(key.rfind('.') + 1);
  const std::string_view given_last = given.substr(given.rfind('.') + 1);
  if (given_last.size() >= 3 && last.size() > given_last.size() + 1 && last.starts_with(given_last)) return kBeginning;
  return std::min(2 * config::edit_distance(given, key), kLastPart + 2 * config::edit_distance(given_last, last));
}

template <class Target>
Error unknown_key(std::span<const Field<Target>> fields, std::string_view where, std::string_view key) {
  const std::string_view given = key.substr(0, kMaxKeyShown);
  std::string_view nearest = fields.front().key;
  std::size_t best = std::numeric_limits<std::size_t>::max();
  const auto consider = [&](std::string_view candidate) {
    if (const std::size_t d = distance(given, candidate); d < best) {
      best = d;
      nearest = candidate;
    }
  };
  for (const Field<Target>& field : fields) consider(field.key);
  if (!kListKey<Target>.empty()) consider(kListKey<Target>);
  return invalid("unknown key '" + std::string(where) + shown(key) + "'; the nearest is '" + std::string(where) +
                 std::string(nearest) + "'");
}

std::string kinds_text(std::uint32_t kinds) {
  std::string text;
  for (const ModelKind kind : {ModelKind::encoder, ModelKind::torchscript, ModelKind::synthetic, ModelKind::host}) {
    if ((kinds & config::bit(kind)) == 0) continue;
    if (!text.empty()) text += " or ";
    text += config::to_string(kind);
  }
  return text;
}

bool is_one_of(std::string_view values, std::string_view value) {
  const auto list = config::split_values(values);
  return std::find(list.begin(), list.end(), value) != list.end();
}

Error wrong_choice(std::string_view values, const std::string& key, std::string_view value) {
  std::string choices = "one of " + std::string(values);
  if (values.starts_with('|')) choices = "empty or one of " + std::string(values.substr(1));
  const std::string nearest(config::nearest_value(values, value.substr(0, kMaxKeyShown)));
  return invalid("key '" + key + "' must be " + choices + ", not '" + shown(value) + "'" +
                 (nearest.empty() ? "" : "; the nearest is '" + nearest + "'"));
}

/// nullopt if it is no integer or does not fit.
std::optional<std::int64_t> integer_of(const JsonTree& json) {
  if (const auto* const number = json.as<std::int64_t>()) return *number;
  const auto* const number = json.as<std::uint64_t>();
  if (number == nullptr || *number > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) return std::nullopt;
  return static_cast<std::int64_t>(*number);
}

template <class Target>
Result<Value> read_integer(const Field<Target>& field, const std::string& key, const JsonTree& json) {
  const std::optional<std::int64_t> value = integer_of(json);
  if (value && *value >= field.minimum && *value <= field.maximum) return Value(*value);
  return invalid("key '" + key + "' must be an integer from " + std::to_string(field.minimum) + " to " +
                 std::to_string(field.maximum) + (field.unit.empty() ? "" : " ") + std::string(field.unit) + ", not " +
                 json.shown());
}

template <class Target>
Result<Value> read_string(const Field<Target>& field, const std::string& key, const JsonTree& json) {
  const auto* const value = json.as<std::string>();
  if (value == nullptr) return invalid("key '" + key + "' must be a string, not " + json.shown());
  if (!field.values.empty() && !is_one_of(field.values, *value)) return wrong_choice(field.values, key, *value);
  const auto length = static_cast<std::int64_t>(value->size());
  if (length < field.minimum || length > field.maximum) {
    return invalid("key '" + key + "' must have " + std::to_string(field.minimum) + " to " +
                   std::to_string(field.maximum) + " bytes, not " + std::to_string(length));
  }
  if (value->find('\0') != std::string::npos) return invalid("key '" + key + "' holds a NUL byte");
  return Value(*value);
}

/// Sets fields of one Target from one object and remembers which keys were given.
template <class Target>
class Reader {
 public:
  Reader(Target& target, std::span<const Field<Target>> fields, std::string where)
      : target_(target), fields_(fields), where_(std::move(where)) {}

  /// `take_list` gets the value of the scope's list key.
  template <class TakeList>
  Result<void> read(const JsonTree::Object& object, const std::string& prefix, TakeList&& take_list) {
    for (const auto& [name, value] : object) {
      const std::string key = prefix + name;
      if (!kListKey<Target>.empty() && key == kListKey<Target>) {
        if (!given_.insert(kListKey<Target>).second) return given_twice(key);
        TIDEGATE_CHECK(take_list(value));
        continue;
      }
      const Field<Target>* const field = find_field(fields_, key);
      const auto* const members = value.template as<JsonTree::Object>();
      if (field == nullptr && members != nullptr && is_prefix(key + '.')) {
        TIDEGATE_CHECK(read(*members, key + '.', take_list));
        continue;
      }
      if (field == nullptr) return unknown_key(fields_, where_, key);
      TIDEGATE_CHECK(set(*field, value));
    }
    return {};
  }

  /// Sets the fields that were read and are `chosen` by their keys, in the order they were given.
  template <class Chosen>
  void apply(Chosen&& chosen) {
    for (const auto& [field, value] : read_) {
      if (chosen(field->key)) field->set(target_, value);
    }
    std::erase_if(read_, [&](const auto& one) { return chosen(one.first->key); });
  }
  void apply_all() {
    apply([](std::string_view) { return true; });
  }

  [[nodiscard]] const std::set<std::string_view>& given() const noexcept { return given_; }

 private:
  bool is_prefix(std::string_view prefix) const {
    return std::any_of(fields_.begin(), fields_.end(), [prefix](const auto& f) { return f.key.starts_with(prefix); });
  }

  Error given_twice(std::string_view key) const {
    return invalid("key '" + where_ + std::string(key) + "' is given twice");
  }

  Result<void> set(const Field<Target>& field, const JsonTree& json) {
    const std::string key = where_ + std::string(field.key);
    if (!given_.insert(field.key).second) return given_twice(field.key);
    TIDEGATE_TRY(Value value,
                 field.type == ValueType::integer ? read_integer(field, key, json) : read_string(field, key, json));
    read_.emplace_back(&field, std::move(value));  // a copy that finds no memory is undefined in libstdc++ 12
    return {};
  }

  Target& target_;
  std::span<const Field<Target>> fields_;
  std::string where_;
  std::set<std::string_view> given_{};
  std::vector<std::pair<const Field<Target>*, Value>> read_{};  ///< not applied yet
};

Result<void> check_model(const ModelConfig& model, const std::set<std::string_view>& given, const std::string& where) {
  for (const Field<ModelConfig>& field : config::model_fields()) {
    if (given.contains(field.key) && (field.kinds & config::bit(model.kind)) == 0) {
      return invalid("key '" + where + std::string(field.key) + "' applies to kind " + kinds_text(field.kinds) +
                     ", not to " + std::string(config::to_string(model.kind)));
    }
  }
  const auto missing = [&](std::string_view key) {
    return invalid("key '" + where + std::string(key) + "' is missing: kind " +
                   std::string(config::to_string(model.kind)) + " needs it");
  };
  if (model.name.empty()) return missing("name");
  if (model.kind == ModelKind::encoder && model.folder.empty()) return missing("folder");
  if (model.kind == ModelKind::torchscript && model.file.empty()) return missing("file");
  if (model.kind == ModelKind::torchscript && model.sha256.empty()) return missing("sha256");
  return {};
}

Result<TenantOptions> read_tenant(const JsonTree& json, const std::string& where) {
  const auto* const object = json.as<JsonTree::Object>();
  if (object == nullptr) return invalid("'" + where + "' must be an object");
  TenantOptions tenant;
  Reader<TenantOptions> reader(tenant, config::tenant_fields(), where + '.');
  TIDEGATE_CHECK(reader.read(*object, "", [](const JsonTree&) { return Result<void>(); }));
  reader.apply_all();
  if (tenant.name.empty()) return invalid("key '" + where + ".name' is missing: a listed tenant needs it");
  return tenant;
}

/// A list of objects with names that differ; `noun` is what one of them is.
template <class Read>
auto read_list(const JsonTree& json, const std::string& key, const char* noun, Read&& read_one) {
  using Entry = std::remove_cvref_t<decltype(*read_one(json, key))>;
  using Entries = Result<std::vector<Entry>>;
  const auto* const list = json.as<JsonTree::Array>();
  if (list == nullptr) return Entries(invalid("key '" + key + "' must be a list of objects"));
  std::vector<Entry> entries;
  for (const JsonTree& one : *list) {
    const std::string where = key + '[' + std::to_string(entries.size()) + ']';
    auto entry = read_one(one, where);
    if (!entry) return Entries(std::move(entry).error());
    const auto same = [&](const Entry& other) { return other.name == entry->name; };
    if (std::any_of(entries.begin(), entries.end(), same)) {
      return Entries(
          invalid("key '" + where + ".name': the name '" + shown(entry->name) + "' is taken by another " + noun));
    }
    entries.push_back(*std::move(entry));
  }
  return Entries(std::move(entries));
}

Result<ModelConfig> read_model(const JsonTree& json, ModelConfig base, const std::string& where) {
  const auto* const object = json.as<JsonTree::Object>();
  if (object == nullptr) return invalid("'" + where + "' must be an object");
  const std::string prefix = where.empty() ? "" : where + '.';
  Reader<ModelConfig> reader(base, config::model_fields(), prefix);
  TIDEGATE_CHECK(reader.read(*object, "", [&](const JsonTree& list) -> Result<void> {
    TIDEGATE_TRY(base.options.admission.tenants,
                 read_list(list, prefix + std::string(kListKey<ModelConfig>), "tenant", read_tenant));
    return {};
  }));
  reader.apply_all();
  TIDEGATE_CHECK(check_model(base, reader.given(), prefix));
  return base;
}

JsonTree text(std::string_view value) { return {std::string(value)}; }

JsonTree to_json(const Value& value) {
  if (const auto* const number = std::get_if<std::int64_t>(&value)) return {*number};
  return text(*std::get_if<std::string>(&value));
}

template <class Target>
JsonTree::Object dump_fields(const Target& target, std::span<const Field<Target>> fields) {
  JsonTree::Object object;
  for (const Field<Target>& field : fields) object.push_back({std::string(field.key), to_json(field.get(target))});
  return object;
}

JsonTree dump_model(const ModelConfig& model) {
  JsonTree::Object object;
  for (const Field<ModelConfig>& field : config::model_fields()) {
    if ((field.kinds & config::bit(model.kind)) == 0) continue;
    object.push_back({std::string(field.key), to_json(field.get(model))});
  }
  JsonTree::Array tenants;
  for (const TenantOptions& tenant : model.options.admission.tenants) {
    tenants.push_back({dump_fields(tenant, config::tenant_fields())});
  }
  object.push_back({std::string(kListKey<ModelConfig>), {std::move(tenants)}});
  return {std::move(object)};
}

template <class Target>
JsonTree describe(const Field<Target>& field) {
  JsonTree::Object row;
  const auto add = [&row](const char* name, JsonTree value) { row.push_back({name, std::move(value)}); };
  add("key", text(field.key));
  add("type", text(field.type == ValueType::integer ? "integer" : "string"));
  add("unit", text(field.unit));
  add("default", to_json(field.get(Target{})));
  if (field.type == ValueType::integer) {
    add("minimum", {field.minimum});
    add("maximum", {field.maximum});
  } else if (field.values.empty()) {
    add("min_length", {field.minimum});
    add("max_length", {field.maximum});
  }
  if (!field.values.empty()) {
    JsonTree::Array values;
    for (const std::string_view value : config::split_values(field.values)) values.push_back(text(value));
    add("values", {std::move(values)});
  }
  if (field.kinds != ~0U) add("kinds", text(kinds_text(field.kinds)));
  add("since", text(field.since));
  add("text", text(field.text));
  return {std::move(row)};
}

template <class Target>
JsonTree describe(std::span<const Field<Target>> fields) {
  JsonTree::Array list;
  for (const Field<Target>& field : fields) list.push_back(describe(field));
  return {std::move(list)};
}

}  // namespace

Result<EngineConfig> merge_config(EngineConfig base, std::string_view json) {
  TIDEGATE_TRY(const JsonTree tree, parse_object(json));
  Reader<EngineConfig> reader(base, config::engine_fields(), "");
  TIDEGATE_CHECK(reader.read(*tree.as<JsonTree::Object>(), "", [&base](const JsonTree& list) -> Result<void> {
    TIDEGATE_TRY(base.models,
                 read_list(list, std::string(kListKey<EngineConfig>), "model",
                           [](const JsonTree& one, const std::string& where) { return read_model(one, {}, where); }));
    return {};
  }));
  reader.apply([](std::string_view key) { return key.starts_with("cache.preset"); });
  const bool begins_anew =
      reader.given().contains("cache.preset") || reader.given().contains("cache.preset_answer_bytes");
  if (const auto preset = cache_preset_of(base.cache_preset); preset && begins_anew) {
    base.engine.cache = with_preset(std::move(base.engine.cache), *preset, base.cache_preset_answer_bytes);
  }
  reader.apply_all();
  if (!std::has_single_bit(base.engine.cache.memory.shards)) {
    return invalid("key 'cache.memory.shards' must be a power of two from 1 to 256, not " +
                   std::to_string(base.engine.cache.memory.shards));
  }
  return base;
}

Result<EngineConfig> parse_config(std::string_view json) { return merge_config(EngineConfig{}, json); }

Result<ModelConfig> parse_model_config(std::string_view json, ModelConfig base) {
  TIDEGATE_TRY(const JsonTree tree, parse_object(json));
  return read_model(tree, std::move(base), "");
}

Result<ModelConfig> parse_host_model_config(std::string_view name, std::string_view json) {
  if (name.empty()) return invalid("the model needs a name");
  ModelConfig base;
  base.kind = ModelKind::host;
  base.name = name;
  TIDEGATE_TRY(ModelConfig model, parse_model_config(json, std::move(base)));
  if (model.kind != ModelKind::host) return invalid("key 'kind' does not apply to a model supplied by the program");
  if (model.name != name) return invalid("key 'name' differs from the name the model is registered under");
  return model;
}

std::string dump_config(const EngineConfig& config) {
  JsonTree::Object object = dump_fields(config, config::engine_fields());
  JsonTree::Array models;
  for (const ModelConfig& model : config.models) models.push_back(dump_model(model));
  object.push_back({std::string(kListKey<EngineConfig>), {std::move(models)}});
  return write_json_tree({std::move(object)});
}

std::string config_schema_json() {
  JsonTree::Object object;
  object.push_back({"runtime", describe(config::engine_fields())});
  object.push_back({"model", describe(config::model_fields())});
  object.push_back({"tenant", describe(config::tenant_fields())});
  return write_json_tree({std::move(object)});
}

}  // namespace tidegate
