// Unicode facts of the tokenizer, as the reference library holds them: its tables are
// of several Unicode versions, so no other source may be mixed in.
#pragma once

#include <cstdint>
#include <span>

namespace tidegate::unicode {

/// Code points first..last.
struct Range {
  std::uint32_t first, last;
};

/// A range of one canonical combining class.
struct ClassRange {
  std::uint32_t first, last;
  std::uint8_t combining_class;
};

/// Every stride-th code point of first..last has the lower case code point + delta.
struct LowerRange {
  std::uint32_t first, last;
  std::uint32_t stride;
  std::int32_t delta;
};

/// Up to three code points; unused places are 0.
struct Decomposition {
  std::uint32_t from;
  std::uint32_t to[3];
};

/// "Stripped" means: canonical decomposition, then removal of nonspacing marks.
/// Hangul syllables (U+AC00..U+D7A3) are not listed: their jamo are computed.
struct Tables {
  std::span<const Range> removed;      ///< removed by clean_text
  std::span<const Range> spaces;       ///< white space
  std::span<const Range> punctuation;  ///< words of their own
  std::span<const Range> han;          ///< set apart by handle_chinese_chars
  std::span<const Range> dropped;      ///< nothing is left when stripped
  std::span<const Range> starters;     ///< of `dropped`, those of combining class 0
  std::span<const ClassRange> classes;
  std::span<const LowerRange> lower;
  std::span<const Decomposition> decompositions;         ///< stripped to several
  std::span<const std::uint32_t> single_decompositions;  ///< runs: first, count, targets
};

extern const Tables kTables;

/// The one code point whose lower case is two: U+0130 to U+0069 U+0307.
inline constexpr std::uint32_t kDottedCapitalI = 0x130;

[[nodiscard]] constexpr bool is_hangul_syllable(std::uint32_t c) noexcept { return c >= 0xAC00 && c <= 0xD7A3; }

/// White space of any kind; `spaces` is short enough to be searched in order.
[[nodiscard]] inline bool is_space(std::uint32_t c) noexcept {
  for (const Range& range : kTables.spaces)
    if (c <= range.last) return c >= range.first;
  return false;
}

}  // namespace tidegate::unicode
