#include "runner/encoder/tokenizer.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "base/try.hpp"
#include "base/utf8.hpp"
#include "runner/encoder/added_tokens.hpp"
#include "runner/encoder/text_walker.hpp"
#include "runner/encoder/tokenizer_files.hpp"
#include "runner/encoder/word_piece.hpp"

namespace tidegate {
namespace {

/// Sink of TextWalker: gathers words and turns each into ids.
class WordSink {
 public:
  /// Appends to `ids`. Full once they are `limit`; a word's last pieces may go beyond it.
  WordSink(const WordPiece& model, std::size_t max_chars, std::vector<std::int32_t> ids, std::size_t limit)
      : model_(model), max_chars_(max_chars), ids_(std::move(ids)), limit_(limit) {}

  [[nodiscard]] bool full() const noexcept { return ids_.size() >= limit_; }

  void letter(std::uint32_t c) {
    // The rest of a word that is too long need not be kept: it is unknown.
    if (++chars_ > max_chars_) return;
    if (c < 0x80) {
      word_.push_back(static_cast<char>(c));
    } else {
      append_utf8(word_, c);
    }
  }

  void space(std::uint32_t) { end_word(); }

  void punct(std::uint32_t c) {
    end_word();
    letter(c);
    end_word();
  }

  void end_word() {
    if (chars_ == 0) return;
    if (chars_ > max_chars_) {
      ids_.push_back(model_.unknown_id());
    } else {
      model_.append(word_, ids_);
    }
    word_.clear();
    chars_ = 0;
  }

  void token(std::int32_t id) { ids_.push_back(id); }

  [[nodiscard]] std::vector<std::int32_t> take() && { return std::move(ids_); }

 private:
  const WordPiece& model_;
  const std::size_t max_chars_;
  std::vector<std::int32_t> ids_;
  const std::size_t limit_;
  std::string word_;
  std::size_t chars_ = 0;  // code points of the word, also those beyond max_chars_
};

/// Sink of TextWalker: the normalized text.
struct TextSink {
  std::string text;
  static bool full() noexcept { return false; }
  void letter(std::uint32_t c) { append_utf8(text, c); }
  void space(std::uint32_t c) { append_utf8(text, c); }
  void punct(std::uint32_t c) { append_utf8(text, c); }
};

std::string normalize(const CharTable& table, std::string_view text) {
  TextSink sink;
  TextWalker(table, sink).walk(text);
  return std::move(sink.text);
}

/// Hands the added tokens in `text` to the sink and the text between them to `on_text`.
template <class OnText>
void split(const AddedTokens& added, std::string_view text, WordSink& sink, OnText on_text) {
  std::size_t done = 0;
  std::size_t from = 0;
  while (!sink.full()) {
    const auto match = added.find(text, from);
    if (!match) break;
    from = match->end;
    const AddedToken& token = *match->token;
    const std::size_t begin =
        token.strip_left == Step::on ? spaces_before(text, match->begin, std::min(done, match->begin)) : match->begin;
    if (done < begin) on_text(text.substr(done, begin - done));
    sink.token(token.id);
    done = token.strip_right == Step::on ? spaces_after(text, match->end) : match->end;
  }
  if (done < text.size() && !sink.full()) on_text(text.substr(done));
}

}  // namespace

struct Tokenizer::State {
  CharTable chars;
  // Splits normalized text; only needed for tokens that are looked for there.
  std::optional<CharTable> plain;
  WordPiece model;
  AddedTokens raw_added;
  AddedTokens normalized_added;
  std::size_t max_word_chars;
  std::uint32_t vocab_size;
  std::uint32_t max_tokens;
  std::vector<std::int32_t> head;
  std::vector<std::int32_t> tail;

