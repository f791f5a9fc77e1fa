// Random-weight sentence-transformers folders for tests: the same options and seed
// give the same bytes on every machine.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "runner/encoder/encoder_model.hpp"
#include "support/temporary_folder.hpp"

namespace tidegate::test {

/// One tensor for `safetensors_file`; `type` is the format's word ("F32").
struct TensorToStore {
  std::string name;
  std::string type;
  Shape shape;
  std::string bytes;
};

/// A whole safetensors file: tensors lie in the order given, header padded with
/// spaces to a multiple of 8.
[[nodiscard]] std::string safetensors_file(const std::vector<TensorToStore>& tensors);

/// A file with this header text, whatever it says, and these data bytes.
[[nodiscard]] std::string safetensors_file(std::string_view header, std::string_view data);

/// `values` as F32, F16 or BF16 (rounded to nearest even).
[[nodiscard]] std::string encode_values(const std::vector<float>& values, DataType type);

struct RandomDense {
  std::uint32_t out_features = 8;
  Activation activation = Activation::tanh;  ///< identity, tanh, relu or gelu_erf
  bool has_bias = true;
};
struct RandomNormalize {};

struct RandomModelOptions {
  std::uint64_t seed = 1;
  EncoderConfig config{.vocab_size = 300,
                       .hidden_size = 32,
                       .layers = 2,
                       .heads = 4,
                       .intermediate_size = 64,
                       .max_positions = 64,
                       .token_types = 2,
                       .activation = Activation::gelu_erf,
                       .layer_norm_eps = 1e-12F};
  PoolingConfig pooling{.mean_tokens = true};
  std::vector<std::variant<RandomDense, RandomNormalize>> stages{RandomNormalize{}};
  DataType type = DataType::f32;     ///< f32, f16 or bf16, of every weight
  std::string name_prefix;           ///< "" or "bert."
  std::uint32_t max_seq_length = 0;  ///< 0 = not given
  std::map<std::string, std::string> prompts;
  std::string default_prompt;
  bool plain_bert = false;  ///< no modules.json: `pooling` and `stages` are not written
};

/// Writes config.json, model.safetensors, modules.json, N_Pooling and N_Dense,
/// vocab.txt, tokenizer.json (lower-casing WordPiece over `random_vocabulary`) and
/// the tokenizer's and sentence-transformers' configuration.
[[nodiscard]] TemporaryFolder write_random_model(const RandomModelOptions& options = {});

/// The tensors of model.safetensors, in their order in the file.
[[nodiscard]] std::vector<TensorToStore> random_bert_tensors(const RandomModelOptions& options);

/// Special tokens, letters and digits alone and as "##" pieces, punctuation, some
/// words, then "[unused0]"...; exactly `size` entries (at least 5).
[[nodiscard]] std::vector<std::string> random_vocabulary(std::uint32_t size);

}  // namespace tidegate::test
