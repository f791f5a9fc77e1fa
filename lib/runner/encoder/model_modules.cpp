// modules.json and the modules after the transformer: pooling, dense, normalize.
#include <fmt/format.h>

#include <array>
#include <optional>

#include "base/try.hpp"
#include "runner/encoder/model_config.hpp"

namespace tidegate {
namespace {

constexpr std::uint32_t kMaxWidth = 1U << 20;
constexpr std::size_t kMaxModules = 64;

/// A pooling mode under its three names: boolean field, value of 'pooling_mode', member.
struct PoolingMode {
  const char* field;
  std::string_view word;
  bool PoolingConfig::*member;
};

// In the order in which sentence-transformers concatenates them.
constexpr std::array<PoolingMode, 6> kPoolingModes{{
    {"pooling_mode_cls_token", "cls", &PoolingConfig::cls_token},
    {"pooling_mode_max_tokens", "max", &PoolingConfig::max_tokens},
    {"pooling_mode_mean_tokens", "mean", &PoolingConfig::mean_tokens},
    {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", &PoolingConfig::mean_sqrt_len_tokens},
    {"pooling_mode_weightedmean_tokens", "weightedmean", &PoolingConfig::weighted_mean_tokens},
    {"pooling_mode_lasttoken", "lasttoken", &PoolingConfig::last_token},
}};

/// Dropout changes nothing outside training, so it has no kind of its own.
Result<std::optional<ModuleKind>> kind_of(const JsonFields& fields) {
  TIDEGATE_TRY(const auto type, fields.text("type"));
  if (!type) return fields.wrong("type", "a sentence-transformers module");
  const std::string_view name = std::string_view(*type).substr(type->rfind('.') + 1);
  if (type->starts_with("sentence_transformers.")) {
    if (name == "Transformer") return std::optional(ModuleKind::transformer);
    if (name == "Pooling") return std::optional(ModuleKind::pooling);
    if (name == "Dense") return std::optional(ModuleKind::dense);
    if (name == "Normalize") return std::optional(ModuleKind::normalize);
    if (name == "Dropout") return std::optional<ModuleKind>{};
  }
  return fields.wrong("type", "Transformer, Pooling, Dense, Normalize or Dropout of sentence_transformers",
                      ErrorCode::unsupported);
}

/// Only the transformer may lie in the model folder itself: there, config.json is its own.
Result<std::string> module_path(const JsonFields& fields, std::optional<ModuleKind> kind) {
  TIDEGATE_TRY(const auto path, fields.text("path"));
  if (!path) return fields.wrong("path", "a path inside the folder");
  std::string trimmed = *path;
  while (trimmed.size() > 1 && trimmed.ends_with('/')) trimmed.pop_back();
  if (trimmed.empty() && (kind == ModuleKind::pooling || kind == ModuleKind::dense)) {
    return fields.wrong("path", "a folder of its own");
  }
  if (!trimmed.empty() && !ModelFolder::stays_inside(trimmed)) return fields.wrong("path", "a path inside the folder");
  return trimmed;
}

Result<void> check_order(const std::vector<ModelModule>& modules, const std::string& file) {
  const auto wrong = [&](const std::string& found) {
    return Error(ErrorCode::unsupported,
                 fmt::format("'{}': {}, expected a Transformer, a Pooling, then any Dense and Normalize", file, found));
  };
  if (modules.empty() || modules[0].kind != ModuleKind::transformer) return wrong("the first module is another one");
  if (modules.size() < 2 || modules[1].kind != ModuleKind::pooling) return wrong("the second module is another one");
  for (std::size_t i = 2; i < modules.size(); ++i) {
    if (modules[i].kind == ModuleKind::transformer || modules[i].kind == ModuleKind::pooling) {
      return wrong(fmt::format("module {} is a second one of its kind", i));
    }
  }
  return {};
}

/// Newer folders name the modes by 'pooling_mode': one word or a list of words.
Result<PoolingConfig> pooling_by_word(const JsonFields& fields, const JsonValue& words) {
  JsonValue::Array single;
  const JsonValue::Array* list = words.as_array();
  if (list == nullptr) {
    single.push_back(words);
    list = &single;
  }
  PoolingConfig pooling;
  std::size_t next = 0;
  for (const JsonValue& word : *list) {
    const std::string* name = word.as_string();
    // Modes out of this order would concatenate in another one than ours.
    while (name != nullptr && next < kPoolingModes.size() && kPoolingModes[next].word != *name) ++next;
    if (name == nullptr || next == kPoolingModes.size()) {
      return Error(ErrorCode::unsupported,
                   fmt::format("'{}': field 'pooling_mode' holds {}, expected some of cls, max, mean, "
                               "mean_sqrt_len_tokens, weightedmean, lasttoken, in this order",
                               fields.file(), word.describe()));
    }
    pooling.*kPoolingModes[next++].member = true;
  }
  return pooling;
}

Result<PoolingConfig> pooling_by_flags(const JsonFields& fields) {
  PoolingConfig pooling;
  pooling.mean_tokens = true;  // sentence-transformers' default where the field is absent
  for (const PoolingMode& mode : kPoolingModes) {
    TIDEGATE_TRY(const auto set, fields.flag(mode.field));
    if (set) pooling.*mode.member = *set;
  }
  return pooling;
}

/// A mode of a later version must not be dropped in silence.
Result<void> check_no_other_modes(const JsonFields& fields, const JsonValue& root) {
  for (const JsonMember& entry : *root.as_object()) {
    if (!entry.name.starts_with("pooling_mode_")) continue;
    bool known = false;
    for (const PoolingMode& mode : kPoolingModes) known = known || entry.name == mode.field;
    const auto* set = std::get_if<bool>(&entry.value.content);
    if (!known && (set == nullptr || *set)) {
      return Error(ErrorCode::unsupported, fmt::format("'{}': field {} is a pooling mode this reader does not know",
                                                       fields.file(), quote_name(entry.name)));
    }
  }
  return {};
}

Result<Activation> read_dense_activation(const JsonFields& fields) {
  TIDEGATE_TRY(const auto stored, fields.text("activation_function"));
  if (!stored) return Activation::tanh;  // sentence-transformers' default
  const std::string_view name = std::string_view(*stored).substr(stored->rfind('.') + 1);
  if (stored->starts_with("torch.nn.")) {
    if (name == "Tanh") return Activation::tanh;
    if (name == "Identity") return Activation::identity;
    if (name == "ReLU") return Activation::relu;
    if (name == "GELU") return Activation::gelu_erf;
  }
  return fields.wrong("activation_function", "Tanh, Identity, ReLU or GELU of torch.nn", ErrorCode::unsupported);
}

}  // namespace

Result<std::vector<ModelModule>> read_modules(ModelFolder& folder) {
  const std::string file = "modules.json";
  TIDEGATE_TRY(const auto root, folder.read_json(file));
  std::vector<ModelModule> modules;
  if (!root) return modules;
  const JsonValue::Array* list = root->as_array();
  if (list == nullptr || list->size() > kMaxModules) {
    return Error(ErrorCode::corrupt_data, fmt::format("'{}' holds {}, expected a list of at most {} modules", file,
                                                      root->describe(), kMaxModules));
  }
  for (const JsonValue& item : *list) {
    TIDEGATE_TRY(const JsonFields fields, JsonFields::of(item, file));
    TIDEGATE_TRY(const auto kind, kind_of(fields));
    TIDEGATE_TRY(std::string path, module_path(fields, kind));
    if (kind) modules.push_back({*kind, std::move(path)});
  }
  TIDEGATE_CHECK(check_order(modules, file));
  return modules;
}

Result<PoolingConfig> read_pooling(ModelFolder& folder, const std::string& part, std::uint32_t width) {
  const std::string file = ModelFolder::join(part, "config.json");
  TIDEGATE_TRY(const JsonValue root, folder.read_required_json(file));
  TIDEGATE_TRY(const JsonFields fields, JsonFields::of(root, file));
  const char* field =
      fields.find("embedding_dimension") != nullptr ? "embedding_dimension" : "word_embedding_dimension";
  TIDEGATE_TRY(const std::uint32_t stored, fields.required_count(field, 1, kMaxWidth));
  if (stored != width) return fields.wrong(field, fmt::format("the model's hidden_size {}", width));
  const JsonValue* words = fields.find("pooling_mode");
  TIDEGATE_CHECK(check_no_other_modes(fields, root));
  TIDEGATE_TRY(PoolingConfig pooling, words != nullptr ? pooling_by_word(fields, *words) : pooling_by_flags(fields));
  if (mode_count(pooling) == 0) {
    return words != nullptr ? fields.wrong("pooling_mode", "at least one mode")
                            : fields.wrong("pooling_mode_mean_tokens", "true here or for another mode");
  }
  TIDEGATE_TRY(const auto include_prompt, fields.flag("include_prompt"));
  pooling.include_prompt = include_prompt.value_or(true);
  return pooling;
}

std::uint32_t mode_count(const PoolingConfig& pooling) noexcept {
  std::uint32_t count = 0;
  for (const PoolingMode& mode : kPoolingModes) count += pooling.*mode.member ? 1 : 0;
  return count;
}

Result<DenseConfig> read_dense(ModelFolder& folder, const std::string& part, std::uint32_t width) {
  const std::string file = ModelFolder::join(part, "config.json");
  TIDEGATE_TRY(const JsonValue root, folder.read_required_json(file));
  TIDEGATE_TRY(const JsonFields fields, JsonFields::of(root, file));
  DenseConfig dense;
  TIDEGATE_TRY(dense.in_features, fields.required_count("in_features", 1, kMaxWidth));
  if (dense.in_features != width) {
    return fields.wrong("in_features", fmt::format("{}, the width of the module before it", width));
  }
  TIDEGATE_TRY(dense.out_features, fields.required_count("out_features", 1, kMaxWidth));
  TIDEGATE_TRY(const auto bias, fields.flag("bias"));
  dense.has_bias = bias.value_or(true);
  TIDEGATE_TRY(dense.activation, read_dense_activation(fields));
  for (const char* field : {"module_input_name", "module_output_name"}) {
    TIDEGATE_TRY(const auto name, fields.text(field));
    if (name.value_or("sentence_embedding") != "sentence_embedding") {
      return fields.wrong(field, "'sentence_embedding'", ErrorCode::unsupported);
    }
  }
  return dense;
}

}  // namespace tidegate
