// What is wrong in a folder's configuration is an error that names file and field.
#include <doctest/doctest.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "runner/encoder/encoder_model.hpp"
#include "support/random_model.hpp"

using namespace tidegate;
using namespace tidegate::test;
using Json = nlohmann::json;

namespace {

struct FieldCase {
  const char* file;
  const char* field;
  const char* value;  ///< JSON text; nullptr removes the field
  ErrorCode code;
};

RandomModelOptions with_dense() {
  RandomModelOptions options;
  options.stages = {RandomDense{8, Activation::tanh}, RandomNormalize{}};
  options.prompts = {{"query", "search: "}};
  return options;
}

/// The load fails with `code` and its message, one line, holds every word of `mentions`.
void check_refused(const TemporaryFolder& folder, ErrorCode code, std::initializer_list<std::string_view> mentions) {
  const auto model = load_encoder_model(folder.path());
  REQUIRE_FALSE(model);
  CAPTURE(model.error().text());
  CHECK(to_string(model.error().code()) == to_string(code));
  for (const std::string_view word : mentions) {
    CAPTURE(word);
    CHECK(model.error().message().find(word) != std::string_view::npos);
  }
  CHECK(model.error().message().find('\n') == std::string_view::npos);
  CHECK(model.error().message().find(folder.path()) != std::string_view::npos);
}

void run_cases(std::initializer_list<FieldCase> cases) {
  const auto folder = write_random_model(with_dense());
  for (const FieldCase& each : cases) {
    CAPTURE(each.file);
    CAPTURE(each.field);
    CAPTURE(each.value);
    const std::string original = folder.read(each.file);
    Json root = Json::parse(original);
    if (each.value == nullptr) {
      root.erase(each.field);
    } else {
      root[each.field] = Json::parse(each.value);
    }
    folder.write(each.file, root.dump());
    check_refused(folder, each.code, {each.file, each.field});
    folder.write(each.file, original);
  }
  CHECK(load_encoder_model(folder.path()));
}

constexpr ErrorCode kCorrupt = ErrorCode::corrupt_data;
constexpr ErrorCode kUnsupported = ErrorCode::unsupported;

}  // namespace

TEST_CASE("encoder model: an absurd size in config.json is refused") {
  static constexpr const char* kSizes[] = {"vocab_size",          "hidden_size",       "num_hidden_layers",
                                           "num_attention_heads", "intermediate_size", "max_position_embeddings"};
  for (const char* field : kSizes) {
    for (const char* value : {"0", "-1", "1000000000000000000", "1e18", "32.0", "\"32\"", "[32]", "{}", "true",
                              "18446744073709551615", "-9223372036854775808", "4294967328"}) {
      run_cases({{"config.json", field, value, kCorrupt}});
    }
    run_cases({{"config.json", field, nullptr, kCorrupt}, {"config.json", field, "null", kCorrupt}});
  }
}

TEST_CASE("encoder model: a field of config.json that no encoder can have is refused") {
  run_cases({
      {"config.json", "num_attention_heads", "5", kCorrupt},
      {"config.json", "type_vocab_size", "0", kCorrupt},
      {"config.json", "max_position_embeddings", "2", kCorrupt},
      {"config.json", "layer_norm_eps", "0", kCorrupt},
      {"config.json", "layer_norm_eps", "-1e-12", kCorrupt},
      {"config.json", "layer_norm_eps", "1e-60", kCorrupt},
      {"config.json", "layer_norm_eps", "2", kCorrupt},
      {"config.json", "layer_norm_eps", "1e300", kCorrupt},
      {"config.json", "layer_norm_eps", "\"nan\"", kCorrupt},
      {"config.json", "model_type", "\"roberta\"", kUnsupported},
      {"config.json", "model_type", nullptr, kUnsupported},
      {"config.json", "model_type", "7", kCorrupt},
      {"config.json", "architectures", "[\"RobertaModel\"]", kUnsupported},
      {"config.json", "architectures", "[7]", kUnsupported},
      {"config.json", "architectures", "\"BertModel\"", kCorrupt},
      {"config.json", "is_decoder", "true", kUnsupported},
      {"config.json", "is_decoder", "1", kCorrupt},
      {"config.json", "add_cross_attention", "true", kUnsupported},
      {"config.json", "position_embedding_type", "\"relative_key\"", kUnsupported},
      {"config.json", "quantization_config", "{\"bits\": 4}", kUnsupported},
      {"config.json", "hidden_act", "\"silu\"", kUnsupported},
      {"config.json", "hidden_act", "3", kCorrupt},
  });
}

