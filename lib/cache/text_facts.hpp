// TextFacts: the words of a text that a like text must share before its answer may be used.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace tidegate {

class WordFrequency;

/// One word of a text, in its place.
struct TextWord {
  enum class Kind : std::uint8_t {
    strict,    ///< number, symbol, negation or a word that turns a meaning round: always counts
    ordinary,  ///< counts where it is rare
    function,  ///< article, auxiliary, question word: never counts
  };
  std::uint64_t hash = 0;  ///< of the word in lower case (ASCII), FNV-1a 64
  Kind kind = Kind::ordinary;
};

/// The words of `text` (UTF-8, malformed bytes are letters like any other), in order. A
/// word is a run of ASCII letters, digits and non-ASCII bytes, with apostrophes inside it and
/// with point, comma, colon, slash and hyphen between digits; each of %$#<>=+*/^&|~@ is one by
/// itself, and a sign before a digit belongs to the number. Words of several languages are
/// told apart by spaces only, so a text without spaces is one word: it never resembles another.
class TextFacts {
 public:
  explicit TextFacts(std::string_view text);

  [[nodiscard]] const std::vector<TextWord>& words() const noexcept { return words_; }
  [[nodiscard]] std::uint32_t length() const noexcept { return length_; }  ///< in code points

  /// Whether an answer to one of the texts may serve the other, as far as words tell:
  /// strict and rare words agree in order, and neither text is more than a quarter longer
  /// than the other.
  [[nodiscard]] static bool agree(const TextFacts& a, const TextFacts& b, const WordFrequency& known);

  /// Bytes on the heap.
  [[nodiscard]] std::uint64_t heap_bytes() const noexcept;

 private:
  std::vector<TextWord> words_;
  std::uint32_t length_ = 0;
};

}  // namespace tidegate
