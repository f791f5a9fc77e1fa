#include "cache/frequency_sketch.hpp"

#include <algorithm>

#include "cache/heap_charge.hpp"

namespace tidegate {
namespace {

constexpr std::uint32_t kRows = 4;
constexpr std::uint64_t kAdditionsPerWord = 10;
/// Odd multipliers, one a row (the 64-bit primes of xxHash).
constexpr std::uint64_t kSeeds[kRows] = {0x9E3779B185EBCA87ULL, 0xC2B2AE3D27D4EB4FULL, 0x165667B19E3779F9ULL,
                                         0x27D4EB2F165667C5ULL};

}  // namespace

std::uint64_t FrequencySketch::heap_bytes(std::uint32_t words) noexcept {
  return heap_charge(sizeof(std::uint64_t) * words);
}

FrequencySketch::Place FrequencySketch::place(std::uint32_t fingerprint, std::uint32_t row) const noexcept {
  std::uint64_t hash = (fingerprint + kSeeds[row]) * kSeeds[row];
  hash = (hash ^ (hash >> 32)) * kSeeds[(row + 1) % kRows];
  hash ^= hash >> 29;
  // Each row has four of a word's sixteen counters.
  const auto counter = 4 * row + static_cast<std::uint32_t>(hash >> 62);
  return {static_cast<std::size_t>(hash & (words_.size() - 1)), 4 * counter};
}

void FrequencySketch::add(std::uint32_t fingerprint) noexcept {
  std::uint64_t added = 0;
  for (std::uint32_t row = 0; row < kRows; ++row) {
    const Place at = place(fingerprint, row);
    if (((words_[at.word] >> at.shift) & kMaximum) == kMaximum) continue;
    words_[at.word] += 1ULL << at.shift;
    added = 1;
  }
  additions_ += added;
  if (additions_ >= kAdditionsPerWord * words_.size()) halve();
}

std::uint32_t FrequencySketch::estimate(std::uint32_t fingerprint) const noexcept {
  std::uint32_t least = kMaximum;
  for (std::uint32_t row = 0; row < kRows; ++row) {
    const Place at = place(fingerprint, row);
    least = std::min(least, static_cast<std::uint32_t>((words_[at.word] >> at.shift) & kMaximum));
  }
  return least;
}

void FrequencySketch::halve() noexcept {
  for (std::uint64_t& word : words_) word = (word >> 1) & 0x7777777777777777ULL;
  additions_ /= 2;
}

}  // namespace tidegate
