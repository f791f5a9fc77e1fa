// AddedTokens: tokens that are found in the text before it is split into words.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runner/encoder/byte_trie.hpp"
#include "runner/encoder/char_table.hpp"

namespace tidegate {

/// An entry of tokenizer.json's `added_tokens`.
struct AddedToken {
  std::string content;
  std::int32_t id = 0;
  Step normalized = Step::off;   ///< on: looked for in the normalized text
  Step strip_left = Step::off;   ///< on: takes the white space before it
  Step strip_right = Step::off;  ///< on: takes the white space after it
};

/// Finds the leftmost, then longest token. Immutable and thread-safe.
class AddedTokens {
 public:
  /// Bytes begin..end of the text are `token`.
  struct Match {
    std::size_t begin, end;
    const AddedToken* token;
  };

  /// REQUIRES: no content is empty, ByteTrie::kMaxBytes in all.
  explicit AddedTokens(std::vector<AddedToken> tokens);

  [[nodiscard]] bool empty() const noexcept { return tokens_.empty(); }

  [[nodiscard]] std::optional<Match> find(std::string_view text, std::size_t from) const noexcept;

 private:
  [[nodiscard]] std::size_t next_candidate(std::string_view text, std::size_t from) const noexcept;

  std::vector<AddedToken> tokens_;
  ByteTrie trie_;  // content to place in tokens_
  std::array<bool, 256> begins_{};
  std::optional<char> only_begin_;  // where all tokens begin with the same byte
};

/// Start of the white space that ends at `end`, not before `from`.
[[nodiscard]] std::size_t spaces_before(std::string_view text, std::size_t end, std::size_t from) noexcept;
/// End of the white space that starts at `begin`.
[[nodiscard]] std::size_t spaces_after(std::string_view text, std::size_t begin) noexcept;

}  // namespace tidegate
