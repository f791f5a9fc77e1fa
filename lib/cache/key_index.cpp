#include "cache/key_index.hpp"

#include <bit>
#include <cstring>

namespace tidegate {
namespace {

constexpr std::uint8_t kAlwaysPassed = 255;

}  // namespace

KeyIndex::KeyIndex(std::byte* memory, std::size_t slots) noexcept : mask_(slots / kGroup - 1) {
  std::memset(memory, 0, bytes_for(slots));
  lay_out(memory);
}

void KeyIndex::lay_out(std::byte* memory) noexcept {
  const std::size_t slots = (mask_ + 1) * kGroup;
  numbers_ = reinterpret_cast<std::uint32_t*>(memory);
  tags_ = reinterpret_cast<std::uint8_t*>(memory + slots * sizeof(std::uint32_t));
  passed_ = tags_ + slots;
}

std::uint32_t KeyIndex::find(const CacheKey& key, std::uint64_t hash, const Node* nodes) const noexcept {
  if (numbers_ == nullptr) return kNone;
  IndexSearch search(reinterpret_cast<const std::byte*>(numbers_), mask_, hash);
  std::uint32_t number = search.next();
  while (number != kNone && nodes[number].key != key) number = search.next();
  return number;
}

void KeyIndex::insert(std::uint64_t hash, std::uint32_t number) noexcept {
  std::size_t group = group_of(hash);
  std::uint32_t free = with_tag(group, 0);
  for (; free == 0; free = with_tag(group, 0)) {
    if (passed_[group] != kAlwaysPassed) ++passed_[group];
    group = (group + 1) & mask_;
  }
  const std::size_t slot = group * kGroup + static_cast<std::size_t>(std::countr_zero(free));
  tags_[slot] = tag_of(hash);
  numbers_[slot] = number;
  ++count_;
}

void KeyIndex::remove(std::uint64_t hash, std::uint32_t number) noexcept {
  const std::uint8_t tag = tag_of(hash);
  for (std::size_t group = group_of(hash);; group = (group + 1) & mask_) {
    for (std::uint32_t found = with_tag(group, tag); found != 0; found &= found - 1) {
      const std::size_t slot = group * kGroup + static_cast<std::size_t>(std::countr_zero(found));
      if (numbers_[slot] != number) continue;
      tags_[slot] = 0;
      --count_;
      return;
    }
    // It passed this group when it came.
    if (passed_[group] != kAlwaysPassed) --passed_[group];
  }
}

void KeyIndex::renumber(std::uint64_t hash, std::uint32_t from, std::uint32_t to) noexcept {
  const std::uint8_t tag = tag_of(hash);
  for (std::size_t group = group_of(hash);; group = (group + 1) & mask_) {
    for (std::uint32_t found = with_tag(group, tag); found != 0; found &= found - 1) {
      std::uint32_t& number = numbers_[group * kGroup + static_cast<std::size_t>(std::countr_zero(found))];
      if (number != from) continue;
      number = to;
      return;
    }
  }
}

void KeyIndex::take_from(const KeyIndex& other, const Node* nodes) noexcept {
  std::size_t slot = 0;
  for (std::uint32_t number = other.next(slot); number != kNone; number = other.next(slot)) {
    insert(hash_of(nodes[number].key), number);
  }
}

std::uint32_t KeyIndex::next(std::size_t& slot) const noexcept {
  for (; slot < slots(); ++slot) {
    if (tags_[slot] != 0) return numbers_[slot++];
  }
  return kNone;
}

}  // namespace tidegate
