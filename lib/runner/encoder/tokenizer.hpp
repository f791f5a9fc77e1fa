// Tokenizer: text to token ids, exactly as the Hugging Face `tokenizers` library
// does for BERT models (BertNormalizer, BertPreTokenizer, WordPiece).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tidegate/result.hpp"

namespace tidegate {

/// Immutable and thread-safe after load.
class Tokenizer {
 public:
  /// Reads tokenizer.json (or, where it is absent, vocab.txt with
  /// tokenizer_config.json / sentence_bert_config.json for lower-casing).
  /// `max_tokens` is the model's limit, special tokens included, >= 3.
  /// Errors name file and field: not_found, corrupt_data, unsupported (another
  /// normalizer, pre-tokenizer or model type than BERT's).
  [[nodiscard]] static Result<Tokenizer> load(const std::string& folder, std::uint32_t max_tokens);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// [CLS] ... [SEP], truncated on the right to `max_tokens`. Well-formed UTF-8 only.
  /// Work is bounded by the input's length, also for one huge word.
  /// Errors: invalid_argument (malformed UTF-8: offset of the first bad byte).
  [[nodiscard]] Result<std::vector<std::int32_t>> encode(std::string_view text) const;

  /// Number of ids of `text` without special tokens and truncation (prompt lengths).
  [[nodiscard]] Result<std::uint32_t> count(std::string_view text) const;

  [[nodiscard]] std::uint32_t vocab_size() const noexcept;

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<const State> state) noexcept;
  std::unique_ptr<const State> state_;
};

}  // namespace tidegate
