// AttentionLayout: where one head's operands lie in the scratch space.
#pragma once

#include "runner/encoder/kernels.hpp"

namespace tidegate {

/// Offsets in floats, each a multiple of the strip. Static functions only, so that a
/// file compiled for a newer instruction set shares no inline code with the others.
struct AttentionLayout {
  /// Queries whose scores are held at once: 24 rows of 512 keys fit a level-2 cache.
  static constexpr std::size_t kQueries = 24;

  std::size_t padded_keys;  ///< whole strips
  std::size_t padded_head;  ///< whole strips
  std::size_t queries;      ///< [length][head_size], bias added, scaled
  std::size_t keys;         ///< strips of keys: [padded_keys / strip][head_size][strip]
  std::size_t values;       ///< strips of columns: [padded_head / strip][length][strip]
  std::size_t scores;       ///< [kQueries][padded_keys]
  std::size_t sums;         ///< [kQueries rounded up]
  std::size_t output;       ///< [kQueries][padded_head]
  std::size_t total;

  [[gnu::always_inline]] static inline AttentionLayout of(std::size_t length, std::size_t head_size,
                                                          std::size_t strip) noexcept {
    AttentionLayout at{};
    at.padded_keys = (length + strip - 1) / strip * strip;
    at.padded_head = (head_size + strip - 1) / strip * strip;
    at.queries = 0;
    at.keys = at.queries + at.padded_keys * at.padded_head;
    at.values = at.keys + at.padded_keys * at.padded_head;
    at.scores = at.values + at.padded_keys * at.padded_head;
    at.sums = at.scores + kQueries * at.padded_keys;
    at.output = at.sums + kColumnUnit;
    at.total = at.output + kQueries * at.padded_head;
    return at;
  }
};

}  // namespace tidegate
