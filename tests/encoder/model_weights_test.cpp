// Weight files: every wrong header, every cut and random damage is refused, in bounds.
#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>

#include "runner/encoder/encoder_model.hpp"
#include "runner/encoder/safetensors.hpp"
#include "support/random_model.hpp"

using namespace tidegate;
using namespace tidegate::test;
using Json = nlohmann::ordered_json;

namespace {

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

RandomModelOptions small_options() {
  RandomModelOptions options;
  options.config.vocab_size = 40;
  options.config.hidden_size = 8;
  options.config.layers = 1;
  options.config.heads = 2;
  options.config.intermediate_size = 12;
  options.config.max_positions = 8;
  options.type = DataType::bf16;
  return options;
}

/// What a header promises to its reader: the tensors lie in the file and fill it.
void check_in_bounds(const SafetensorsHeader& header, const std::string& file) {
  const auto* begin = reinterpret_cast<const std::byte*>(file.data());
  std::size_t total = 0;
  for (const StoredTensor& tensor : header.tensors) {
    REQUIRE(tensor.bytes.data() >= begin + 8);
    REQUIRE(tensor.bytes.data() + tensor.bytes.size() <= begin + file.size());
    REQUIRE(element_count(tensor.shape) >= 0);
    total += tensor.bytes.size();
  }
  REQUIRE(total <= file.size() - 8);
}

void check_error_text(const Error& error) {
  REQUIRE((error.code() == ErrorCode::corrupt_data || error.code() == ErrorCode::unsupported));
  REQUIRE(error.message().find('\n') == std::string_view::npos);
  REQUIRE(error.message().size() < 2000);
}

struct HeaderCase {
  const char* header;
  const char* mention;
  ErrorCode code = ErrorCode::corrupt_data;
};

// Each over 8 data bytes.
constexpr HeaderCase kWrongHeaders[] = {
    {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"t":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})",
     "twice"},
    {R"({"t":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "twice"},
    {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", "ordered pair"},
    {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}})", "within the 8"},
    {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,16]}})", "within the 8"},
    {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}})", "non-negative"},
    {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8.0]}})", "non-negative"},
    {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]}})", "within the 8"},
    {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[18446744073709551608,18446744073709551615]}})", "within"},
    {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,1e30]}})", "non-negative"},
    {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", "data_offsets"},
    {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}})", "data_offsets"},
    {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":8}})", "data_offsets"},
    {R"({"t":{"dtype":"F32","shape":[2]}})", "data_offsets"},
    {R"({"t":{"dtype":"F32","data_offsets":[0,8]}})", "shape"},
    {R"({"t":{"dtype":"F32","shape":2,"data_offsets":[0,8]}})", "shape"},
    {R"({"t":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", "shape"},
    {R"({"t":{"dtype":"F32","shape":["2"],"data_offsets":[0,8]}})", "shape"},
    {R"({"t":{"dtype":"F32","shape":[null],"data_offsets":[0,8]}})", "shape"},
    {R"({"t":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", "shape"},
    {R"({"t":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8]}})", "shape"},
    {R"({"t":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}})", "overflows"},
    {R"({"t":{"dtype":"F32","shape":[2305843009213693952],"data_offsets":[0,8]}})", "overflows"},
    {R"({"t":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", "expected 12"},
    {R"({"t":{"dtype":"F16","shape":[2],"data_offsets":[0,8]}})", "expected 4"},
    {R"({"t":{"dtype":"F4","shape":[15],"data_offsets":[0,8]}})", "whole bytes"},
    {R"({"t":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}})", "F31", ErrorCode::unsupported},
    {R"({"t":{"dtype":32,"shape":[2],"data_offsets":[0,8]}})", "dtype"},
    {R"({"t":{"shape":[2],"data_offsets":[0,8]}})", "dtype"},
    {R"({"t":[1,2]})", "object"},
    {R"({"t":null})", "object"},
    {R"({"__metadata__":{"k":1},"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "__metadata__"},
    {R"({"__metadata__":[],"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "__metadata__"},
    {R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "end of the file at 8"},
    {R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", "hole"},
    {R"({"s":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
     "overlaps"},
    {R"({"s":{"dtype":"U8","shape":[6],"data_offsets":[0,6]},"t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
     "overlaps"},
    {R"({"s":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
     "hole"},
    {R"({})", "end of the file at 8"},
    {R"( {})", "begin with '{'"},
    {R"([])", "begin with '{'"},
    {R"({} x)", "not valid JSON"},
    {R"({"t":)", "not valid JSON"},
};

}  // namespace

