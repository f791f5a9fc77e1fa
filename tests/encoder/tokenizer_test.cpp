#include "runner/encoder/tokenizer.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "encoder/tokenizer_support.hpp"

using namespace tidegate;
using Ids = std::vector<std::int32_t>;
using Json = nlohmann::json;

namespace {

// 0 [PAD] 1 [UNK] 2 [CLS] 3 [SEP] 4 [MASK] 5 a 6 ##b 7 ab 8 , 9 e 10 E 11 [ 12 ] 13 U+4E2D 14 cls 15 U+00E9
const std::vector<std::string> kTokens{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a",      "##b", "ab",
                                       ",",     "e",     "E",     "[",     "]",      "\u4e2d", "cls", "\u00e9"};

Json added_token(int id, const std::string& content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

Json tiny() {
  Json vocab = Json::object();
  for (std::size_t i = 0; i < kTokens.size(); ++i) vocab[kTokens[i]] = i;
  Json added = Json::array();
  for (int i = 0; i < 5; ++i) added.push_back(added_token(i, kTokens[static_cast<std::size_t>(i)]));
  return {{"version", "1.0"},
          {"truncation", {{"max_length", 4}}},
          {"padding", {{"strategy", {{"Fixed", 64}}}}},
          {"added_tokens", added},
          {"normalizer",
           {{"type", "BertNormalizer"},
            {"clean_text", true},
            {"handle_chinese_chars", true},
            {"strip_accents", nullptr},
            {"lowercase", true}}},
          {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
          {"post_processor", {{"type", "BertProcessing"}, {"sep", {"[SEP]", 3}}, {"cls", {"[CLS]", 2}}}},
          {"model",
           {{"type", "WordPiece"},
            {"unk_token", "[UNK]"},
            {"continuing_subword_prefix", "##"},
            {"max_input_chars_per_word", 100},
            {"vocab", vocab}}}};
}

Result<Tokenizer> load(const Json& json, std::uint32_t max_tokens = 512) {
  const test::TemporaryFolder folder;
  folder.write("tokenizer.json", json.dump());
  return Tokenizer::load(folder.path().string(), max_tokens);
}

Tokenizer must_load(const Json& json, std::uint32_t max_tokens = 512) {
  auto tokenizer = load(json, max_tokens);
  if (!tokenizer) FAIL(tokenizer.error().text());
  return *std::move(tokenizer);
}

Ids encode(const Tokenizer& tokenizer, std::string_view text) {
  const auto ids = tokenizer.encode(text);
  if (!ids) FAIL(ids.error().text());
  return *ids;
}

std::string vocab_txt(const std::string& line_end) {
  std::string text;
  for (const std::string& token : kTokens) text += token + line_end;
  return text;
}

/// The error of a folder that must not load.
Error refused(const test::TemporaryFolder& folder) {
  const auto tokenizer = Tokenizer::load(folder.path().string(), 512);
  if (tokenizer) FAIL("loaded");
  return tokenizer.error();
}

bool says(const Error& error, const std::string& part) { return error.message().find(part) != std::string_view::npos; }

}  // namespace

TEST_CASE("tokenizer: words become their longest pieces between [CLS] and [SEP]") {
  const Tokenizer tokenizer = must_load(tiny());
  CHECK(tokenizer.vocab_size() == kTokens.size());
  CHECK(encode(tokenizer, "") == Ids{2, 3});
  CHECK(encode(tokenizer, " \t\n") == Ids{2, 3});
  CHECK(encode(tokenizer, "ab abb, x") == Ids{2, 7, 7, 6, 8, 1, 3});
  CHECK(encode(tokenizer, "A\u4e2dE\u00c9e\u0301") == Ids{2, 5, 13, 1, 3});
  CHECK(encode(tokenizer, "\u00c9 e\u0301") == Ids{2, 9, 9, 3});
}

TEST_CASE("tokenizer: NUL and other controls vanish inside a word") {
  const Tokenizer tokenizer = must_load(tiny());
  using namespace std::string_view_literals;
  CHECK(encode(tokenizer, "a\0b\x01\u200d"sv) == Ids{2, 7, 3});
  CHECK(encode(tokenizer, "\0"sv) == Ids{2, 3});
}

TEST_CASE("tokenizer: a word of more than the allowed characters is one unknown token") {
  Json json = tiny();
  CHECK(encode(must_load(json), "a" + std::string(99, 'b')).size() == 2 + 99);
  CHECK(encode(must_load(json), "a" + std::string(100, 'b')) == Ids{2, 1, 3});
  json["model"]["max_input_chars_per_word"] = 2;
  CHECK(encode(must_load(json), "ab abb \u00e9\u00e9") == Ids{2, 7, 1, 1, 3});
  json["model"]["max_input_chars_per_word"] = 0;
  CHECK(encode(must_load(json), "ab") == Ids{2, 1, 3});
}

TEST_CASE("tokenizer: casing and accents follow the normalizer's switches") {
  Json json = tiny();
  json["normalizer"]["lowercase"] = false;
  CHECK(encode(must_load(json), "E \u00e9 A") == Ids{2, 10, 15, 1, 3});
  json["normalizer"]["strip_accents"] = true;
  CHECK(encode(must_load(json), "\u00c9 \u00e9") == Ids{2, 10, 9, 3});
  json["normalizer"]["lowercase"] = true;
  json["normalizer"]["strip_accents"] = false;
  CHECK(encode(must_load(json), "\u00c9") == Ids{2, 15, 3});
}

TEST_CASE("tokenizer: special tokens in the text are taken whole, in their own case only") {
  const Tokenizer tokenizer = must_load(tiny());
  CHECK(encode(tokenizer, "a[SEP]b[[MASK]]") == Ids{2, 5, 3, 1, 11, 4, 12, 3});
  CHECK(encode(tokenizer, "[cls]") == Ids{2, 11, 14, 12, 3});
}

TEST_CASE("tokenizer: an added token is looked for in raw or normalized text as its flag says") {
  Json json = tiny();
  Json token = added_token(16, "New E");
  token["normalized"] = true;
  json["added_tokens"].push_back(token);
  const Tokenizer tokenizer = must_load(json);
  CHECK(tokenizer.vocab_size() == 17);
  CHECK(encode(tokenizer, "a N\u00c9W \u00c9,") == Ids{2, 5, 16, 8, 3});
  json["added_tokens"][5]["normalized"] = false;
  CHECK(encode(must_load(json), "New E new e") == Ids{2, 16, 1, 9, 3});
}

TEST_CASE("tokenizer: truncation keeps [SEP], and count is not truncated") {
  for (std::uint32_t limit = 3; limit < 8; ++limit) {
    const Tokenizer tokenizer = must_load(tiny(), limit);
    Ids all{2, 5, 8, 7, 6, 6, 3};
    if (limit < all.size()) all.erase(all.begin() + limit - 1, all.end() - 1);
    CHECK(encode(tokenizer, "a, abbb") == all);
    CHECK(*tokenizer.count("a, abbb") == 5);
  }
  CHECK(*must_load(tiny()).count("") == 0);
}

TEST_CASE("tokenizer: malformed UTF-8 is refused by its offset, also beyond the truncation") {
  const Tokenizer tokenizer = must_load(tiny(), 3);
  for (const std::string text : {"a a a a \xff", "a a a a \xed\xa0\x80", "a a a a \xe4\xb8"}) {
    const auto ids = tokenizer.encode(text);
    REQUIRE_FALSE(ids.has_value());
    CHECK(ids.error().code() == ErrorCode::invalid_argument);
    CHECK(says(ids.error(), "byte 8"));
    CHECK_FALSE(tokenizer.count(text).has_value());
  }
}

TEST_CASE("tokenizer: huge inputs take memory and time in proportion") {
  const Tokenizer tokenizer = must_load(tiny(), 16);
  CHECK(encode(tokenizer, std::string(4U << 20, 'a')) == Ids{2, 1, 3});
  CHECK(encode(tokenizer, std::string(4U << 20, ',')).size() == 16);
  CHECK(*tokenizer.count(std::string(4U << 20, '[')) == 4U << 20);
  std::string marks;
  while (marks.size() < 1U << 20) marks += "\u302e\U0001d165";
  CHECK(*tokenizer.count(marks) == 1);
}

TEST_CASE("tokenizer: vocab.txt alone means an uncased BERT, with any line ends") {
  for (const std::string line_end : {"\n", "\r\n", " \t\n"}) {
    const test::TemporaryFolder folder;
    folder.write("vocab.txt", vocab_txt(line_end));
    folder.write("sentence_bert_config.json", R"({"do_lower_case": false})");
    const auto tokenizer = Tokenizer::load(folder.path().string(), 512);
    REQUIRE(tokenizer.has_value());
    CHECK(tokenizer->vocab_size() == kTokens.size());
    CHECK(encode(*tokenizer, "AB \u00c9[MASK],\u4e2d") == Ids{2, 7, 9, 4, 8, 13, 3});
  }
}

TEST_CASE("tokenizer: tokenizer_config.json sets the casing and the names of a vocab.txt") {
  const test::TemporaryFolder folder;
  folder.write("vocab.txt", vocab_txt("\n") + "<s>");
  folder.write("tokenizer_config.json",
               R"({"do_lower_case": false, "strip_accents": null, "tokenize_chinese_chars": false,
                   "cls_token": {"content": "<s>"}, "mask_token": "<none>"})");
  auto tokenizer = Tokenizer::load(folder.path().string(), 512);
  REQUIRE(tokenizer.has_value());
  CHECK(encode(*tokenizer, "E \u00e9 A a\u4e2d<s>[CLS]") == Ids{16, 10, 15, 1, 1, 16, 11, 1, 12, 3});
  // Text lower-cased ahead of a cased tokenizer keeps its accents.
  folder.write("sentence_bert_config.json", R"({"do_lower_case": true})");
  tokenizer = Tokenizer::load(folder.path().string(), 512);
  REQUIRE(tokenizer.has_value());
  CHECK(encode(*tokenizer, "E \u00c9") == Ids{16, 9, 15, 3});
}

TEST_CASE("tokenizer: a missing or damaged vocab.txt is named") {
  const test::TemporaryFolder folder;
  CHECK(refused(folder).code() == ErrorCode::not_found);
  CHECK(says(refused(folder), "vocab.txt"));
  folder.write("vocab.txt", "");
  CHECK(refused(folder).code() == ErrorCode::corrupt_data);
  folder.write("vocab.txt", "[UNK]\n[CLS]\na\n");
  CHECK(says(refused(folder), "sep_token \"[SEP]\""));
  folder.write("vocab.txt", "[UNK]\n[CLS]\n[SEP]\na\nb\na \n");
  CHECK(refused(folder).code() == ErrorCode::corrupt_data);
  CHECK(says(refused(folder), "vocab.txt: line 6: \"a\" is already on line 4"));
  folder.write("vocab.txt", "[UNK]\n\xff");
  CHECK(says(refused(folder), "vocab.txt: malformed UTF-8 at byte 6"));
  folder.write("vocab.txt", vocab_txt("\n"));
  folder.write("tokenizer_config.json", R"({"do_lower_case": "yes"})");
  CHECK(says(refused(folder), "tokenizer_config.json: do_lower_case"));
}

TEST_CASE("tokenizer: a limit without room for text is refused") {
  for (const std::uint32_t limit : {0U, 1U, 2U}) {
    const auto tokenizer = load(tiny(), limit);
    REQUIRE_FALSE(tokenizer.has_value());
    CHECK(tokenizer.error().code() == ErrorCode::invalid_argument);
  }
}

TEST_CASE("tokenizer: a damaged tokenizer.json is refused with file and field") {
  struct Damage {
    const char* pointer;
    Json value;
    ErrorCode code;
    const char* says;
  };
  const auto corrupt = ErrorCode::corrupt_data;
  const auto unsupported = ErrorCode::unsupported;
  const std::vector<Damage> damages{
      {"/version", "2.0", unsupported, "version"},
      {"/model", nullptr, corrupt, "model: missing"},
      {"/model/type", "BPE", unsupported, "model.type: is \"BPE\""},
      {"/model/type", "Unigram", unsupported, "\"Unigram\""},
      {"/model/unk_token", "<none>", corrupt, "\"<none>\""},
      {"/model/unk_token", 3, corrupt, "model.unk_token: must be a string"},
      {"/model/continuing_subword_prefix", nullptr, corrupt, "model.continuing_subword_prefix"},
      {"/model/max_input_chars_per_word", -1, corrupt, "model.max_input_chars_per_word"},
      {"/model/vocab", Json::array(), corrupt, "model.vocab: must be an object"},
      {"/model/vocab/e", 5, corrupt, "model.vocab"},
      {"/model/vocab/e", 99, corrupt, "model.vocab: the id of \"e\" is 99"},
      {"/model/vocab/e", -1, corrupt, "model.vocab"},
      {"/model/vocab/e", 9.5, corrupt, "model.vocab"},
      {"/normalizer", nullptr, unsupported, "normalizer"},
      {"/normalizer/type", "NFKC", unsupported, "normalizer.type: is \"NFKC\""},
      {"/normalizer/lowercase", nullptr, corrupt, "normalizer.lowercase"},
      {"/normalizer/strip_accents", 1, corrupt, "normalizer.strip_accents"},
      {"/pre_tokenizer/type", "ByteLevel", unsupported, "pre_tokenizer.type: is \"ByteLevel\""},
      {"/post_processor", nullptr, unsupported, "post_processor"},
      {"/post_processor/type", "RobertaProcessing", unsupported, "\"RobertaProcessing\""},
      {"/post_processor/cls/1", 16, corrupt, "post_processor.cls"},
      {"/post_processor/sep", "x", corrupt, "post_processor.sep"},
      {"/added_tokens", "x", corrupt, "added_tokens"},
      {"/added_tokens/1", "x", corrupt, "added_tokens[1]"},
      {"/added_tokens/1/id", 7, corrupt, "added_tokens[1].id: is 7 for \"[UNK]\", whose id is 1"},
      {"/added_tokens/1/content", "new", corrupt, "added_tokens[1].id: is 1 for \"new\", whose id is 16"},
      {"/added_tokens/1/content", "[PAD]", corrupt, "listed twice"},
      {"/added_tokens/1/single_word", true, unsupported, "added_tokens[1].single_word"},
      {"/added_tokens/1/lstrip", nullptr, corrupt, "added_tokens[1].lstrip"},
  };
  for (const Damage& damage : damages) {
    INFO(damage.pointer << " " << damage.value.dump());
    Json json = tiny();
    json[Json::json_pointer(damage.pointer)] = damage.value;
    const auto tokenizer = load(json);
    REQUIRE_FALSE(tokenizer.has_value());
    INFO(tokenizer.error().text());
    CHECK(tokenizer.error().code() == damage.code);
    CHECK(says(tokenizer.error(), "tokenizer.json: "));
    CHECK(says(tokenizer.error(), damage.says));
  }
}

TEST_CASE("tokenizer: a template gives its special tokens, and only around one text") {
  Json json = tiny();
  const Json cls{{"SpecialToken", {{"id", "[CLS]"}, {"type_id", 0}}}};
  const Json text{{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  json["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single", {cls, text, cls, cls}},
                            {"special_tokens", {{"[CLS]", {{"id", "[CLS]"}, {"ids", {2, 4}}}}}}};
  CHECK(encode(must_load(json), "a a") == Ids{2, 4, 5, 5, 2, 4, 2, 4});
  CHECK(encode(must_load(json, 7), "a a") == Ids{2, 4, 5, 2, 4, 2, 4});
  CHECK(load(json, 6).error().code() == ErrorCode::invalid_argument);
  SUBCASE("two texts") { json["post_processor"]["single"] = {text, text}; }
  SUBCASE("no text") { json["post_processor"]["single"] = {cls}; }
  SUBCASE("an unknown token") { json["post_processor"]["special_tokens"] = Json::object(); }
  SUBCASE("an id outside") { json["post_processor"]["special_tokens"]["[CLS]"]["ids"] = {16}; }
  SUBCASE("something else") { json["post_processor"]["single"][0] = "[CLS]"; }
  const auto tokenizer = load(json);
  REQUIRE_FALSE(tokenizer.has_value());
  CHECK(says(tokenizer.error(), "tokenizer.json: post_processor.s"));
}

TEST_CASE("tokenizer: tokenizer.json cut anywhere is refused, never half read") {
  const std::string whole = tiny().dump();
  for (std::size_t length = 0; length < whole.size(); length += 7) {
    const test::TemporaryFolder folder;
    folder.write("tokenizer.json", whole.substr(0, length));
    const Error error = refused(folder);
    CHECK(error.code() == ErrorCode::corrupt_data);
    CHECK(says(error, "tokenizer.json"));
  }
}

TEST_CASE("tokenizer: the real model's tokenizer.json and vocab.txt give the same ids") {
  const auto model = test::model_folder();
  if (!model) {
    MESSAGE("no model in " << TIDEGATE_TEST_VENV << ": not compared");
    return;
  }
  const test::TemporaryFolder folder;
  for (const char* name : {"vocab.txt", "tokenizer_config.json", "sentence_bert_config.json"}) {
    std::filesystem::copy_file(*model / name, folder.path() / name);
  }
  const auto by_json = Tokenizer::load(model->string(), 512);
  const auto by_vocab = Tokenizer::load(folder.path().string(), 512);
  REQUIRE(by_json.has_value());
  REQUIRE(by_vocab.has_value());
  CHECK(by_json->vocab_size() == 30522);
  CHECK(by_vocab->vocab_size() == 30522);
  CHECK(encode(*by_json, "Hello, world!") == Ids{101, 7592, 1010, 2088, 999, 102});
  for (const char* name : {"README.md", "vocab.txt"}) {
    std::ifstream file(*model / name);
    const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    CHECK(encode(*by_json, text) == encode(*by_vocab, text));
    CHECK(*by_json->count(text) == *by_vocab->count(text));
  }
}
