#include "runner/encoder/word_piece.hpp"

#include <algorithm>

namespace tidegate {

Result<WordPiece> WordPiece::create(const std::vector<std::string>& vocabulary, const std::string& unknown_token,
                                    const std::string& continuing_prefix) {
  std::vector<std::pair<std::string, std::int32_t>> first;
  std::vector<std::pair<std::string, std::int32_t>> continuing;
  std::size_t bytes = 0;
  WordPiece model;
  model.unknown_id_ = -1;
  for (std::size_t i = 0; i < vocabulary.size(); ++i) {
    const std::string& token = vocabulary[i];
    const auto id = static_cast<std::int32_t>(i);
    if (token == unknown_token) model.unknown_id_ = id;
    bytes += token.size();
    if (token.starts_with(continuing_prefix)) continuing.emplace_back(token.substr(continuing_prefix.size()), id);
    first.emplace_back(token, id);
  }
  if (bytes > ByteTrie::kMaxBytes) {
    return Error(ErrorCode::unsupported, "the vocabulary has " + std::to_string(bytes) + " bytes; " +
                                             std::to_string(ByteTrie::kMaxBytes) + " is the limit");
  }
  if (model.unknown_id_ < 0) {
    return Error(ErrorCode::corrupt_data, "the unknown token \"" + unknown_token + "\" is not in the vocabulary");
  }
  model.first_ = ByteTrie(first);
  model.continuing_ = ByteTrie(continuing);
  return model;
}

void WordPiece::append(std::string_view word, std::vector<std::int32_t>& ids) const {
  const std::size_t before = ids.size();
  const ByteTrie* trie = &first_;
  std::size_t start = 0;
  while (start < word.size()) {
    std::int32_t best = ByteTrie::kNoValue;
    std::size_t best_end = start;
    ByteTrie::Node node = ByteTrie::kRoot;
    for (std::size_t at = start; at < word.size(); ++at) {
      node = trie->child(node, static_cast<unsigned char>(word[at]));
      if (node == ByteTrie::kNone) break;
      if (trie->value(node) != ByteTrie::kNoValue) {
        best = trie->value(node);
        best_end = at + 1;
      }
    }
    if (best == ByteTrie::kNoValue) {
      ids.resize(before);
      ids.push_back(unknown_id_);
      return;
    }
    ids.push_back(best);
    start = best_end;
    trie = &continuing_;
  }
}

}  // namespace tidegate
