// The `tokenizer.json` format of the Hugging Face tokenizers library, as far as BERT
// models use it.
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "runner/encoder/tokenizer_fields.hpp"
#include "runner/encoder/tokenizer_files.hpp"

namespace tidegate {
namespace {

using Json = nlohmann::json;

Step step(bool is_on) { return is_on ? Step::on : Step::off; }

/// The object `name`, whose type must be `type`.
Result<TokenizerFields> typed(const TokenizerFields& document, const char* name, const std::string& type) {
  if (document.find(name) == nullptr) {
    return document.error(ErrorCode::unsupported, name, "is null or missing, only " + type + " is supported");
  }
  TIDEGATE_TRY(const TokenizerFields object, document.object(name));
  TIDEGATE_TRY(const std::string found, object.text("type"));
  if (found != type) {
    return object.error(ErrorCode::unsupported, "type", "is \"" + found + "\", only " + type + " is supported");
  }
  return object;
}

Result<NormalizerOptions> read_normalizer(const TokenizerFields& document) {
  TIDEGATE_TRY(const TokenizerFields normalizer, typed(document, "normalizer", "BertNormalizer"));
  TIDEGATE_TRY(const bool clean_text, normalizer.flag("clean_text"));
  TIDEGATE_TRY(const bool chinese, normalizer.flag("handle_chinese_chars"));
  TIDEGATE_TRY(const bool lowercase, normalizer.flag("lowercase"));
  TIDEGATE_TRY(const bool strip_accents, normalizer.flag_or("strip_accents", lowercase));
  return NormalizerOptions{step(clean_text), step(chinese), step(strip_accents), step(lowercase)};
}

Result<std::vector<std::string>> read_vocabulary(const TokenizerFields& model, const std::string& path) {
  TIDEGATE_TRY(const TokenizerFields vocab, model.object("vocab"));
  const Json& entries = *model.find("vocab");
  std::vector<std::string> tokens(entries.size());
  std::vector<bool> taken(entries.size(), false);
  for (const auto& [token, id] : entries.items()) {
    // A token listed twice loses one of its ids, so dense ids also mean no duplicates.
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= tokens.size() || taken[id.get<std::size_t>()]) {
      return Error(ErrorCode::corrupt_data, path + ": model.vocab: the id of \"" + token + "\" is " + id.dump() +
                                                "; ids must be 0.." + std::to_string(tokens.size()) +
                                                " without it, each once");
    }
    taken[id.get<std::size_t>()] = true;
    tokens[id.get<std::size_t>()] = token;
  }
  return tokens;
}

/// Reads one document, section by section.
class Reader {
 public:
  Reader(const std::string& path, const TokenizerFields& document) : document_(document) { files_.source = path; }

  Result<TokenizerFiles> read() && {
    if (document_.find("version") != nullptr) {
      TIDEGATE_TRY(const std::string version, document_.text("version"));
      if (version != "1.0")
        return document_.error(ErrorCode::unsupported, "version", "is \"" + version + "\", not 1.0");
    }
    // The model first: a file of another kind is best described by it.
    TIDEGATE_CHECK(read_model());
    TIDEGATE_TRY(files_.normalizer, read_normalizer(document_));
    TIDEGATE_TRY(const TokenizerFields pre_tokenizer, typed(document_, "pre_tokenizer", "BertPreTokenizer"));
    TIDEGATE_CHECK(read_added_tokens());
    TIDEGATE_CHECK(read_post_processor());
    return std::move(files_);
  }

 private:
  Result<void> read_model() {
    TIDEGATE_TRY(const TokenizerFields model, document_.object("model"));
    // Files older than the field have none.
    if (model.find("type") != nullptr) {
      TIDEGATE_TRY(const TokenizerFields checked, typed(document_, "model", "WordPiece"));
    }
    TIDEGATE_TRY(files_.unknown_token, model.text("unk_token"));
    TIDEGATE_TRY(files_.continuing_prefix, model.text("continuing_subword_prefix"));
    TIDEGATE_TRY(const std::int32_t max_chars, model.number("max_input_chars_per_word"));
    files_.max_word_chars = static_cast<std::size_t>(max_chars);
    TIDEGATE_TRY(files_.vocabulary, read_vocabulary(model, files_.source));
    return {};
  }

  Result<AddedToken> read_added_token(const TokenizerFields& entry) {
    AddedToken token;
    TIDEGATE_TRY(token.content, entry.text("content"));
    TIDEGATE_TRY(token.id, entry.number("id"));
    TIDEGATE_TRY(const bool normalized, entry.flag("normalized"));
    TIDEGATE_TRY(const bool single_word, entry.flag("single_word"));
    TIDEGATE_TRY(const bool strip_left, entry.flag("lstrip"));
    TIDEGATE_TRY(const bool strip_right, entry.flag("rstrip"));
    if (single_word)
      return entry.error(ErrorCode::unsupported, "single_word", "is true; BERT's added tokens have false");
    token.normalized = step(normalized);
    token.strip_left = step(strip_left);
    token.strip_right = step(strip_right);
    return token;
  }

