#include "runner/encoder/model_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/try.hpp"

namespace tidegate {
namespace {

// Far above every published BERT; low enough that no product of two sizes overflows.
constexpr std::uint32_t kMaxVocabulary = 1U << 24;
constexpr std::uint32_t kMaxHidden = 1U << 16;
constexpr std::uint32_t kMaxIntermediate = 1U << 18;
constexpr std::uint32_t kMaxLayers = 1024;
constexpr std::uint32_t kMaxPositions = 1U << 20;
constexpr std::uint32_t kMaxTokenTypes = 1U << 16;
constexpr std::uint32_t kMinTokens = 3;  // [CLS], one token, [SEP]
constexpr std::size_t kMaxPromptBytes = std::size_t{64} << 10;

Result<void> check_architecture(const JsonFields& fields) {
  TIDEGATE_TRY(const auto model_type, fields.text("model_type"));
  if (model_type != "bert") return fields.wrong("model_type", "'bert'", ErrorCode::unsupported);
  if (const JsonValue* list = fields.find("architectures")) {
    if (list->as_array() == nullptr) return fields.wrong("architectures", "a list of strings");
    for (const JsonValue& item : *list->as_array()) {
      const std::string* name = item.as_string();
      if (name != nullptr && (*name == "BertModel" || name->starts_with("BertFor"))) continue;
      return Error(ErrorCode::unsupported, fmt::format("'{}': field 'architectures' holds {}, expected BertModel or "
                                                       "BertFor...",
                                                       fields.file(), item.describe()));
    }
  }
  for (const char* field : {"is_decoder", "add_cross_attention"}) {
    TIDEGATE_TRY(const auto set, fields.flag(field));
    if (set.value_or(false)) return fields.wrong(field, "false (an encoder)", ErrorCode::unsupported);
  }
  TIDEGATE_TRY(const auto positions, fields.text("position_embedding_type"));
  if (positions.value_or("absolute") != "absolute") {
    return fields.wrong("position_embedding_type", "'absolute'", ErrorCode::unsupported);
  }
  if (fields.find("quantization_config") != nullptr) {
    return fields.wrong("quantization_config", "no quantized weights", ErrorCode::unsupported);
  }
  return {};
}

Result<Activation> read_hidden_activation(const JsonFields& fields) {
  TIDEGATE_TRY(const auto name, fields.text("hidden_act"));
  if (!name || *name == "gelu" || *name == "gelu_python") return Activation::gelu_erf;
  if (*name == "gelu_new" || *name == "gelu_pytorch_tanh") return Activation::gelu_tanh;
  if (*name == "relu") return Activation::relu;
  return fields.wrong("hidden_act", "'gelu', 'gelu_new', 'gelu_pytorch_tanh' or 'relu'", ErrorCode::unsupported);
}

Result<float> read_layer_norm_eps(const JsonFields& fields) {
  TIDEGATE_TRY(const auto stored, fields.number("layer_norm_eps"));
  const double eps = stored.value_or(1e-12);
  // Also refuses NaN, and what f32 rounds to zero.
  if (!(eps <= 1.0) || !(static_cast<float>(eps) > 0.0F)) {
    return fields.wrong("layer_norm_eps", "a number above 0, at most 1");
  }
  return static_cast<float>(eps);
}

/// A limit that is a number of tokens; huge values are how the tokenizer's authors say "none".
Result<std::optional<std::uint32_t>> read_token_limit(const JsonFields& fields, const char* field) {
  TIDEGATE_TRY(const auto limit, fields.number(field));
  if (!limit || *limit > kMaxPositions) return std::optional<std::uint32_t>{};
  if (!(*limit >= kMinTokens) || *limit != std::floor(*limit)) {
    return fields.wrong(field, fmt::format("an integer of at least {}", kMinTokens));
  }
  return std::optional(static_cast<std::uint32_t>(*limit));
}

Result<void> check_sentence_bert_config(const JsonFields& fields) {
  TIDEGATE_TRY(const auto task, fields.text("transformer_task"));
  if (task.value_or("feature-extraction") != "feature-extraction") {
    return fields.wrong("transformer_task", "'feature-extraction'", ErrorCode::unsupported);
  }
  return {};
}

}  // namespace

Result<EncoderConfig> read_encoder_config(ModelFolder& folder, const std::string& part) {
  const std::string file = ModelFolder::join(part, "config.json");
  TIDEGATE_TRY(const JsonValue root, folder.read_required_json(file));
  TIDEGATE_TRY(const JsonFields fields, JsonFields::of(root, file));
  TIDEGATE_CHECK(check_architecture(fields));
  EncoderConfig config;
  TIDEGATE_TRY(config.vocab_size, fields.required_count("vocab_size", 1, kMaxVocabulary));
  TIDEGATE_TRY(config.hidden_size, fields.required_count("hidden_size", 1, kMaxHidden));
  TIDEGATE_TRY(config.layers, fields.required_count("num_hidden_layers", 1, kMaxLayers));
  TIDEGATE_TRY(config.heads, fields.required_count("num_attention_heads", 1, kMaxHidden));
  TIDEGATE_TRY(config.intermediate_size, fields.required_count("intermediate_size", 1, kMaxIntermediate));
  TIDEGATE_TRY(config.max_positions, fields.required_count("max_position_embeddings", kMinTokens, kMaxPositions));
  TIDEGATE_TRY(const auto token_types, fields.count("type_vocab_size", 1, kMaxTokenTypes));
  config.token_types = token_types.value_or(2);  // BertConfig's default
  if (config.hidden_size % config.heads != 0) {
    return fields.wrong("num_attention_heads", fmt::format("a divisor of 'hidden_size' {}", config.hidden_size));
  }
  TIDEGATE_TRY(config.activation, read_hidden_activation(fields));
  TIDEGATE_TRY(config.layer_norm_eps, read_layer_norm_eps(fields));
  return config;
}

Result<std::uint32_t> read_max_tokens(ModelFolder& folder, const std::string& part, const EncoderConfig& config) {
  std::uint32_t limit = config.max_positions;
  std::optional<bool> lower_case_first;
  const std::string sentence_file = ModelFolder::join(part, "sentence_bert_config.json");
  TIDEGATE_TRY(const auto sentence_root, folder.read_json(sentence_file));
  if (sentence_root) {
    TIDEGATE_TRY(const JsonFields fields, JsonFields::of(*sentence_root, sentence_file));
    TIDEGATE_CHECK(check_sentence_bert_config(fields));
    TIDEGATE_TRY(lower_case_first, fields.flag("do_lower_case"));
    TIDEGATE_TRY(const auto length, read_token_limit(fields, "max_seq_length"));
    limit = std::min(limit, length.value_or(limit));
  }
  const std::string tokenizer_file = ModelFolder::join(part, "tokenizer_config.json");
  TIDEGATE_TRY(const auto tokenizer_root, folder.read_json(tokenizer_file));
  if (tokenizer_root) {
    TIDEGATE_TRY(const JsonFields fields, JsonFields::of(*tokenizer_root, tokenizer_file));
    TIDEGATE_TRY(const auto lower_case, fields.flag("do_lower_case"));
    if (lower_case_first.value_or(false) && !lower_case.value_or(true)) {
      // Texts lower-cased before a tokenizer that keeps case: nobody does that first step here.
      return fields.wrong("do_lower_case", fmt::format("true, as '{}' says", sentence_file), ErrorCode::unsupported);
    }
    TIDEGATE_TRY(const auto length, read_token_limit(fields, "model_max_length"));
    limit = std::min(limit, length.value_or(limit));
  }
  return limit;
}

Result<PromptConfig> read_prompts(ModelFolder& folder) {
  const std::string file = "config_sentence_transformers.json";
  TIDEGATE_TRY(const auto root, folder.read_json(file));
  PromptConfig config;
  if (!root) return config;
  TIDEGATE_TRY(const JsonFields fields, JsonFields::of(*root, file));
  TIDEGATE_TRY(const auto model_type, fields.text("model_type"));
  if (model_type.value_or("SentenceTransformer") != "SentenceTransformer") {
    return fields.wrong("model_type", "'SentenceTransformer'", ErrorCode::unsupported);
  }
  if (fields.find("truncate_dim") != nullptr) {
    return fields.wrong("truncate_dim", "none", ErrorCode::unsupported);
  }
  if (const JsonValue* prompts = fields.find("prompts")) {
    if (prompts->as_object() == nullptr) return fields.wrong("prompts", "an object of strings");
    for (const JsonMember& entry : *prompts->as_object()) {
      const std::string* prompt = entry.value.as_string();
      if (prompt == nullptr || prompt->size() > kMaxPromptBytes) {
        return fields.wrong("prompts", fmt::format("an object of strings of at most {} bytes, also for {}",
                                                   kMaxPromptBytes, quote_name(entry.name)));
      }
      config.prompts.emplace(entry.name, *prompt);
    }
  }
  TIDEGATE_TRY(const auto chosen, fields.text("default_prompt_name"));
  config.default_prompt = chosen.value_or("");
  if (chosen && !config.prompts.contains(*chosen)) return fields.wrong("default_prompt_name", "a name in 'prompts'");
  return config;
}

}  // namespace tidegate
