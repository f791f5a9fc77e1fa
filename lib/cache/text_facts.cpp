#include "cache/text_facts.hpp"

#include <algorithm>
#include <array>
#include <string>

#include "cache/heap_charge.hpp"
#include "cache/word_frequency.hpp"

namespace tidegate {
namespace {

using Kind = TextWord::Kind;

/// Negations of some languages, numbers in words, and words whose exchange turns a question
/// into another one. Sorted by byte.
constexpr auto kStrictWords = std::to_array<std::string_view>({
    "above",   "absent",    "accept",     "add",      "after",     "all",      "allow",      "allowed",  "always",
    "any",     "ascending", "aucun",      "before",   "below",     "best",     "better",     "billion",  "both",
    "bottom",  "cannot",    "cheaper",    "close",    "closed",    "cold",     "connect",    "create",   "decrease",
    "delete",  "deny",      "descending", "disable",  "disabled",  "disallow", "disconnect", "double",   "down",
    "each",    "earlier",   "east",       "eight",    "eighteen",  "eighty",   "either",     "eleven",   "empty",
    "enable",  "enabled",   "end",        "every",    "everyone",  "except",   "exclude",    "export",   "faster",
    "fewer",   "fewest",    "fifteen",    "fifth",    "fifty",     "first",    "five",       "forbid",   "forbidden",
    "forty",   "four",      "fourteen",   "fourth",   "full",      "half",     "hardly",     "high",     "higher",
    "highest", "hot",       "hundred",    "import",   "inbound",   "include",  "increase",   "input",    "inside",
    "install", "jamais",    "kein",       "keine",    "keinen",    "last",     "later",      "least",    "left",
    "less",    "lock",      "login",      "logout",   "low",       "lower",    "lowest",     "max",      "maximum",
    "million", "min",       "minimum",    "minus",    "more",      "most",     "must",       "never",    "newest",
    "nicht",   "nie",       "niemals",    "nine",     "nineteen",  "ninety",   "no",         "nobody",   "none",
    "nor",     "north",     "not",        "nothing",  "nunca",     "off",      "old",        "oldest",   "on",
    "one",     "only",      "open",       "opened",   "outbound",  "output",   "outside",    "over",     "pas",
    "plus",    "present",   "private",    "public",   "read",      "refuse",   "reject",     "remove",   "right",
    "second",  "seven",     "seventeen",  "seventy",  "short",     "sin",      "six",        "sixteen",  "sixty",
    "slower",  "some",      "south",      "start",    "started",   "stop",     "stopped",    "subtract", "ten",
    "third",   "thirteen",  "thirty",     "thousand", "three",     "top",      "triple",     "twelve",   "twenty",
    "twice",   "two",       "unable",     "under",    "uninstall", "unless",   "unlock",     "unsafe",   "until",
    "up",      "upper",     "west",       "with",     "without",   "worse",    "worst",      "write",    "wrong",
    "zero",
});

/// Words that carry no topic. Sorted by byte.
constexpr auto kFunctionWords = std::to_array<std::string_view>({
    "a",     "about",  "am",    "an",    "and",   "are",   "as",     "at",   "be",   "been",  "by",     "can",
    "could", "did",    "do",    "does",  "doing", "for",   "from",   "get",  "had",  "has",   "have",   "hello",
    "hey",   "hi",     "how",   "i",     "if",    "in",    "into",   "is",   "it",   "its",   "just",   "know",
    "let",   "like",   "may",   "me",    "might", "my",    "need",   "of",   "or",   "our",   "please", "s",
    "shall", "should", "so",    "tell",  "than",  "thank", "thanks", "that", "the",  "their", "them",   "there",
    "these", "they",   "this",  "those", "to",    "us",    "want",   "was",  "way",  "we",    "were",   "what",
    "when",  "where",  "which", "while", "who",   "whom",  "whose",  "why",  "will", "would", "you",    "your",
});

static_assert(std::is_sorted(kStrictWords.begin(), kStrictWords.end()));
static_assert(std::is_sorted(kFunctionWords.begin(), kFunctionWords.end()));

bool digit(char c) { return c >= '0' && c <= '9'; }
bool word_byte(char c) {
  return digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80;
}
bool joins_digits(char c) { return c == '.' || c == ',' || c == ':' || c == '/' || c == '-'; }
bool symbol(char c) { return c != '\0' && std::string_view("%$#<>=+*/^&|~@").find(c) != std::string_view::npos; }

std::uint64_t hash_of_word(std::string_view word) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : word) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}

