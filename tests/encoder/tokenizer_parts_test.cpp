// The tokenizer's parts against plain references.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "runner/encoder/added_tokens.hpp"
#include "runner/encoder/byte_trie.hpp"
#include "runner/encoder/text_walker.hpp"
#include "runner/encoder/unicode_tables.hpp"
#include "runner/encoder/word_piece.hpp"

using namespace tidegate;

namespace {

/// Few letters, so that random strings often begin alike.
std::string random_word(std::mt19937& random, std::size_t longest) {
  std::string word(random() % (longest + 1), ' ');
  for (char& c : word) c = static_cast<char>("ab\xc3#"[random() % 4]);
  return word;
}

std::int32_t look_up(const ByteTrie& trie, const std::string& word) {
  ByteTrie::Node node = ByteTrie::kRoot;
  for (const char c : word) {
    node = trie.child(node, static_cast<unsigned char>(c));
    if (node == ByteTrie::kNone) return ByteTrie::kNoValue;
  }
  return node == ByteTrie::kRoot ? ByteTrie::kNoValue : trie.value(node);
}

/// The definition of WordPiece, by trying every end from the longest down.
std::vector<std::int32_t> plain_word_piece(const std::map<std::string, std::int32_t>& ids, const std::string& prefix,
                                           std::int32_t unknown, const std::string& word) {
  std::vector<std::int32_t> out;
  for (std::size_t start = 0; start < word.size();) {
    std::size_t end = word.size();
    auto found = ids.end();
    for (; end > start && found == ids.end(); --end)
      found = ids.find((start > 0 ? prefix : "") + word.substr(start, end - start));
    if (found == ids.end()) return {unknown};
    out.push_back(found->second);
    start = end + 1;
  }
  return out;
}

/// Normalized text with a bar at each border that the pre-tokenizer sees.
struct ShowSink {
  std::string text;
  static bool full() { return false; }
  void letter(std::uint32_t c) { append_utf8(text, c); }
  void space(std::uint32_t) { text += '|'; }
  void punct(std::uint32_t c) {
    text += '<';
    append_utf8(text, c);
    text += '>';
  }
};

std::string walked(const NormalizerOptions& options, std::string_view text) {
  const CharTable table(options);
  ShowSink sink;
  TextWalker(table, sink).walk(text);
  return sink.text;
}

constexpr NormalizerOptions kAllOff{Step::off, Step::off, Step::off, Step::off};

}  // namespace

TEST_CASE("byte trie: answers as a map does, also for strings that were never put in") {
  std::mt19937 random(1);
  for (const std::size_t count : {0U, 1U, 10U, 3000U}) {
    std::vector<std::pair<std::string, std::int32_t>> strings;
    std::map<std::string, std::int32_t> plain;
    for (std::size_t i = 0; i < count; ++i) {
      strings.emplace_back(random_word(random, 9), static_cast<std::int32_t>(i));
      plain[strings.back().first] = static_cast<std::int32_t>(i);
    }
    plain.erase("");
    const ByteTrie trie(strings);
    for (const auto& [word, value] : plain) CHECK(look_up(trie, word) == value);
    for (int i = 0; i < 5000; ++i) {
      const std::string word = random_word(random, 10);
      const auto found = plain.find(word);
      CHECK(look_up(trie, word) == (found == plain.end() ? ByteTrie::kNoValue : found->second));
    }
  }
}

TEST_CASE("word piece: equals the definition, for prefixes of every kind") {
  std::mt19937 random(2);
  for (const std::string prefix : {"##", "", "#", "b"}) {
    std::vector<std::string> vocabulary{"?"};
    std::map<std::string, std::int32_t> ids{{"?", 0}};
    while (vocabulary.size() < 200) {
      const std::string token = (random() % 2 == 0 ? prefix : "") + random_word(random, 5);
      if (token.empty() || !ids.emplace(token, static_cast<std::int32_t>(vocabulary.size())).second) continue;
      vocabulary.push_back(token);
    }
    const auto model = WordPiece::create(vocabulary, "?", prefix);
    REQUIRE(model.has_value());
    for (int i = 0; i < 5000; ++i) {
      const std::string word = random_word(random, 20);
      if (word.empty()) continue;
      std::vector<std::int32_t> out{-7};
      model->append(word, out);
      REQUIRE(out.front() == -7);
      out.erase(out.begin());
      CHECK(out == plain_word_piece(ids, prefix, 0, word));
    }
  }
}

TEST_CASE("word piece: a vocabulary without the unknown token is refused") {
  const auto model = WordPiece::create({"a", "b"}, "[UNK]", "##");
  REQUIRE_FALSE(model.has_value());
  CHECK(model.error().code() == ErrorCode::corrupt_data);
}

TEST_CASE("word piece: a vocabulary beyond the trie's limit is refused") {
  const auto model = WordPiece::create({std::string(ByteTrie::kMaxBytes, 'a'), "[UNK]"}, "[UNK]", "##");
  REQUIRE_FALSE(model.has_value());
  CHECK(model.error().code() == ErrorCode::unsupported);
}

