#include "runner/encoder/added_tokens.hpp"

#include "runner/encoder/unicode_tables.hpp"

namespace tidegate {
namespace {

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

/// REQUIRES: well-formed UTF-8 of one code point; white space has at most three bytes.
bool is_space_at(std::string_view one) {
  const auto byte = [one](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(one[i])); };
  if (one.size() == 1) return unicode::is_space(byte(0));
  if (one.size() == 2) return unicode::is_space((byte(0) & 31) << 6 | (byte(1) & 63));
  if (one.size() == 3) return unicode::is_space((byte(0) & 15) << 12 | (byte(1) & 63) << 6 | (byte(2) & 63));
  return false;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::vector<std::pair<std::string, std::int32_t>> contents;
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    contents.emplace_back(tokens_[i].content, static_cast<std::int32_t>(i));
    begins_[static_cast<unsigned char>(tokens_[i].content[0])] = true;
  }
  trie_ = ByteTrie(contents);
  if (!tokens_.empty()) only_begin_ = tokens_[0].content[0];
  for (const AddedToken& token : tokens_)
    if (token.content[0] != tokens_[0].content[0]) only_begin_.reset();
}

std::size_t AddedTokens::next_candidate(std::string_view text, std::size_t from) const noexcept {
  if (only_begin_) return text.find(*only_begin_, from);
  for (std::size_t i = from; i < text.size(); ++i)
    if (begins_[static_cast<unsigned char>(text[i])]) return i;
  return std::string_view::npos;
}

std::optional<AddedTokens::Match> AddedTokens::find(std::string_view text, std::size_t from) const noexcept {
  if (tokens_.empty()) return std::nullopt;
  for (std::size_t begin = next_candidate(text, from); begin != std::string_view::npos;
       begin = next_candidate(text, begin + 1)) {
    std::optional<Match> best;
    ByteTrie::Node node = ByteTrie::kRoot;
    for (std::size_t at = begin; at < text.size(); ++at) {
      node = trie_.child(node, static_cast<unsigned char>(text[at]));
      if (node == ByteTrie::kNone) break;
      const std::int32_t place = trie_.value(node);
      if (place != ByteTrie::kNoValue) best = Match{begin, at + 1, &tokens_[static_cast<std::size_t>(place)]};
    }
    if (best) return best;
  }
  return std::nullopt;
}

std::size_t spaces_before(std::string_view text, std::size_t end, std::size_t from) noexcept {
  while (end > from) {
    std::size_t begin = end - 1;
    while (begin > from && is_continuation(text[begin])) --begin;
    if (!is_space_at(text.substr(begin, end - begin))) break;
    end = begin;
  }
  return end;
}

std::size_t spaces_after(std::string_view text, std::size_t begin) noexcept {
  while (begin < text.size()) {
    std::size_t end = begin + 1;
    while (end < text.size() && is_continuation(text[end])) ++end;
    if (!is_space_at(text.substr(begin, end - begin))) break;
    begin = end;
  }
  return begin;
}

}  // namespace tidegate
