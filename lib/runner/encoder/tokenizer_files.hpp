// TokenizerFiles: what a model folder says about its tokenizer, checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "runner/encoder/added_tokens.hpp"
#include "runner/encoder/char_table.hpp"
#include "tidegate/result.hpp"

namespace tidegate {

struct TokenizerFiles {
  std::string source;  ///< the file the vocabulary came from
  NormalizerOptions normalizer;
  std::vector<std::string> vocabulary;  ///< by id
  std::string unknown_token = "[UNK]";
  std::string continuing_prefix = "##";
  std::size_t max_word_chars = 100;  ///< code points; longer words are unknown
  std::vector<AddedToken> added;     ///< ids beyond the vocabulary follow it without gaps
  std::uint32_t size = 0;            ///< vocabulary and added tokens beyond it
  std::vector<std::int32_t> head;    ///< before every text: [CLS]
  std::vector<std::int32_t> tail;    ///< after every text: [SEP]
};

/// Reads tokenizer.json or, where there is none, vocab.txt with tokenizer_config.json and
/// sentence_bert_config.json. Truncation and padding sections are ignored.
/// Errors: not_found, io_error, corrupt_data, unsupported; all name file and field.
[[nodiscard]] Result<TokenizerFiles> read_tokenizer_files(const std::string& folder);

/// Parts of the above. `path` is the file's path, for reading and for messages.
[[nodiscard]] Result<TokenizerFiles> read_tokenizer_json(const std::string& path);
[[nodiscard]] Result<TokenizerFiles> read_vocab_txt(const std::string& folder);

}  // namespace tidegate
