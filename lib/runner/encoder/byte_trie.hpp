// ByteTrie: strings to numbers, walked byte by byte.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace tidegate {

/// All nodes lie in one open-addressed table and a node's number is its place there, so
/// one probe answers both "is there a child for this byte?" and "does a string end
/// here?". Immutable once built; reads are thread-safe and allocate nothing.
class ByteTrie {
 public:
  using Node = std::uint32_t;
  static constexpr Node kRoot = 1U << 23;
  static constexpr Node kNone = 0xFFFFFFFFU;
  static constexpr std::int32_t kNoValue = -1;
  /// Total bytes of the strings a trie can hold.
  static constexpr std::size_t kMaxBytes = 1U << 22;

  ByteTrie() : ByteTrie(std::span<const std::pair<std::string, std::int32_t>>{}) {}

  /// Empty strings are left out; of equal strings the last value stays.
  /// REQUIRES: at most kMaxBytes in all, values >= 0.
  explicit ByteTrie(std::span<const std::pair<std::string, std::int32_t>> strings);

  [[nodiscard]] Node child(Node node, unsigned char byte) const noexcept {
    const std::uint32_t key = key_of(node, byte);
    for (std::uint32_t at = place_of(key);; at = (at + 1) & mask_) {
      if (slots_[at].key == key) return at;
      if (slots_[at].key == kEmpty) return kNone;
    }
  }

  /// Value of the string that ends at a node other than the root, or kNoValue.
  [[nodiscard]] std::int32_t value(Node node) const noexcept { return slots_[node].value; }

 private:
  struct Slot {
    std::uint32_t key;
    std::int32_t value;
  };
  static constexpr std::uint32_t kEmpty = 0xFFFFFFFFU;

  static std::uint32_t key_of(Node node, unsigned char byte) noexcept { return node << 8 | byte; }
  std::uint32_t place_of(std::uint32_t key) const noexcept { return (key * 0x9E3779B1U) >> shift_; }
  /// False when the table became more than half full.
  bool insert(const std::string& text, std::int32_t value);

  std::vector<Slot> slots_;
  std::uint32_t mask_ = 0;
  std::uint32_t shift_ = 0;
  std::size_t used_ = 0;
};

}  // namespace tidegate
