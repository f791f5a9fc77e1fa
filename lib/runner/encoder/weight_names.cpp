#include "runner/encoder/weight_names.hpp"

#include <fmt/format.h>

#include "base/try.hpp"

namespace tidegate {
namespace {

Result<NormWeights> norm_weights(const WeightStore& store, const std::string& name, std::int64_t size) {
  // Checkpoints converted from TensorFlow keep its names.
  const bool old_names = !store.contains(name + ".weight") && store.contains(name + ".gamma");
  NormWeights norm;
  TIDEGATE_TRY(norm.gamma, store.tensor(name + (old_names ? ".gamma" : ".weight"), {size}));
  TIDEGATE_TRY(norm.beta, store.tensor(name + (old_names ? ".beta" : ".bias"), {size}));
  return norm;
}

Result<LayerWeights> layer_weights(const WeightStore& store, const std::string& name, const EncoderConfig& config) {
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t wide = config.intermediate_size;
  const auto linear = [&](const char* part, std::int64_t rows, std::int64_t columns) {
    return linear_weights(store, name + part, rows, columns, Bias::required);
  };
  LayerWeights layer;
  TIDEGATE_TRY(layer.query, linear("attention.self.query", hidden, hidden));
  TIDEGATE_TRY(layer.key, linear("attention.self.key", hidden, hidden));
  TIDEGATE_TRY(layer.value, linear("attention.self.value", hidden, hidden));
  TIDEGATE_TRY(layer.attention_output, linear("attention.output.dense", hidden, hidden));
  TIDEGATE_TRY(layer.attention_norm, norm_weights(store, name + "attention.output.LayerNorm", hidden));
  TIDEGATE_TRY(layer.intermediate, linear("intermediate.dense", wide, hidden));
  TIDEGATE_TRY(layer.output, linear("output.dense", hidden, wide));
  TIDEGATE_TRY(layer.output_norm, norm_weights(store, name + "output.LayerNorm", hidden));
  return layer;
}

}  // namespace

Result<LinearWeights> linear_weights(const WeightStore& store, const std::string& name, std::int64_t rows,
                                     std::int64_t columns, Bias bias) {
  LinearWeights linear;
  TIDEGATE_TRY(linear.weight, store.tensor(name + ".weight", {rows, columns}));
  if (bias == Bias::none) return linear;
  TIDEGATE_TRY(linear.bias, store.tensor(name + ".bias", {rows}));
  return linear;
}

Result<EncoderModel> with_bert_weights(EncoderModel model, const WeightStore& store) {
  const EncoderConfig& config = model.config;
  const std::int64_t hidden = config.hidden_size;
  const bool prefixed =
      !store.contains("embeddings.word_embeddings.weight") && store.contains("bert.embeddings.word_embeddings.weight");
  const std::string prefix = prefixed ? "bert." : "";
  const auto embedding = [&](const char* name, std::int64_t rows) {
    return store.tensor(fmt::format("{}embeddings.{}.weight", prefix, name), {rows, hidden});
  };
  TIDEGATE_TRY(model.word_embeddings, embedding("word_embeddings", config.vocab_size));
  TIDEGATE_TRY(model.position_embeddings, embedding("position_embeddings", config.max_positions));
  TIDEGATE_TRY(model.token_type_embeddings, embedding("token_type_embeddings", config.token_types));
  TIDEGATE_TRY(model.embedding_norm, norm_weights(store, prefix + "embeddings.LayerNorm", hidden));
  for (std::uint32_t i = 0; i < config.layers; ++i) {
    TIDEGATE_TRY(auto layer, layer_weights(store, fmt::format("{}encoder.layer.{}.", prefix, i), config));
    model.layers.push_back(std::move(layer));
  }
  // A deeper checkpoint than config.json says would silently lose its last layers.
  const std::string beyond = fmt::format("{}encoder.layer.{}.output.dense.weight", prefix, config.layers);
  if (store.contains(beyond)) {
    return Error(
        ErrorCode::corrupt_data,
        fmt::format("'config.json': field 'num_hidden_layers' is {}, but the weights hold tensor '{}' of a further "
                    "layer",
                    config.layers, beyond));
  }
  return model;
}

}  // namespace tidegate
