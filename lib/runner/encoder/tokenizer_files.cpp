#include "runner/encoder/tokenizer_files.hpp"

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/utf8.hpp"
#include "runner/encoder/tokenizer_fields.hpp"

namespace tidegate {
namespace {

using Json = nlohmann::json;

Step step(bool is_on) { return is_on ? Step::on : Step::off; }

/// An optional side file: an empty object where there is none.
Result<Json> read_optional(const std::string& path) {
  Result<Json> json = TokenizerFields::read(path);
  if (!json && json.error().code() == ErrorCode::not_found) return Json::object();
  return json;
}

/// Tokens by line number. Lines end at LF; white space before it is no part of a token.
Result<std::vector<std::string>> read_lines(const std::string& path) {
  TIDEGATE_TRY(const std::string text, read_text_file(path));
  if (const std::size_t bad = find_invalid_utf8(text); bad != std::string::npos) {
    return Error(ErrorCode::corrupt_data, path + ": malformed UTF-8 at byte " + std::to_string(bad));
  }
  std::vector<std::string> tokens;
  std::unordered_map<std::string, std::size_t> lines;
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::size_t newline = rest.find('\n');
    const std::string_view line = rest.substr(0, newline);
    rest.remove_prefix(newline == std::string_view::npos ? rest.size() : newline + 1);
    tokens.emplace_back(line.substr(0, spaces_before(line, line.size(), 0)));
    const auto [earlier, is_new] = lines.emplace(tokens.back(), tokens.size());
    if (!is_new) {
      return Error(ErrorCode::corrupt_data, path + ": line " + std::to_string(tokens.size()) + ": \"" + tokens.back() +
                                                "\" is already on line " + std::to_string(earlier->second));
    }
  }
  return tokens;
}

/// A token's name in tokenizer_config.json: a string, or an object with `content`.
Result<std::string> token_name(const TokenizerFields& config, const char* field, const char* usual) {
  const Json* value = config.find(field);
  if (value == nullptr) return std::string(usual);
  if (!value->is_object()) return config.text(field);
  TIDEGATE_TRY(const TokenizerFields object, config.object(field));
  return object.text("content");
}

Result<NormalizerOptions> read_casing(const std::string& folder, const TokenizerFields& config) {
  const std::string path = folder + "/sentence_bert_config.json";
  TIDEGATE_TRY(const Json json, read_optional(path));
  const TokenizerFields sentence(path, "", json);
  TIDEGATE_TRY(const bool lowercase, config.flag_or("do_lower_case", true));
  TIDEGATE_TRY(const bool strip_accents, config.flag_or("strip_accents", lowercase));
  TIDEGATE_TRY(const bool chinese, config.flag_or("tokenize_chinese_chars", true));
  // That file's switch lower-cases the text ahead of the tokenizer: false switches
  // nothing off, and accents stay as the tokenizer itself treats them.
  TIDEGATE_TRY(const bool lowercase_ahead, sentence.flag_or("do_lower_case", false));
  return NormalizerOptions{Step::on, step(chinese), step(strip_accents), step(lowercase || lowercase_ahead)};
}

}  // namespace

Result<TokenizerFiles> read_vocab_txt(const std::string& folder) {
  TokenizerFiles files;
  files.source = folder + "/vocab.txt";
  TIDEGATE_TRY(files.vocabulary, read_lines(files.source));
  files.size = static_cast<std::uint32_t>(files.vocabulary.size());

  const std::string path = folder + "/tokenizer_config.json";
  TIDEGATE_TRY(const Json json, read_optional(path));
  const TokenizerFields config(path, "", json);
  TIDEGATE_TRY(files.normalizer, read_casing(folder, config));

  const auto id_of = [&files](const std::string& token) {
    const auto found = std::find(files.vocabulary.begin(), files.vocabulary.end(), token);
    return found == files.vocabulary.end() ? -1 : static_cast<std::int32_t>(found - files.vocabulary.begin());
  };
  const std::pair<const char*, const char*> fields[] = {{"unk_token", "[UNK]"},
                                                        {"cls_token", "[CLS]"},
                                                        {"sep_token", "[SEP]"},
                                                        {"pad_token", "[PAD]"},
                                                        {"mask_token", "[MASK]"}};
  for (const auto& [field, usual] : fields) {
    TIDEGATE_TRY(const std::string name, token_name(config, field, usual));
    const std::int32_t id = id_of(name);
    const std::string_view role = field;
    // [PAD] and [MASK] are never produced by a text that does not name them.
    if (id < 0 && (role == "unk_token" || role == "cls_token" || role == "sep_token")) {
      return Error(ErrorCode::corrupt_data, files.source + ": the " + field + " \"" + name + "\" is missing");
    }
    if (role == "unk_token") files.unknown_token = name;
    if (role == "cls_token") files.head = {id};
    if (role == "sep_token") files.tail = {id};
    if (id >= 0 && !name.empty()) files.added.push_back({name, id, Step::off, Step::off, Step::off});
  }
  return files;
}

Result<TokenizerFiles> read_tokenizer_files(const std::string& folder) {
  Result<TokenizerFiles> files = read_tokenizer_json(folder + "/tokenizer.json");
  if (files || files.error().code() != ErrorCode::not_found) return files;
  files = read_vocab_txt(folder);
  if (!files && files.error().code() == ErrorCode::not_found) {
    return Error(ErrorCode::not_found, folder + ": holds neither tokenizer.json nor vocab.txt");
  }
  return files;
}

}  // namespace tidegate
