#include "runner/encoder/byte_trie.hpp"

namespace tidegate {

ByteTrie::ByteTrie(std::span<const std::pair<std::string, std::int32_t>> strings) {
  // kMaxBytes nodes fill half of 2^23 places, so the loop ends at 23 bits.
  for (std::uint32_t bits = 8;; ++bits) {
    slots_.assign(std::size_t{1} << bits, Slot{kEmpty, kNoValue});
    mask_ = (1U << bits) - 1;
    shift_ = 32 - bits;
    used_ = 0;
    bool fits = true;
    for (const auto& [text, value] : strings) {
      fits = insert(text, value);
      if (!fits) break;
    }
    if (fits) return;
  }
}

bool ByteTrie::insert(const std::string& text, std::int32_t value) {
  Node node = kRoot;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    Node next = child(node, byte);
    if (next == kNone) {
      if (++used_ > slots_.size() / 2) return false;
      const std::uint32_t key = key_of(node, byte);
      next = place_of(key);
      while (slots_[next].key != kEmpty) next = (next + 1) & mask_;
      slots_[next].key = key;
    }
    node = next;
  }
  if (node != kRoot) slots_[node].value = value;
  return true;
}

}  // namespace tidegate