TEST_CASE("added tokens: the leftmost, then longest is found, as by trying every place") {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<AddedToken> tokens;
    for (std::size_t i = 0; i < 1 + random() % 6; ++i) {
      const std::string content = std::string(1, 'a').append(random_word(random, 3));
      // Half of the rounds have a second first byte, and so another way of searching.
      tokens.push_back({round % 2 == 0 ? content : content.substr(random() % content.size()), 0});
    }
    const AddedTokens added(tokens);
    for (int i = 0; i < 50; ++i) {
      const std::string text = random_word(random, 30);
      const std::size_t from = random() % (text.size() + 1);
      std::optional<std::pair<std::size_t, std::size_t>> best;
      for (std::size_t at = from; at < text.size() && !best; ++at) {
        for (const AddedToken& token : tokens) {
          if (text.compare(at, token.content.size(), token.content) != 0) continue;
          if (!best || best->second < at + token.content.size()) best = {at, at + token.content.size()};
        }
      }
      const auto match = added.find(text, from);
      REQUIRE(match.has_value() == best.has_value());
      if (!match) continue;
      CHECK(match->begin == best->first);
      CHECK(match->end == best->second);
      CHECK(match->token->content == text.substr(match->begin, match->end - match->begin));
    }
  }
  CHECK_FALSE(AddedTokens({}).find("a", 0).has_value());
}

TEST_CASE("added tokens: white space of any kind is stripped, and only that") {
  const std::string text = "a \t\u00a0\u3000x\u3000\u200b ";
  const std::size_t x = text.find('x');
  CHECK(spaces_before(text, x, 0) == 1);
  CHECK(spaces_before(text, x, 3) == 3);
  CHECK(spaces_before(text, 1, 0) == 1);
  CHECK(spaces_before("  ", 2, 0) == 0);
  CHECK(spaces_after(text, x + 1) == x + 4);  // U+200B is no white space
  CHECK(spaces_after(text, text.size() - 1) == text.size());
  CHECK(spaces_after("", 0) == 0);
}

TEST_CASE("normalizer: each step does its part alone") {
  SUBCASE("nothing") { CHECK(walked(kAllOff, "A\u00c9\u4e2d\u0001, b") == "A\u00c9\u4e2d\u0001<,>|b"); }
  SUBCASE("clean_text") {
    const NormalizerOptions options{Step::on, Step::off, Step::off, Step::off};
    CHECK(walked(options, std::string_view("a\0b\u200d\ufffd\u00a0C\u00c9\r\n", 16)) == "ab|C\u00c9||");
  }
  SUBCASE("handle_chinese_chars") {
    const NormalizerOptions options{Step::off, Step::on, Step::off, Step::off};
    CHECK(walked(options, "a\u4e2d\u6587b\u3042") == "a|\u4e2d||\u6587|b\u3042");
  }
  SUBCASE("strip_accents") {
    const NormalizerOptions options{Step::off, Step::off, Step::on, Step::off};
    CHECK(walked(options, "\u00c9e\u0301\u1ea4\u037e\uac01") == "EeA<;>\u1100\u1161\u11a8");
  }
  SUBCASE("lowercase") {
    const NormalizerOptions options{Step::off, Step::off, Step::off, Step::on};
    CHECK(walked(options, "\u00c9\u03a3\u0130\U00010400") == "\u00e9\u03c3i\u0307\U00010428");
  }
}

TEST_CASE("normalizer: marks that stay are put in canonical order within their run") {
  const NormalizerOptions strip{Step::on, Step::off, Step::on, Step::off};
  // U+302E has class 224, U+1D165 has class 216; both are spacing and stay.
  CHECK(walked(strip, "a\u302e\U0001d165b") == "a\U0001d165\u302eb");
  CHECK(walked(strip, "\u302e\u0301\U0001d165") == "\U0001d165\u302e");  // a dropped mark of a class is passed
  CHECK(walked(strip, "\u302e\u034f\U0001d165") == "\u302e\U0001d165");  // one of class 0 is not
  CHECK(walked(strip, "\u302e\x01\U0001d165") == "\U0001d165\u302e");    // a removed control is not there at all
  CHECK(walked(strip, "\u302e \U0001d165") == "\u302e|\U0001d165");
  CHECK(walked(kAllOff, "\u302e\U0001d165") == "\u302e\U0001d165");
}

TEST_CASE("unicode tables: ranges are in order and apart") {
  const unicode::Tables& tables = unicode::kTables;
  for (const auto ranges :
       {tables.removed, tables.spaces, tables.punctuation, tables.han, tables.dropped, tables.starters}) {
    REQUIRE_FALSE(ranges.empty());
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      CHECK(ranges[i].first <= ranges[i].last);
      if (i > 0) CHECK(ranges[i - 1].last + 1 < ranges[i].first);
    }
  }
}