TEST_CASE("safetensors: a correct header gives names, shapes and bytes") {
  const std::string file = safetensors_file(
      R"({"__metadata__":{"k":"v"},"b":{"dtype":"I64","shape":[],"data_offsets":[4,12]},)"
      R"("a":{"dtype":"BF16","shape":[2,1],"data_offsets":[0,4]},"e":{"dtype":"F32","shape":[0,7],"data_offsets":[4,4]},)"
      R"("f":{"dtype":"F4","shape":[4],"data_offsets":[12,14]}}  )",
      "abcdefghijklmn");
  const auto header = read_safetensors_header(bytes_of(file), "f");
  REQUIRE_MESSAGE(header, (header ? std::string() : header.error().text()));
  REQUIRE(header->tensors.size() == 4);
  REQUIRE(header->find("a") != nullptr);
  CHECK(header->find("a")->shape == Shape{2, 1});
  CHECK(header->find("a")->type == "BF16");
  CHECK(std::string(reinterpret_cast<const char*>(header->find("b")->bytes.data()), 8) == "efghijkl");
  CHECK(header->find("e")->bytes.empty());
  CHECK(header->find("c") == nullptr);
  const std::string empty = safetensors_file("{}", "");
  CHECK(read_safetensors_header(bytes_of(empty), "f")->tensors.empty());
}

TEST_CASE("safetensors: each wrong header over 8 data bytes is refused with its reason") {
  for (const HeaderCase& each : kWrongHeaders) {
    CAPTURE(each.header);
    const std::string file = safetensors_file(each.header, "12345678");
    const auto header = read_safetensors_header(bytes_of(file), "weights.safetensors");
    REQUIRE_FALSE(header);
    CAPTURE(header.error().text());
    CHECK(to_string(header.error().code()) == to_string(each.code));
    CHECK(header.error().message().find(each.mention) != std::string_view::npos);
    CHECK(header.error().message().find("weights.safetensors") != std::string_view::npos);
  }
}

TEST_CASE("safetensors: an absurd header length is refused before it is believed") {
  for (const std::uint64_t length : {std::uint64_t{3}, std::uint64_t{100'000'001}, std::uint64_t{1} << 40,
                                     std::uint64_t{1} << 63, ~std::uint64_t{0}, ~std::uint64_t{0} - 7}) {
    CAPTURE(length);
    std::string file = safetensors_file("", "{}");
    for (int i = 0; i < 8; ++i) file[static_cast<std::size_t>(i)] = static_cast<char>((length >> (8 * i)) & 0xFFU);
    const auto header = read_safetensors_header(bytes_of(file), "f");
    REQUIRE_FALSE(header);
    CHECK(header.error().code() == ErrorCode::corrupt_data);
    CHECK(header.error().message().find("header length") != std::string_view::npos);
  }
  // Not a file's size but the format's limit: a header that is there, but too long.
  const std::string long_header = safetensors_file("{" + std::string(100'000'000, ' ') + "}", "");
  const auto header = read_safetensors_header(bytes_of(long_header), "f");
  REQUIRE_FALSE(header);
  CHECK(header.error().message().find("at most 100000000") != std::string_view::npos);
  CHECK_FALSE(read_safetensors_header({}, "f"));
}

TEST_CASE("safetensors: names from the file cannot break the message") {
  const std::string file = safetensors_file("{\"a\\nb\\u0000" + std::string(5000, 'x') + "\":{}}", "");
  const auto header = read_safetensors_header(bytes_of(file), "f");
  REQUIRE_FALSE(header);
  check_error_text(header.error());
  CHECK(header.error().message().find("'a?b?xxx") != std::string_view::npos);
}

