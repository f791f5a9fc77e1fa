#include "support/random_model.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

namespace tidegate::test {
namespace {

using Json = nlohmann::ordered_json;

/// SplitMix64 (Steele, Lea, Flood 2014): the standard's distributions differ between libraries.
class Numbers {
 public:
  explicit Numbers(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15U);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }
  /// Mean 0, standard deviation 1, bell-shaped: the sum of twelve uniforms, less 6.
  float bell() {
    double sum = -6.0;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>(next() >> 11) * 0x1.0p-53;
    return static_cast<float>(sum);
  }
  std::vector<float> values(std::size_t count, float mean, float deviation) {
    std::vector<float> list(count);
    for (float& value : list) value = mean + deviation * bell();
    return list;
  }

 private:
  std::uint64_t state_;
};

std::uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

/// For finite values; above the largest half gives infinity.
std::uint16_t to_f16(float value) {
  const auto sign = static_cast<std::uint16_t>(std::signbit(value) ? 0x8000U : 0U);
  const double size = std::fabs(static_cast<double>(value));
  if (size >= 65520.0) return static_cast<std::uint16_t>(sign | 0x7C00U);
  const int exponent = size == 0.0 ? -14 : std::max(-14, std::ilogb(size));
  // In steps of the last place; std::nearbyint rounds to nearest even. A carry out
  // of the mantissa moves into the exponent, as it must.
  const auto steps = static_cast<std::uint32_t>(std::nearbyint(std::ldexp(size, 10 - exponent)));
  const bool subnormal = steps < 1024;
  const std::uint32_t bits = subnormal ? steps : (static_cast<std::uint32_t>(exponent + 15) << 10) + (steps - 1024);
  return static_cast<std::uint16_t>(sign | bits);
}

const char* type_word(DataType type) {
  switch (type) {
    case DataType::f32: return "F32";
    case DataType::f16: return "F16";
    case DataType::bf16: return "BF16";
    default: throw std::invalid_argument("weights are f32, f16 or bf16");
  }
}

const char* torch_activation(Activation activation) {
  switch (activation) {
    case Activation::identity: return "torch.nn.modules.linear.Identity";
    case Activation::tanh: return "torch.nn.modules.activation.Tanh";
    case Activation::relu: return "torch.nn.modules.activation.ReLU";
    case Activation::gelu_erf: return "torch.nn.modules.activation.GELU";
    default: throw std::invalid_argument("a dense stage has no such activation");
  }
}

const char* hidden_activation(Activation activation) {
  switch (activation) {
    case Activation::gelu_erf: return "gelu";
    case Activation::gelu_tanh: return "gelu_new";
    case Activation::relu: return "relu";
    default: throw std::invalid_argument("a BERT layer has no such activation");
  }
}

/// Collects tensors in file order.
class TensorList {
 public:
  TensorList(std::uint64_t seed, DataType type) : numbers_(seed), type_(type) {}

  void add(const std::string& name, Shape shape, float mean, float deviation) {
    const auto count = static_cast<std::size_t>(element_count(shape));
    tensors_.push_back(
        {name, type_word(type_), std::move(shape), encode_values(numbers_.values(count, mean, deviation), type_)});
  }
  void add_linear(const std::string& name, std::int64_t out, std::int64_t in) {
    add(name + ".weight", {out, in}, 0.0F, 1.0F / std::sqrt(static_cast<float>(in)));
    add(name + ".bias", {out}, 0.0F, 0.1F);
  }
  void add_norm(const std::string& name, std::int64_t size) {
    add(name + ".weight", {size}, 1.0F, 0.1F);
    add(name + ".bias", {size}, 0.0F, 0.1F);
  }
  std::vector<TensorToStore> take() { return std::move(tensors_); }

