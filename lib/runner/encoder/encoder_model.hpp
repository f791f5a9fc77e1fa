// EncoderModel: a sentence-transformers folder, read and checked, weights mapped.
#pragma once

#include <map>
#include <string>
#include <variant>
#include <vector>

#include "base/mapped_file.hpp"
#include "runner/encoder/model_folder.hpp"
#include "tidegate/request.hpp"

namespace tidegate {

enum class Activation : std::uint8_t { identity, gelu_erf, gelu_tanh, relu, tanh };

/// config.json of a BERT model. Every value is checked to be sane before use.
struct EncoderConfig {
  std::uint32_t vocab_size = 0;
  std::uint32_t hidden_size = 0;  ///< multiple of heads
  std::uint32_t layers = 0;
  std::uint32_t heads = 0;
  std::uint32_t intermediate_size = 0;
  std::uint32_t max_positions = 0;
  std::uint32_t token_types = 0;
  Activation activation = Activation::gelu_erf;
  float layer_norm_eps = 1e-12F;
};

/// A tensor inside a mapped weight file: f32, f16 or bf16; row-major. May be unaligned.
struct WeightView {
  std::string name;
  DataType type = DataType::f32;
  Shape shape;
  std::span<const std::byte> bytes;
};

struct LinearWeights {
  WeightView weight;  ///< [out, in]
  WeightView bias;    ///< [out]; empty bytes = none
};

struct NormWeights {
  WeightView gamma;  ///< [hidden]
  WeightView beta;   ///< [hidden]
};

struct LayerWeights {
  LinearWeights query, key, value;  ///< [hidden, hidden]
  LinearWeights attention_output;   ///< [hidden, hidden]
  NormWeights attention_norm;
  LinearWeights intermediate;  ///< [intermediate, hidden]
  LinearWeights output;        ///< [hidden, intermediate]
  NormWeights output_norm;
};

/// 1_Pooling/config.json. Several modes concatenate, in this order.
struct PoolingConfig {
  bool cls_token = false;
  bool max_tokens = false;
  bool mean_tokens = false;
  bool mean_sqrt_len_tokens = false;
  bool weighted_mean_tokens = false;  ///< weights 1..n by position
  bool last_token = false;
  bool include_prompt = true;  ///< false: prompt tokens are left out of pooling
};

struct DenseStage {
  LinearWeights linear;  ///< [out_features, in_features]
  Activation activation = Activation::tanh;
};
struct NormalizeStage {};

struct EncoderModel {
  EncoderConfig config;
  WeightView word_embeddings;        ///< [vocab_size, hidden]
  WeightView position_embeddings;    ///< [max_positions, hidden]
  WeightView token_type_embeddings;  ///< [token_types, hidden]
  NormWeights embedding_norm;
  std::vector<LayerWeights> layers;
  PoolingConfig pooling;
  std::vector<std::variant<DenseStage, NormalizeStage>> stages;  ///< after pooling, in order
  std::uint32_t max_tokens = 0;                                  ///< limit per text, special tokens included
  std::map<std::string, std::string> prompts;
  std::string default_prompt;          ///< name in `prompts`; empty = none
  std::string tokenizer_folder;        ///< what Tokenizer::load reads; the transformer's own where it has one
  std::uint32_t dimension = 0;         ///< of the final embedding
  Digest content_digest{};             ///< weights, configuration and tokenizer files
  std::vector<KnownFile> known_files;  ///< mapped files whose digest holds while they do not change

  std::vector<MappedFile> files;  ///< own what the views point into
};

/// Reads and checks a folder. Nothing is allocated on the word of a header before
/// the header is checked against the file's size. Errors name file and tensor or
/// field: not_found, corrupt_data, unsupported (architecture, pooling, data type).
/// Files that are still what `known` says are not read to compute the digest.
[[nodiscard]] Result<EncoderModel> load_encoder_model(const std::string& folder, std::span<const KnownFile> known = {});

}  // namespace tidegate