TEST_CASE("safetensors: a file cut at any byte is refused") {
  const std::string file = safetensors_file(random_bert_tensors(small_options()));
  REQUIRE(read_safetensors_header(bytes_of(file), "f"));
  for (std::size_t size = 0; size < file.size(); ++size) {
    const std::string cut = file.substr(0, size);
    const auto header = read_safetensors_header(bytes_of(cut), "f");
    REQUIRE_FALSE(header);
    check_error_text(header.error());
  }
  const auto longer = file + "x";
  CHECK_FALSE(read_safetensors_header(bytes_of(longer), "f"));
}

TEST_CASE("safetensors: random damage to the header is refused or stays in bounds") {
  const std::string good = safetensors_file(random_bert_tensors(small_options()));
  std::uint64_t header_size = 8;
  for (int i = 0; i < 8; ++i) {
    header_size += std::uint64_t{static_cast<unsigned char>(good[static_cast<std::size_t>(i)])} << (8 * i);
  }
  std::mt19937_64 random(20'240'607);
  const std::string alphabet = "0123456789[]{},:\"- eE.x";
  std::size_t accepted = 0;
  constexpr int kCases = 6000;
  for (int i = 0; i < kCases; ++i) {
    std::string file = good;
    const std::size_t changes = 1 + random() % 4;
    for (std::size_t change = 0; change < changes; ++change) {
      const std::size_t place = random() % header_size;
      switch (random() % 4) {
        case 0: file[place] = static_cast<char>(file[place] ^ static_cast<char>(1U << (random() % 8))); break;
        case 1: file[place] = static_cast<char>(random() % 256); break;
        case 2: file[place] = alphabet[random() % alphabet.size()]; break;
        default: std::swap(file[place], file[random() % header_size]); break;
      }
    }
    const auto header = read_safetensors_header(bytes_of(file), "f");
    if (header) {
      ++accepted;
      check_in_bounds(*header, file);
    } else {
      check_error_text(header.error());
    }
  }
  // Damage inside names is not visible here; most other damage is.
  CHECK(accepted > 0);
  CHECK(accepted < kCases / 2);
}

TEST_CASE("encoder model: random damage to any file of the folder never crashes the loader") {
  RandomModelOptions options = small_options();
  options.stages = {RandomDense{4, Activation::tanh}, RandomNormalize{}};
  options.prompts = {{"query", "q: "}};
  const auto folder = write_random_model(options);
  REQUIRE(load_encoder_model(folder.path()));
  std::mt19937_64 random(7);
  for (const char* name : {"config.json", "modules.json", "1_Pooling/config.json", "2_Dense/config.json",
                           "sentence_bert_config.json", "tokenizer_config.json", "config_sentence_transformers.json",
                           "model.safetensors", "2_Dense/model.safetensors"}) {
    const std::string good = folder.read(name);
    const std::size_t reach = std::min<std::size_t>(good.size(), 3000);
    std::size_t refused = 0;
    for (int i = 0; i < 150; ++i) {
      std::string bad = good;
      bad[random() % reach] = static_cast<char>(random() % 256);
      if (i % 5 == 0) bad.resize(random() % good.size());
      folder.write(name, bad);
      const auto model = load_encoder_model(folder.path());
      if (model) continue;
      ++refused;
      REQUIRE_FALSE(model.error().message().empty());
      REQUIRE(model.error().message().find('\n') == std::string_view::npos);
    }
    CAPTURE(name);
    CHECK(refused > 30);
    folder.write(name, good);
  }
}

