// WordFrequency: in how many of the texts seen lately a word stood.
#pragma once

#include <cstdint>
#include <vector>

namespace tidegate {

class TextFacts;

/// A count-min sketch over texts (Cormode and Muthukrishnan, "An improved data stream
/// summary", J. Algorithms 2005), all counts halved after every 2^15 texts. Counts are never
/// too low between two halvings, so a word may pass for common by collision, at a chance of
/// about e^-4 for vocabularies below the width. Thread-compatible.
class WordFrequency {
 public:
  /// A word that stood in less than this share of the texts is rare.
  static constexpr double kRareBelow = 0.01;
  /// Before so many texts every word is.
  static constexpr std::uint32_t kTextsToKnow = 1000;

  WordFrequency();

  /// Counts each different ordinary word of the text once.
  void add(const TextFacts& text);
  [[nodiscard]] bool rare(std::uint64_t word) const noexcept;

  [[nodiscard]] std::uint64_t heap_bytes() const noexcept;

 private:
  std::vector<std::uint16_t> counts_;  ///< kRows rows of kWidth
  std::uint32_t texts_ = 0;
};

}  // namespace tidegate