 private:
  Numbers numbers_;
  DataType type_;
  std::vector<TensorToStore> tensors_;
};

Json config_json(const RandomModelOptions& options) {
  const EncoderConfig& config = options.config;
  return {{"architectures", {options.name_prefix.empty() ? "BertModel" : "BertForMaskedLM"}},
          {"model_type", "bert"},
          {"attention_probs_dropout_prob", 0.1},
          {"hidden_act", hidden_activation(config.activation)},
          {"hidden_dropout_prob", 0.1},
          {"hidden_size", config.hidden_size},
          {"intermediate_size", config.intermediate_size},
          {"layer_norm_eps", config.layer_norm_eps},
          {"max_position_embeddings", config.max_positions},
          {"num_attention_heads", config.heads},
          {"num_hidden_layers", config.layers},
          {"pad_token_id", 0},
          {"position_embedding_type", "absolute"},
          {"type_vocab_size", config.token_types},
          {"vocab_size", config.vocab_size}};
}

Json pooling_json(const RandomModelOptions& options) {
  const PoolingConfig& pooling = options.pooling;
  return {{"word_embedding_dimension", options.config.hidden_size},
          {"pooling_mode_cls_token", pooling.cls_token},
          {"pooling_mode_mean_tokens", pooling.mean_tokens},
          {"pooling_mode_max_tokens", pooling.max_tokens},
          {"pooling_mode_mean_sqrt_len_tokens", pooling.mean_sqrt_len_tokens},
          {"pooling_mode_weightedmean_tokens", pooling.weighted_mean_tokens},
          {"pooling_mode_lasttoken", pooling.last_token},
          {"include_prompt", pooling.include_prompt}};
}

std::uint32_t pooled_width(const RandomModelOptions& options) {
  const PoolingConfig& p = options.pooling;
  const int modes =
      p.cls_token + p.max_tokens + p.mean_tokens + p.mean_sqrt_len_tokens + p.weighted_mean_tokens + p.last_token;
  return options.config.hidden_size * static_cast<std::uint32_t>(modes);
}

void write_json(const TemporaryFolder& folder, const std::string& name, const Json& value) {
  folder.write(name, value.dump(2));
}

/// Writes one dense module; answers the width after it.
std::uint32_t write_dense(const TemporaryFolder& folder, const std::string& part, const RandomModelOptions& options,
                          const RandomDense& dense, std::uint32_t width) {
  write_json(folder, part + "/config.json",
             {{"in_features", width},
              {"out_features", dense.out_features},
              {"bias", dense.has_bias},
              {"activation_function", torch_activation(dense.activation)}});
  TensorList list(options.seed + (std::uint64_t{width} << 32) + dense.out_features, options.type);
  list.add_linear("linear", dense.out_features, width);
  auto tensors = list.take();
  if (!dense.has_bias) tensors.pop_back();
  folder.write(part + "/model.safetensors", safetensors_file(tensors));
  return dense.out_features;
}

void write_modules(const TemporaryFolder& folder, const RandomModelOptions& options) {
  Json modules = Json::array();
  const auto add = [&](const char* type, const std::string& suffix) {
    const std::string number = std::to_string(modules.size());
    const std::string path = suffix.empty() ? "" : number + suffix;
    const std::string full_type = std::string("sentence_transformers.models.") + type;
    modules.push_back({{"idx", modules.size()}, {"name", number}, {"path", path}, {"type", full_type}});
    return path;
  };
  add("Transformer", "");
  write_json(folder, add("Pooling", "_Pooling") + "/config.json", pooling_json(options));
  std::uint32_t width = pooled_width(options);
  for (const auto& stage : options.stages) {
    if (const auto* dense = std::get_if<RandomDense>(&stage)) {
      width = write_dense(folder, add("Dense", "_Dense"), options, *dense, width);
    } else {
      add("Normalize", "_Normalize");
    }
  }
  write_json(folder, "modules.json", modules);
}

void write_tokenizer(const TemporaryFolder& folder, const RandomModelOptions& options) {
  static constexpr const char* kSpecial[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  const auto vocabulary = random_vocabulary(options.config.vocab_size);
  std::string lines;
  Json ids = Json::object();
  for (std::size_t id = 0; id < vocabulary.size(); ++id) {
    lines += vocabulary[id] + "\n";
    ids[vocabulary[id]] = id;
  }
  folder.write("vocab.txt", lines);
  Json added = Json::array();
  for (int id = 0; id < 5; ++id) {
    added.push_back({{"id", id},
                     {"content", kSpecial[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  const auto special = [](const char* token) { return Json{{"SpecialToken", {{"id", token}, {"type_id", 0}}}}; };
  const auto special_ids = [](const char* token, int id) {
    return Json{{"id", token}, {"ids", {id}}, {"tokens", {token}}};
  };
  const Json sequence_a{{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const Json sequence_b{{"Sequence", {{"id", "B"}, {"type_id", 1}}}};
  Json single = Json::array({special("[CLS]"), sequence_a, special("[SEP]")});
  Json pair = Json::array({special("[CLS]"), sequence_a, special("[SEP]"), sequence_b,
                           Json{{"SpecialToken", {{"id", "[SEP]"}, {"type_id", 1}}}}});
  write_json(folder, "tokenizer.json",
             {{"version", "1.0"},
              {"truncation", nullptr},
              {"padding", nullptr},
              {"added_tokens", added},
              {"normalizer",
               {{"type", "BertNormalizer"},
                {"clean_text", true},
                {"handle_chinese_chars", true},
                {"strip_accents", nullptr},
                {"lowercase", true}}},
              {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
              {"post_processor",
               {{"type", "TemplateProcessing"},
                {"single", single},
                {"pair", pair},
                {"special_tokens", {{"[CLS]", special_ids("[CLS]", 2)}, {"[SEP]", special_ids("[SEP]", 3)}}}}},
              {"decoder", {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}}},
              {"model",
               {{"type", "WordPiece"},
                {"unk_token", "[UNK]"},
                {"continuing_subword_prefix", "##"},
                {"max_input_chars_per_word", 100},
                {"vocab", ids}}}});
  write_json(folder, "tokenizer_config.json",
             {{"do_lower_case", true},
              {"tokenizer_class", "BertTokenizer"},
              {"model_max_length", options.config.max_positions}});
}

}  // namespace

std::string safetensors_file(std::string_view header, std::string_view data) {
  std::string file;
  for (int shift = 0; shift < 64; shift += 8)
    file += static_cast<char>((std::uint64_t{header.size()} >> shift) & 0xFFU);
  return file.append(header).append(data);
}

std::string safetensors_file(const std::vector<TensorToStore>& tensors) {
  Json header = Json::object();
  header["__metadata__"] = {{"format", "pt"}};
  std::string data;
  for (const TensorToStore& tensor : tensors) {
    const std::size_t begin = data.size();
    data += tensor.bytes;
    header[tensor.name] = {{"dtype", tensor.type}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  return safetensors_file(text, data);
}

std::string encode_values(const std::vector<float>& values, DataType type) {
  std::string bytes;
  const auto append = [&](std::uint32_t bits, int count) {
    for (int i = 0; i < count; ++i) bytes += static_cast<char>((bits >> (8 * i)) & 0xFFU);
  };
  for (const float value : values) {
    if (type == DataType::f32) append(std::bit_cast<std::uint32_t>(value), 4);
    if (type == DataType::f16) append(to_f16(value), 2);
    if (type == DataType::bf16) append(to_bf16(value), 2);
  }
  return bytes;
}

std::vector<std::string> random_vocabulary(std::uint32_t size) {
  std::vector<std::string> tokens{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  const std::string letters = "abcdefghijklmnopqrstuvwxyz0123456789";
  for (const char letter : letters) tokens.emplace_back(1, letter);
  for (const char letter : letters) tokens.push_back(std::string("##") + letter);
  for (const char mark : std::string(".,;:!?'\"()-")) tokens.emplace_back(1, mark);
  for (const char* word :
       {"the",   "a1",    "of",    "and",   "to",   "in",   "is",   "on",   "with", "water", "gate",  "tide",
        "river", "stone", "light", "##ing", "##ed", "##er", "##s1", "##ly", "un",   "re",    "under", "over"}) {
    tokens.emplace_back(word);
  }
  for (std::uint32_t i = 0; tokens.size() < size; ++i) tokens.push_back("[unused" + std::to_string(i) + "]");
  tokens.resize(size);
  return tokens;
}

std::vector<TensorToStore> random_bert_tensors(const RandomModelOptions& options) {
  const EncoderConfig& config = options.config;
  const std::int64_t hidden = config.hidden_size;
  const std::string& prefix = options.name_prefix;
  TensorList list(options.seed, options.type);
  const std::string embeddings = prefix + "embeddings.";
  list.add(embeddings + "word_embeddings.weight", {config.vocab_size, hidden}, 0.0F, 1.0F);
  list.add(embeddings + "position_embeddings.weight", {config.max_positions, hidden}, 0.0F, 0.3F);
  list.add(embeddings + "token_type_embeddings.weight", {config.token_types, hidden}, 0.0F, 0.3F);
  list.add_norm(embeddings + "LayerNorm", hidden);
  for (std::uint32_t i = 0; i < config.layers; ++i) {
    const std::string layer = prefix + "encoder.layer." + std::to_string(i) + ".";
    for (const char* part : {"query", "key", "value"})
      list.add_linear(layer + "attention.self." + part, hidden, hidden);
    list.add_linear(layer + "attention.output.dense", hidden, hidden);
    list.add_norm(layer + "attention.output.LayerNorm", hidden);
    list.add_linear(layer + "intermediate.dense", config.intermediate_size, hidden);
    list.add_linear(layer + "output.dense", hidden, config.intermediate_size);
    list.add_norm(layer + "output.LayerNorm", hidden);
  }
  return list.take();
}

TemporaryFolder write_random_model(const RandomModelOptions& options) {
  TemporaryFolder folder;
  write_json(folder, "config.json", config_json(options));
  folder.write("model.safetensors", safetensors_file(random_bert_tensors(options)));
  write_tokenizer(folder, options);
  Json sentence{{"do_lower_case", false}};
  if (options.max_seq_length != 0) sentence["max_seq_length"] = options.max_seq_length;
  if (!options.plain_bert) {
    write_json(folder, "sentence_bert_config.json", sentence);
    write_modules(folder, options);
    Json prompts = Json::object();
    for (const auto& [name, prompt] : options.prompts) prompts[name] = prompt;
    const Json chosen = options.default_prompt.empty() ? Json(nullptr) : Json(options.default_prompt);
    write_json(folder, "config_sentence_transformers.json", {{"prompts", prompts}, {"default_prompt_name", chosen}});
  }
  return folder;
}

}  // namespace tidegate::test