  /// The id must be the one that the library gives: the vocabulary's, or the next one.
  Result<void> check_id(const TokenizerFields& entry, const AddedToken& token) {
    const auto [known, is_new] = ids_.emplace(token.content, static_cast<std::int32_t>(files_.size));
    if (token.id != known->second) {
      return entry.error(ErrorCode::corrupt_data, "id",
                         "is " + std::to_string(token.id) + " for \"" + token.content + "\", whose id is " +
                             std::to_string(known->second));
    }
    if (is_new) ++files_.size;
    return {};
  }

  Result<void> read_added_tokens() {
    files_.size = static_cast<std::uint32_t>(files_.vocabulary.size());
    for (const std::string& token : files_.vocabulary) ids_.emplace(token, static_cast<std::int32_t>(ids_.size()));
    std::unordered_set<std::string> seen;
    if (document_.find("added_tokens") == nullptr) return {};
    TIDEGATE_TRY(const Json* entries, document_.array("added_tokens"));
    for (std::size_t i = 0; i < entries->size(); ++i) {
      const std::string where = "added_tokens[" + std::to_string(i) + "]";
      if (!(*entries)[i].is_object()) return document_.error(ErrorCode::corrupt_data, where, "must be an object");
      const TokenizerFields entry(files_.source, where, (*entries)[i]);
      TIDEGATE_TRY(const AddedToken token, read_added_token(entry));
      if (token.content.empty()) continue;
      if (!seen.insert(token.content).second) {
        return entry.error(ErrorCode::corrupt_data, "content", "\"" + token.content + "\" is listed twice");
      }
      TIDEGATE_CHECK(check_id(entry, token));
      files_.added.push_back(token);
    }
    return {};
  }

  Result<std::vector<std::int32_t>> template_ids(const TokenizerFields& processor, const std::string& token) {
    TIDEGATE_TRY(const TokenizerFields specials, processor.object("special_tokens"));
    TIDEGATE_TRY(const TokenizerFields special, specials.object(token.c_str()));
    TIDEGATE_TRY(const Json* entries, special.array("ids"));
    std::vector<std::int32_t> ids;
    for (const Json& id : *entries) {
      if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= files_.size) {
        return special.error(ErrorCode::corrupt_data, "ids", id.dump() + " is not an id of the vocabulary");
      }
      ids.push_back(id.get<std::int32_t>());
    }
    return ids;
  }

  /// post_processor.single: special tokens, the text once, special tokens.
  Result<void> read_template(const TokenizerFields& processor) {
    TIDEGATE_TRY(const Json* pieces, processor.array("single"));
    std::size_t texts = 0;
    for (const Json& piece : *pieces) {
      if (piece.is_object() && piece.contains("Sequence")) {
        ++texts;
        continue;
      }
      if (!piece.is_object() || !piece.contains("SpecialToken") || !piece["SpecialToken"].is_object()) {
        return processor.error(ErrorCode::corrupt_data, "single", "must hold SpecialToken and Sequence only");
      }
      const TokenizerFields special(files_.source, processor.place("single.SpecialToken"), piece["SpecialToken"]);
      TIDEGATE_TRY(const std::string token, special.text("id"));
      TIDEGATE_TRY(const std::vector<std::int32_t> ids, template_ids(processor, token));
      auto& side = texts == 0 ? files_.head : files_.tail;
      side.insert(side.end(), ids.begin(), ids.end());
    }
    if (texts != 1) return processor.error(ErrorCode::unsupported, "single", "must hold the text exactly once");
    return {};
  }

  /// BertProcessing's "cls" or "sep": [token, id].
  Result<std::int32_t> pair_id(const TokenizerFields& processor, const char* name) {
    TIDEGATE_TRY(const Json* pair, processor.array(name));
    if (pair->size() != 2 || !(*pair)[0].is_string() || !(*pair)[1].is_number_unsigned() ||
        (*pair)[1].get<std::uint64_t>() >= files_.size) {
      return processor.error(ErrorCode::corrupt_data, name, "must be a token and its id in the vocabulary");
    }
    return (*pair)[1].get<std::int32_t>();
  }

  Result<void> read_post_processor() {
    if (document_.find("post_processor") == nullptr) {
      return document_.error(ErrorCode::unsupported, "post_processor",
                             "is null or missing; [CLS] and [SEP] are needed");
    }
    TIDEGATE_TRY(const TokenizerFields processor, document_.object("post_processor"));
    TIDEGATE_TRY(const std::string type, processor.text("type"));
    if (type == "TemplateProcessing") {
      TIDEGATE_CHECK(read_template(processor));
    } else if (type == "BertProcessing") {
      TIDEGATE_TRY(const std::int32_t cls, pair_id(processor, "cls"));
      TIDEGATE_TRY(const std::int32_t sep, pair_id(processor, "sep"));
      files_.head = {cls};
      files_.tail = {sep};
    } else {
      return processor.error(ErrorCode::unsupported, "type",
                             "is \"" + type + "\", only TemplateProcessing and BertProcessing are supported");
    }
    return {};
  }

  const TokenizerFields& document_;
  TokenizerFiles files_;
  std::unordered_map<std::string, std::int32_t> ids_;  // of the vocabulary and the added tokens
};

}  // namespace

Result<TokenizerFiles> read_tokenizer_json(const std::string& path) {
  TIDEGATE_TRY(const Json json, TokenizerFields::read(path));
  return Reader(path, TokenizerFields(path, "", json)).read();
}

}  // namespace tidegate