TEST_CASE("encoder model: a size that disagrees with the weights names the tensor") {
  const auto folder = write_random_model();
  const std::string original = folder.read("config.json");
  struct Case {
    const char* field;
    int value;
    const char* mention;
  };
  for (const Case& each : {Case{"vocab_size", 301,
                                "'embeddings.word_embeddings.weight' has shape [300, 32], expected "
                                "[301, 32]"},
                           Case{"max_position_embeddings", 65, "position_embeddings.weight"},
                           Case{"type_vocab_size", 3, "token_type_embeddings.weight"},
                           Case{"intermediate_size", 65, "encoder.layer.0.intermediate.dense.weight"},
                           Case{"num_hidden_layers", 3, "'encoder.layer.2.attention.self.query.weight' is missing"},
                           Case{"num_hidden_layers", 1, "encoder.layer.1.output.dense.weight"}}) {
    Json root = Json::parse(original);
    root[each.field] = each.value;
    folder.write("config.json", root.dump());
    check_refused(folder, kCorrupt, {each.mention});
  }
}

TEST_CASE("encoder model: hidden_size must be what pooling and weights have") {
  RandomModelOptions options;
  options.plain_bert = true;
  const auto folder = write_random_model(options);
  Json root = Json::parse(folder.read("config.json"));
  root["hidden_size"] = 36;
  folder.write("config.json", root.dump());
  check_refused(folder, kCorrupt, {"model.safetensors", "word_embeddings.weight", "[300, 36]"});
}

TEST_CASE("encoder model: a wrong field of the pooling module is refused") {
  run_cases({
      {"1_Pooling/config.json", "word_embedding_dimension", "33", kCorrupt},
      {"1_Pooling/config.json", "word_embedding_dimension", "0", kCorrupt},
      {"1_Pooling/config.json", "word_embedding_dimension", nullptr, kCorrupt},
      {"1_Pooling/config.json", "embedding_dimension", "33", kCorrupt},
      {"1_Pooling/config.json", "pooling_mode_cls_token", "1", kCorrupt},
      {"1_Pooling/config.json", "pooling_mode_whitening", "true", kUnsupported},
      {"1_Pooling/config.json", "pooling_mode", "\"attention\"", kUnsupported},
      {"1_Pooling/config.json", "pooling_mode", "7", kUnsupported},
      {"1_Pooling/config.json", "pooling_mode", "[\"mean\", \"cls\"]", kUnsupported},
      {"1_Pooling/config.json", "pooling_mode", "[\"mean\", \"mean\"]", kUnsupported},
      {"1_Pooling/config.json", "pooling_mode", "[]", kCorrupt},
      {"1_Pooling/config.json", "pooling_mode_mean_tokens", "false", kCorrupt},
      {"1_Pooling/config.json", "include_prompt", "\"no\"", kCorrupt},
  });
}

TEST_CASE("encoder model: a wrong field of a dense module is refused") {
  run_cases({
      {"2_Dense/config.json", "in_features", "31", kCorrupt},
      {"2_Dense/config.json", "in_features", nullptr, kCorrupt},
      {"2_Dense/config.json", "out_features", "0", kCorrupt},
      {"2_Dense/config.json", "out_features", "1e18", kCorrupt},
      {"2_Dense/config.json", "bias", "\"yes\"", kCorrupt},
      {"2_Dense/config.json", "activation_function", "\"torch.nn.modules.activation.Sigmoid\"", kUnsupported},
      {"2_Dense/config.json", "activation_function", "\"os.system.Tanh\"", kUnsupported},
      {"2_Dense/config.json", "module_output_name", "\"token_embeddings\"", kUnsupported},
  });
  const auto folder = write_random_model(with_dense());
  Json root = Json::parse(folder.read("2_Dense/config.json"));
  root["out_features"] = 9;
  folder.write("2_Dense/config.json", root.dump());
  check_refused(folder, kCorrupt, {"2_Dense/model.safetensors", "linear.weight", "[8, 32]", "[9, 32]"});
}

