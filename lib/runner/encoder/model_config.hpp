// The configuration files of a sentence-transformers folder, checked.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "runner/encoder/encoder_model.hpp"
#include "runner/encoder/model_folder.hpp"

namespace tidegate {

/// `part`/config.json. Errors: corrupt_data (value out of range), unsupported
/// (not a BERT encoder with absolute positions).
[[nodiscard]] Result<EncoderConfig> read_encoder_config(ModelFolder& folder, const std::string& part);

/// The smallest of max_seq_length (sentence_bert_config.json), model_max_length
/// (tokenizer_config.json) and the model's positions.
[[nodiscard]] Result<std::uint32_t> read_max_tokens(ModelFolder& folder, const std::string& part,
                                                    const EncoderConfig& config);

struct PromptConfig {
  std::map<std::string, std::string> prompts;
  std::string default_prompt;  ///< name in `prompts`; empty = none
};

/// config_sentence_transformers.json; no prompts where it is absent.
[[nodiscard]] Result<PromptConfig> read_prompts(ModelFolder& folder);

enum class ModuleKind : std::uint8_t { transformer, pooling, dense, normalize };

struct ModelModule {
  ModuleKind kind;
  std::string path;  ///< relative to the model folder; empty = the folder itself
};

/// modules.json: a transformer, a pooling, then dense and normalize modules in the
/// order they run. Where it is absent: the folder itself, then mean pooling.
[[nodiscard]] Result<std::vector<ModelModule>> read_modules(ModelFolder& folder);

/// `part`/config.json of a pooling module over vectors of `width` numbers.
[[nodiscard]] Result<PoolingConfig> read_pooling(ModelFolder& folder, const std::string& part, std::uint32_t width);

/// Number of modes that are on: pooling multiplies the width by it.
[[nodiscard]] std::uint32_t mode_count(const PoolingConfig& pooling) noexcept;

struct DenseConfig {
  std::uint32_t in_features = 0;
  std::uint32_t out_features = 0;
  bool has_bias = true;
  Activation activation = Activation::tanh;
};

/// `part`/config.json of a dense module over vectors of `width` numbers.
[[nodiscard]] Result<DenseConfig> read_dense(ModelFolder& folder, const std::string& part, std::uint32_t width);

}  // namespace tidegate
