// TextWalker: BERT's normalizer and pre-tokenizer in one pass over UTF-8 text.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runner/encoder/char_table.hpp"

namespace tidegate {

inline void append_utf8(std::string& out, std::uint32_t c) {
  const auto put = [&out](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 63));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 63));
    put(0x80 | (c & 63));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 63));
    put(0x80 | (c >> 6 & 63));
    put(0x80 | (c & 63));
  }
}

/// Feeds a sink the normalized text, code point by code point and told apart by what
/// the pre-tokenizer makes of them:
///   letter(c)  part of a word        space(c)  white space, ends a word
///   punct(c)   a word of its own     full()    true: nothing more is wanted
/// One walker takes one text; a canonical reordering never reaches across texts.
template <class Sink>
class TextWalker {
 public:
  TextWalker(const CharTable& table, Sink& sink) : table_(table), sink_(sink) {}

  /// REQUIRES: well-formed UTF-8.
  void walk(std::string_view text) {
    const auto* at = reinterpret_cast<const unsigned char*>(text.data());
    const auto* const end = at + text.size();
    while (at != end && !sink_.full()) {
      // With marks pending, ASCII takes the way of every code point: what is removed
      // must not end their reordering.
      if (*at < 0x80 && pending_.empty()) {
        at = walk_ascii(at, end);
      } else {
        at = walk_one(at);
      }
    }
    flush();
  }

 private:
  const unsigned char* walk_ascii(const unsigned char* at, const unsigned char* end) {
    for (; at != end && *at < 0x80; ++at) {
      const CharTable::AsciiCell cell = table_.ascii(*at);
      if (cell.kind == CharKind::keep) {
        sink_.letter(static_cast<unsigned char>(cell.byte));
      } else if (cell.kind == CharKind::space) {
        sink_.space(static_cast<unsigned char>(cell.byte));
        if (sink_.full()) return at;
      } else if (cell.kind == CharKind::punct) {
        sink_.punct(static_cast<unsigned char>(cell.byte));
        if (sink_.full()) return at;
      }
    }
    return at;
  }

  /// Decodes and hands on the code point at `at`; answers the place after it.
  const unsigned char* walk_one(const unsigned char* at) {
    const std::uint32_t lead = *at;
    if (lead < 0x80) {
      hand_on(lead);
      return at + 1;
    }
    if (lead < 0xE0) {
      hand_on((lead & 31) << 6 | (at[1] & 63U));
      return at + 2;
    }
    if (lead < 0xF0) {
      hand_on((lead & 15) << 12 | (at[1] & 63U) << 6 | (at[2] & 63U));
      return at + 3;
    }
    hand_on((lead & 7) << 18 | (at[1] & 63U) << 12 | (at[2] & 63U) << 6 | (at[3] & 63U));
    return at + 4;
  }

  void hand_on(std::uint32_t c) {
    const CharTable::Cell cell = table_.cell(c);
    if (cell.kind == CharKind::remove) return;
    if (cell.kind == CharKind::sequence) {
      for (const SequenceChar& part : table_.sequence(cell.payload)) {
        if (part.combining_class != 0) {
          pending_.push_back(part);
        } else {
          flush();
          emit(part.kind, part.code_point);
        }
      }
      return;
    }
    flush();
    switch (cell.kind) {
      case CharKind::keep: sink_.letter(c); break;
      case CharKind::isolate:
        sink_.space(' ');
        sink_.letter(cell.payload == 0 ? c : cell.payload);
        sink_.space(' ');
        break;
      case CharKind::hangul: emit_jamo(c - 0xAC00); break;
      case CharKind::barrier: break;
      default: emit(cell.kind, cell.payload);
    }
  }

  void emit(CharKind kind, std::uint32_t c) {
    if (kind == CharKind::space) {
      sink_.space(c);
    } else if (kind == CharKind::punct) {
      sink_.punct(c);
    } else {
      sink_.letter(c);
    }
  }

  /// The Unicode Standard, 3.12: 21 vowels, 28 finals of which the first is none.
  void emit_jamo(std::uint32_t syllable) {
    sink_.letter(0x1100 + syllable / (21 * 28));
    sink_.letter(0x1161 + syllable % (21 * 28) / 28);
    if (syllable % 28 != 0) sink_.letter(0x11A7 + syllable % 28);
  }

  /// Hands on the marks in canonical order.
  void flush() {
    if (pending_.empty()) return;
    std::stable_sort(pending_.begin(), pending_.end(), [](const SequenceChar& a, const SequenceChar& b) {
      return a.combining_class < b.combining_class;
    });
    for (const SequenceChar& part : pending_) emit(part.kind, part.code_point);
    pending_.clear();
  }

  const CharTable& table_;
  Sink& sink_;
  std::vector<SequenceChar> pending_;  // marks since the last code point of class 0
};

}  // namespace tidegate
