// FrequencySketch: about how often each key was asked for of late.
#pragma once

#include <cstdint>
#include <vector>

namespace tidegate {

/// A count-min sketch with four counters of 4 bits a key, halved after every ten
/// additions a word, so that old popularity fades (Einziger et al., "TinyLFU",
/// ACM TOS 2017). Estimates are never too low between two halvings, up to 15.
/// Thread-compatible.
class FrequencySketch {
 public:
  static constexpr std::uint32_t kMaximum = 15;

  /// `words` is a power of two: about the number of keys to tell apart.
  explicit FrequencySketch(std::uint32_t words) : words_(words) {}

  void add(std::uint32_t fingerprint) noexcept;
  [[nodiscard]] std::uint32_t estimate(std::uint32_t fingerprint) const noexcept;

  /// Bytes of memory a sketch of this size takes from the heap.
  [[nodiscard]] static std::uint64_t heap_bytes(std::uint32_t words) noexcept;

 private:
  /// Where one of a key's four counters lies.
  struct Place {
    std::size_t word;
    std::uint32_t shift;
  };
  [[nodiscard]] Place place(std::uint32_t fingerprint, std::uint32_t row) const noexcept;
  void halve() noexcept;

  std::vector<std::uint64_t> words_;  ///< 16 counters each
  std::uint64_t additions_ = 0;       ///< since the last halving, itself halved with them
};

}  // namespace tidegate
