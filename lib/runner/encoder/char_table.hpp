// CharTable: what BERT's normalizer and pre-tokenizer make of each code point.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace tidegate {

enum class Step : std::uint8_t { off, on };

/// The switches of BertNormalizer; strip_accents already resolved.
struct NormalizerOptions {
  Step clean_text = Step::on;
  Step handle_chinese_chars = Step::on;
  Step strip_accents = Step::on;
  Step lowercase = Step::on;
};

/// What becomes of one code point. All steps of the normalizer but the canonical
/// ordering of marks look at one code point at a time, so they fold into one look-up.
enum class CharKind : std::uint8_t {
  keep,      ///< part of a word, unchanged
  replace,   ///< part of a word, as the code point `payload`
  space,     ///< ends a word; `payload` in the normalized text
  punct,     ///< a word of its own, as `payload`
  isolate,   ///< between two spaces: `payload`, or the code point itself where that is 0
  remove,    ///< nothing is left, and nothing is seen of it
  barrier,   ///< nothing is left, but marks are not reordered across it
  hangul,    ///< decomposes into its jamo
  sequence,  ///< `payload` is the index of a sequence
};

/// One code point of a sequence: keep, space or punct, with the combining class it
/// had before lower-casing.
struct SequenceChar {
  std::uint32_t code_point;
  CharKind kind;
  std::uint8_t combining_class;
};

/// Immutable after construction; reads are thread-safe.
class CharTable {
 public:
  struct Cell {
    CharKind kind;
    std::uint32_t payload;
  };

  explicit CharTable(const NormalizerOptions& options);

  /// REQUIRES: c <= 0x10FFFF.
  [[nodiscard]] Cell cell(std::uint32_t c) const noexcept {
    const std::uint32_t packed = cells_[std::size_t{blocks_[c >> kBlockBits]} << kBlockBits | (c & kBlockMask)];
    return {static_cast<CharKind>(packed & 15), packed >> 4};
  }

  [[nodiscard]] std::span<const SequenceChar> sequence(std::uint32_t index) const noexcept {
    return {sequences_.data() + sequence_starts_[index], sequence_starts_[index + 1] - sequence_starts_[index]};
  }

  /// For ASCII alone: kind (never hangul or sequence) and the byte it becomes.
  struct AsciiCell {
    CharKind kind;
    char byte;
  };
  [[nodiscard]] AsciiCell ascii(unsigned char c) const noexcept { return ascii_[c]; }

 private:
  static constexpr std::uint32_t kBlockBits = 7;
  static constexpr std::uint32_t kBlockMask = (1U << kBlockBits) - 1;

  class Builder;

  std::vector<std::uint16_t> blocks_;  // of each 128 code points, the block of cells
  std::vector<std::uint32_t> cells_;   // kind in 4 bits, payload above
  std::vector<SequenceChar> sequences_;
  std::vector<std::uint32_t> sequence_starts_{0};
  std::array<AsciiCell, 128> ascii_{};
};

}  // namespace tidegate
