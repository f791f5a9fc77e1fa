// IndexSearch: the nodes that may have a key, one after the other.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/unsanitized.hpp"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace tidegate {

/// Goes through the groups of an index (see key_index.hpp) from the key's own one on. Others may change the index or
/// write over it meanwhile: then what comes out means nothing, but it comes to an end and reads nothing outside
/// the index's bytes.
class IndexSearch {
 public:
  static constexpr std::size_t kGroup = 16;
  static constexpr std::uint32_t kNone = ~0U;

  /// Of an index of `mask` + 1 groups at `memory`.
  IndexSearch(const std::byte* memory, std::size_t mask, std::uint64_t hash) noexcept
      : numbers_(reinterpret_cast<const std::uint32_t*>(memory)),
        tags_(reinterpret_cast<const std::uint8_t*>(memory) + (mask + 1) * kGroup * sizeof(std::uint32_t)),
        mask_(mask),
        group_(hash & mask),
        left_(mask),
        tag_(tag_of(hash)),
        found_(with_tag(tags_ + group_ * kGroup, tag_)) {}

  /// A node's number; kNone if there is no further one.
  [[nodiscard]] std::uint32_t next() noexcept {
    while (found_ == 0) {
      if (left_ == 0 || passed(tags_ + (mask_ + 1) * kGroup + group_) == 0) return kNone;
      --left_;
      group_ = (group_ + 1) & mask_;
      found_ = with_tag(tags_ + group_ * kGroup, tag_);
    }
    const auto slot = static_cast<std::size_t>(std::countr_zero(found_));
    found_ &= found_ - 1;
    return number(numbers_ + group_ * kGroup + slot);
  }

  /// Never 0, which is an empty slot; of bits that choose neither shard nor group.
  [[nodiscard]] static std::uint8_t tag_of(std::uint64_t hash) noexcept {
    const auto tag = static_cast<std::uint8_t>(hash >> 40);
    return tag != 0 ? tag : 1;
  }

  /// Bit s: slot s of the group has this tag.
  TIDEGATE_UNSANITIZED [[nodiscard]] static std::uint32_t with_tag(const std::uint8_t* tags,
                                                                   std::uint8_t tag) noexcept {
#if defined(__SSE2__)
    const __m128i all = _mm_load_si128(reinterpret_cast<const __m128i*>(tags));
    return static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(all, _mm_set1_epi8(static_cast<char>(tag)))));
#else
    std::uint32_t found = 0;
    for (std::size_t slot = 0; slot < kGroup; ++slot) {
      found |= (__atomic_load_n(tags + slot, __ATOMIC_RELAXED) == tag ? 1U : 0U) << slot;
    }
    return found;
#endif
  }

 private:
  TIDEGATE_UNSANITIZED [[nodiscard]] static std::uint32_t number(const std::uint32_t* at) noexcept {
    return __atomic_load_n(at, __ATOMIC_RELAXED);
  }
  TIDEGATE_UNSANITIZED [[nodiscard]] static std::uint8_t passed(const std::uint8_t* at) noexcept {
    return __atomic_load_n(at, __ATOMIC_RELAXED);
  }

  const std::uint32_t* numbers_;
  const std::uint8_t* tags_;
  std::size_t mask_;
  std::size_t group_;
  std::size_t left_;  ///< groups not yet searched
  std::uint8_t tag_;
  std::uint32_t found_;  ///< slots of the group that are still to come
};

}  // namespace tidegate
