// WordPiece: one word to token ids, longest match first.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runner/encoder/byte_trie.hpp"
#include "tidegate/result.hpp"

namespace tidegate {

/// Immutable and thread-safe; matching allocates only what the ids need.
class WordPiece {
 public:
  /// `vocabulary[id]` is the token's text.
  /// Errors: unsupported (vocabulary too large), corrupt_data (`unknown_token` is not
  /// in it). Neither names a file.
  [[nodiscard]] static Result<WordPiece> create(const std::vector<std::string>& vocabulary,
                                                const std::string& unknown_token, const std::string& continuing_prefix);

  /// Appends the pieces of a word that is not empty, or the unknown token alone where
  /// no pieces make it up. Linear in the word times the longest token.
  void append(std::string_view word, std::vector<std::int32_t>& ids) const;

  [[nodiscard]] std::int32_t unknown_id() const noexcept { return unknown_id_; }

 private:
  WordPiece() = default;
  ByteTrie first_;       // all tokens
  ByteTrie continuing_;  // tokens with the continuing prefix, without it
  std::int32_t unknown_id_ = 0;
};

}  // namespace tidegate