TEST_CASE("encoder model: wrong token limits, prompts and lower-casing are refused") {
  run_cases({
      {"sentence_bert_config.json", "max_seq_length", "0", kCorrupt},
      {"sentence_bert_config.json", "max_seq_length", "2", kCorrupt},
      {"sentence_bert_config.json", "max_seq_length", "-5", kCorrupt},
      {"sentence_bert_config.json", "max_seq_length", "12.5", kCorrupt},
      {"sentence_bert_config.json", "max_seq_length", "\"128\"", kCorrupt},
      {"sentence_bert_config.json", "do_lower_case", "1", kCorrupt},
      {"sentence_bert_config.json", "transformer_task", "\"fill-mask\"", kUnsupported},
      {"tokenizer_config.json", "model_max_length", "1", kCorrupt},
      {"tokenizer_config.json", "model_max_length", "-1", kCorrupt},
      {"config_sentence_transformers.json", "prompts", "[]", kCorrupt},
      {"config_sentence_transformers.json", "prompts", "{\"query\": 1}", kCorrupt},
      {"config_sentence_transformers.json", "default_prompt_name", "\"absent\"", kCorrupt},
      {"config_sentence_transformers.json", "model_type", "\"SparseEncoder\"", kUnsupported},
      {"config_sentence_transformers.json", "truncate_dim", "16", kUnsupported},
  });
  const auto folder = write_random_model();
  folder.write("sentence_bert_config.json", R"({"do_lower_case": true})");
  folder.write("tokenizer_config.json", R"({"do_lower_case": false})");
  check_refused(folder, kUnsupported, {"tokenizer_config.json", "do_lower_case", "sentence_bert_config.json"});
}

TEST_CASE("encoder model: modules.json of another kind or reaching outside is refused") {
  const auto folder = write_random_model(with_dense());
  const std::string original = folder.read("modules.json");
  struct Case {
    std::function<void(Json&)> change;
    ErrorCode code;
    const char* mention;
  };
  const auto path = [](int module, const char* text) {
    return [=](Json& root) { root[static_cast<std::size_t>(module)]["path"] = text; };
  };
  const auto type = [](int module, const char* text) {
    return [=](Json& root) { root[static_cast<std::size_t>(module)]["type"] = text; };
  };
  const Case cases[] = {
      {path(1, "../1_Pooling"), kCorrupt, "'path'"},
      {path(1, "x/../../1_Pooling"), kCorrupt, "'path'"},
      {path(1, "/etc"), kCorrupt, "'path'"},
      {path(1, "/"), kCorrupt, "'path'"},
      {path(1, "."), kCorrupt, "'path'"},
      {path(1, "a//b"), kCorrupt, "'path'"},
      {path(1, ""), kCorrupt, "'path'"},
      {path(1, "a\nb"), kCorrupt, "'path'"},
      {path(0, ".."), kCorrupt, "'path'"},
      {path(1, "9_Pooling"), ErrorCode::not_found, "9_Pooling/config.json"},
      {[](Json& root) { root[1].erase("path"); }, kCorrupt, "'path'"},
      {[](Json& root) { root[1]["path"] = 3; }, kCorrupt, "'path'"},
      {[](Json& root) { root[1].erase("type"); }, kCorrupt, "'type'"},
      {type(1, "sentence_transformers.models.CNN"), kUnsupported, "'type'"},
      {type(1, "custom_st.Pooling"), kUnsupported, "'type'"},
      {type(0, "sentence_transformers.models.Normalize"), kUnsupported, "first module"},
      {type(1, "sentence_transformers.models.Normalize"), kUnsupported, "second module"},
      {type(3, "sentence_transformers.models.Pooling"), kUnsupported, "module 3"},
      {[](Json& root) { root = Json::array(); }, kUnsupported, "first module"},
      {[](Json& root) {
         root.erase(1);
         root.erase(1);
         root.erase(1);
       },
       kUnsupported, "second module"},
      {[](Json& root) { root = Json::object(); }, kCorrupt, "an object"},
      {[](Json& root) { root[2] = 5; }, kCorrupt, "expected a JSON object"},
      {[](Json& root) {
         root = Json::array();
         for (int i = 0; i < 65; ++i) root.push_back(i);
       },
       kCorrupt, "64"},
  };
  for (const Case& each : cases) {
    Json root = Json::parse(original);
    each.change(root);
    CAPTURE(root.dump());
    folder.write("modules.json", root.dump());
    check_refused(folder, each.code, {each.mention, each.code == ErrorCode::not_found ? "" : "modules.json"});
  }
}