template <std::size_t N>
bool listed(const std::array<std::string_view, N>& words, std::string_view word) {
  return std::binary_search(words.begin(), words.end(), word);
}

Kind kind_of(std::string_view word) {
  if (std::any_of(word.begin(), word.end(), digit)) return Kind::strict;
  if (word.ends_with("n't") || listed(kStrictWords, word)) return Kind::strict;
  return listed(kFunctionWords, word) ? Kind::function : Kind::ordinary;
}

/// The typographic apostrophe (U+2019) is read as the plain one.
std::string with_plain_apostrophes(std::string_view text) {
  constexpr std::string_view typographic = "\xE2\x80\x99";
  std::string plain(text);
  for (std::size_t at = plain.find(typographic); at != std::string::npos; at = plain.find(typographic, at + 1)) {
    plain.replace(at, typographic.size(), 1, '\'');
  }
  return plain;
}

/// Reads a text word by word; beyond its end are zeros.
class Words {
 public:
  explicit Words(std::string_view text) : text_(with_plain_apostrophes(text)) {}

  /// The next word in lower case; empty at the end.
  [[nodiscard]] std::string next() {
    while (at_ < text_.size() && !word_byte(peek(0)) && !symbol(peek(0)) && !sign()) ++at_;
    std::string word;
    if (at_ < text_.size() && (sign() || !word_byte(peek(0)))) {
      const bool number = sign();
      word.push_back(text_[at_++]);
      if (!number) return word;
    }
    while (at_ < text_.size() && inside(word)) word.push_back(lower(text_[at_++]));
    while (word.ends_with('\'')) word.pop_back();
    return word;
  }

 private:
  [[nodiscard]] char peek(std::size_t ahead) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  [[nodiscard]] bool sign() const {
    return (peek(0) == '-' || peek(0) == '+') && digit(peek(1)) && (at_ == 0 || !word_byte(text_[at_ - 1]));
  }
  [[nodiscard]] bool inside(std::string_view word) const {
    if (word_byte(peek(0))) return true;
    if (word.empty()) return false;
    if (peek(0) == '\'') return word_byte(peek(1));
    return joins_digits(peek(0)) && digit(word.back()) && digit(peek(1));
  }
  [[nodiscard]] static char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

  const std::string text_;
  std::size_t at_ = 0;
};

/// The next word from `at` on that must agree; the end if there is none.
std::size_t next_counting(const std::vector<TextWord>& words, std::size_t at, const WordFrequency& known) {
  while (at < words.size() &&
         (words[at].kind == Kind::function || (words[at].kind == Kind::ordinary && !known.rare(words[at].hash)))) {
    ++at;
  }
  return at;
}

}  // namespace

TextFacts::TextFacts(std::string_view text) {
  for (const char c : text) length_ += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
  Words reader(text);
  for (std::string word = reader.next(); !word.empty(); word = reader.next()) {
    words_.push_back({hash_of_word(word), kind_of(word)});
  }
  words_.shrink_to_fit();
}

bool TextFacts::agree(const TextFacts& a, const TextFacts& b, const WordFrequency& known) {
  const std::uint64_t shorter = std::min(a.length_, b.length_);
  const std::uint64_t longer = std::max(a.length_, b.length_);
  if (longer * 4 > shorter * 5) return false;
  std::size_t i = 0;
  std::size_t j = 0;
  for (;; ++i, ++j) {
    i = next_counting(a.words_, i, known);
    j = next_counting(b.words_, j, known);
    if (i == a.words_.size() || j == b.words_.size()) return i == a.words_.size() && j == b.words_.size();
    if (a.words_[i].hash != b.words_[j].hash) return false;
  }
}

std::uint64_t TextFacts::heap_bytes() const noexcept { return heap_charge(words_.capacity() * sizeof(TextWord)); }

}  // namespace tidegate