  /// `ids` and those of well-formed `text` after them; stops once they are `limit` or more.
  std::vector<std::int32_t> extend(std::vector<std::int32_t> ids, std::string_view text, std::size_t limit) const;
};

std::vector<std::int32_t> Tokenizer::State::extend(std::vector<std::int32_t> ids, std::string_view text,
                                                   std::size_t limit) const {
  WordSink sink(model, max_word_chars, std::move(ids), limit);
  const auto walk = [&sink](const CharTable& table, std::string_view part) {
    TextWalker(table, sink).walk(part);
    sink.end_word();
  };
  split(raw_added, text, sink, [&](std::string_view part) {
    if (!plain) return walk(chars, part);
    const std::string normalized = normalize(chars, part);
    split(normalized_added, normalized, sink, [&](std::string_view piece) { walk(*plain, piece); });
  });
  return std::move(sink).take();
}

Tokenizer::Tokenizer(std::unique_ptr<const State> state) noexcept : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::load(const std::string& folder, std::uint32_t max_tokens) {
  TIDEGATE_TRY(TokenizerFiles files, read_tokenizer_files(folder));
  if (max_tokens < 3 || max_tokens <= files.head.size() + files.tail.size()) {
    return Error(ErrorCode::invalid_argument,
                 "max_tokens " + std::to_string(max_tokens) + " leaves no room for text between the special tokens");
  }
  Result<WordPiece> model = WordPiece::create(files.vocabulary, files.unknown_token, files.continuing_prefix);
  if (!model) {
    return Error(model.error().code(), files.source + ": " + std::string(model.error().message()));
  }

  CharTable chars(files.normalizer);
  std::vector<AddedToken> raw, normalized;
  std::size_t added_bytes = 0;
  for (AddedToken& token : files.added) {
    if (token.normalized == Step::on) token.content = normalize(chars, token.content);
    if (token.content.empty()) {
      return Error(ErrorCode::unsupported, files.source + ": added_tokens: nothing is left of the token with id " +
                                               std::to_string(token.id) + " when normalized");
    }
    added_bytes += token.content.size();
    (token.normalized == Step::on ? normalized : raw).push_back(std::move(token));
  }
  if (added_bytes > ByteTrie::kMaxBytes) {
    return Error(ErrorCode::unsupported,
                 files.source + ": added_tokens: more than " + std::to_string(ByteTrie::kMaxBytes) + " bytes");
  }
  std::optional<CharTable> plain;
  if (!normalized.empty()) plain.emplace(NormalizerOptions{Step::off, Step::off, Step::off, Step::off});
  return Tokenizer(std::make_unique<const State>(State{std::move(chars), std::move(plain), *std::move(model),
                                                       AddedTokens(std::move(raw)), AddedTokens(std::move(normalized)),
                                                       files.max_word_chars, files.size, max_tokens,
                                                       std::move(files.head), std::move(files.tail)}));
}

Result<std::vector<std::int32_t>> Tokenizer::encode(std::string_view text) const {
  if (const std::size_t bad = find_invalid_utf8(text); bad != std::string_view::npos) {
    return Error(ErrorCode::invalid_argument, "the text is malformed UTF-8 at byte " + std::to_string(bad));
  }
  const State& state = *state_;
  const std::size_t limit = state.max_tokens - state.tail.size();
  std::vector<std::int32_t> ids;
  // A guess of three bytes a token; short texts need a single allocation.
  ids.reserve(state.head.size() + std::min(limit, text.size() / 3 + 16) + state.tail.size());
  ids.insert(ids.end(), state.head.begin(), state.head.end());
  ids = state.extend(std::move(ids), text, limit);
  ids.resize(std::min(ids.size(), limit));
  ids.insert(ids.end(), state.tail.begin(), state.tail.end());
  return ids;
}

Result<std::uint32_t> Tokenizer::count(std::string_view text) const {
  if (const std::size_t bad = find_invalid_utf8(text); bad != std::string_view::npos) {
    return Error(ErrorCode::invalid_argument, "the text is malformed UTF-8 at byte " + std::to_string(bad));
  }
  return static_cast<std::uint32_t>(state_->extend({}, text, std::numeric_limits<std::size_t>::max()).size());
}

std::uint32_t Tokenizer::vocab_size() const noexcept { return state_->vocab_size; }

}  // namespace tidegate