TEST_CASE("encoder model: newer module names and a dropout are understood") {
  const auto folder = write_random_model();
  folder.write("modules.json", R"([
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling/", "type": "sentence_transformers.models.pooling.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Dropout", "type": "sentence_transformers.models.Dropout"},
    {"idx": 3, "name": "3", "path": "3_Normalize", "type": "sentence_transformers.models.Normalize"}])");
  const auto model = load_encoder_model(folder.path());
  REQUIRE(model);
  CHECK(model->stages.size() == 1);
}

TEST_CASE("encoder model: missing files are named, pickled weights come with the remedy") {
  check_refused(TemporaryFolder(), ErrorCode::not_found, {"config.json"});
  for (const char* path : {"", "/nonexistent/model"}) {
    const auto model = load_encoder_model(path);
    REQUIRE_FALSE(model);
    CHECK(model.error().code() == ErrorCode::not_found);
  }

  const auto folder = write_random_model(with_dense());
  folder.remove("2_Dense/model.safetensors");
  check_refused(folder, ErrorCode::not_found, {"2_Dense/model.safetensors"});
  folder.write("2_Dense/pytorch_model.bin", "PK");
  check_refused(folder, kUnsupported, {"2_Dense/pytorch_model.bin", "convert", "safe_serialization"});
  folder.remove("1_Pooling");
  check_refused(folder, ErrorCode::not_found, {"1_Pooling/config.json"});
  folder.remove("config.json");
  check_refused(folder, ErrorCode::not_found, {"config.json"});
}

TEST_CASE("encoder model: a folder or a dangling link in the place of a file is an error, not an absent file") {
  const auto folder = write_random_model();
  folder.remove("modules.json");
  std::filesystem::create_symlink("nowhere", folder.file("modules.json"));
  check_refused(folder, ErrorCode::not_found, {"modules.json"});
  folder.remove("modules.json");
  std::filesystem::create_directory(folder.file("modules.json"));
  check_refused(folder, ErrorCode::io_error, {"modules.json"});
}

TEST_CASE("encoder model: JSON that is malformed, repeated, deep or huge is refused") {
  const auto folder = write_random_model();
  const std::string good = folder.read("config.json");
  const std::string deep = std::string(200'000, '[');
  std::string many = "{\"x\":[0";
  for (int i = 0; i < 2'200'000; ++i) many += ",0";
  many += "]}";
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("null"), std::string("{\"a\":1,}"),
        std::string("\xEF\xBB\xBF\xFF{}"), std::string("{\"layer_norm_eps\": NaN}"), std::string("{\"a\":1e999}"),
        std::string("{\"a\":\"\xC3\x28\"}"), std::string("{\"a\":\"\x01\"}"), std::string("{} {}"),
        std::string("{\"a\":1,\"b\":{},\"a\":1}"), deep, "{\"a\":" + deep, many, good.substr(0, good.size() / 2),
        std::string("\0\0\0\0", 4)}) {
    CAPTURE(text.substr(0, 40));
    folder.write("config.json", text);
    check_refused(folder, kCorrupt, {"'config.json'"});
  }
  folder.write("config.json", std::string((std::size_t{16} << 20) + 1, ' '));
  check_refused(folder, ErrorCode::too_large, {"config.json"});
}
