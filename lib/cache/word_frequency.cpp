#include "cache/word_frequency.hpp"

#include <algorithm>
#include <limits>

#include "cache/heap_charge.hpp"
#include "cache/text_facts.hpp"

namespace tidegate {
namespace {

constexpr std::size_t kRows = 4;
constexpr std::size_t kWidth = 1U << 14;
constexpr std::uint32_t kTextsBetweenHalvings = 1U << 15;

/// Rows take different bits of a mixed hash (the finalizer of SplitMix64).
std::size_t place(std::uint64_t word, std::size_t row) {
  std::uint64_t mixed = word + 0x9e3779b97f4a7c15ULL * (row + 1);
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ULL;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebULL;
  return row * kWidth + ((mixed ^ (mixed >> 31)) & (kWidth - 1));
}

}  // namespace

WordFrequency::WordFrequency() : counts_(kRows * kWidth) {}

void WordFrequency::add(const TextFacts& text) {
  std::vector<std::uint64_t> different;
  for (const TextWord& word : text.words()) {
    if (word.kind == TextWord::Kind::ordinary) different.push_back(word.hash);
  }
  std::sort(different.begin(), different.end());
  different.erase(std::unique(different.begin(), different.end()), different.end());
  for (const std::uint64_t word : different) {
    for (std::size_t row = 0; row < kRows; ++row) {
      std::uint16_t& count = counts_[place(word, row)];
      if (count < std::numeric_limits<std::uint16_t>::max()) ++count;
    }
  }
  if (++texts_ < kTextsBetweenHalvings) return;
  for (std::uint16_t& count : counts_) count /= 2;
  texts_ /= 2;
}

bool WordFrequency::rare(std::uint64_t word) const noexcept {
  if (texts_ < kTextsToKnow) return true;
  std::uint32_t least = std::numeric_limits<std::uint32_t>::max();
  for (std::size_t row = 0; row < kRows; ++row) least = std::min<std::uint32_t>(least, counts_[place(word, row)]);
  return least < kRareBelow * texts_;
}

std::uint64_t WordFrequency::heap_bytes() const noexcept {
  return heap_charge(counts_.capacity() * sizeof(std::uint16_t));
}

}  // namespace tidegate