TEST_CASE("encoder model: each BERT tensor is needed, with its shape and a float type") {
  const RandomModelOptions options = small_options();
  const auto folder = write_random_model(options);
  const auto good = random_bert_tensors(options);
  for (std::size_t i = 0; i < good.size(); ++i) {
    CAPTURE(good[i].name);
    const auto refusal = [&](const std::vector<TensorToStore>& tensors) {
      folder.write("model.safetensors", safetensors_file(tensors));
      const auto model = load_encoder_model(folder.path());
      REQUIRE_FALSE(model);
      CAPTURE(model.error().text());
      CHECK(model.error().message().find("model.safetensors") != std::string_view::npos);
      CHECK(model.error().message().find(good[i].name) != std::string_view::npos);
      return model.error().code();
    };
    auto missing = good;
    missing.erase(missing.begin() + static_cast<std::ptrdiff_t>(i));
    CHECK(refusal(missing) == ErrorCode::corrupt_data);
    auto rank = good;
    rank[i].shape.push_back(1);
    CHECK(refusal(rank) == ErrorCode::corrupt_data);
    auto shape = good;
    shape[i].shape[0] /= 2;
    shape[i].shape.push_back(2);
    CHECK(refusal(shape) == ErrorCode::corrupt_data);
    auto type = good;
    type[i].type = "I16";
    CHECK(refusal(type) == ErrorCode::unsupported);
  }
}

TEST_CASE("encoder model: tensors that BERT does not need may be of any type") {
  const RandomModelOptions options = small_options();
  const auto folder = write_random_model(options);
  auto tensors = random_bert_tensors(options);
  tensors.insert(tensors.begin(), {"embeddings.position_ids", "I64", {1, 2}, std::string(16, '\0')});
  tensors.push_back({"pooler.dense.weight", "U8", {3}, "abc"});
  folder.write("model.safetensors", safetensors_file(tensors));
  CHECK(load_encoder_model(folder.path()));
}

TEST_CASE("encoder model: shards named by an index are one set of weights") {
  const RandomModelOptions options = small_options();
  const auto folder = write_random_model(options);
  const auto all = random_bert_tensors(options);
  const auto half = all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2);
  const std::vector<TensorToStore> first(all.begin(), half);
  const std::vector<TensorToStore> second(half, all.end());
  Json map = Json::object();
  for (const auto& tensor : first) map[tensor.name] = "model-00001-of-00002.safetensors";
  for (const auto& tensor : second) map[tensor.name] = "model-00002-of-00002.safetensors";
  const auto whole = load_encoder_model(folder.path());
  REQUIRE(whole);
  folder.remove("model.safetensors");
  folder.write("model-00001-of-00002.safetensors", safetensors_file(first));
  folder.write("model-00002-of-00002.safetensors", safetensors_file(second));
  const std::string index = "model.safetensors.index.json";
  const auto load_with = [&](const Json& weight_map) {
    folder.write(index, Json{{"metadata", {{"total_size", 1}}}, {"weight_map", weight_map}}.dump());
    return load_encoder_model(folder.path());
  };
  const auto sharded = load_with(map);
  REQUIRE_MESSAGE(sharded, (sharded ? std::string() : sharded.error().text()));
  CHECK(sharded->files.size() == 2);
  CHECK(std::ranges::equal(sharded->layers[0].output.weight.bytes, whole->layers[0].output.weight.bytes));
  CHECK(sharded->content_digest != whole->content_digest);

  const auto refused = [&](const char* tensor, const char* file, ErrorCode code, const char* mention) {
    Json wrong = map;
    wrong[tensor] = Json::parse(file);
    const auto model = load_with(wrong);
    REQUIRE_FALSE(model);
    CAPTURE(model.error().text());
    CHECK(to_string(model.error().code()) == to_string(code));
    CHECK(model.error().message().find(mention) != std::string_view::npos);
  };
  refused("extra", "\"model-00001-of-00002.safetensors\"", ErrorCode::corrupt_data, "'extra' is missing");
  refused(all[0].name.c_str(), "\"model-00002-of-00002.safetensors\"", ErrorCode::corrupt_data, "is missing");
  refused("extra", "\"model-00003.safetensors\"", ErrorCode::not_found, "model-00003.safetensors");
  refused("extra", "\"../model.safetensors\"", ErrorCode::corrupt_data, "inside the folder");
  refused("extra", "7", ErrorCode::corrupt_data, "inside the folder");
  folder.write("again.safetensors", safetensors_file(first));
  refused(all[0].name.c_str(), "\"again.safetensors\"", ErrorCode::corrupt_data, "is also in");
  const auto listed = load_with(Json::array());
  REQUIRE_FALSE(listed);
  CHECK(listed.error().message().find("weight_map") != std::string_view::npos);
}
