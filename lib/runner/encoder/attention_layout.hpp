// AttentionLayout: where one head's operands lie in the scratch space.
#pragma once

#include "runner/encoder/kernels.hpp"

namespace tidegate {

/// Offsets in floats, each a multiple of a cache line. Large enough for every set and
/// number. Static functions only, so that a file compiled for a newer instruction set
/// shares no inline code with the others.
struct AttentionLayout {
  /// Queries whose scores are held at once: one register holds a number of each.
  static constexpr std::size_t kQueries = 16;

  std::size_t padded_keys;  ///< whole strips
  std::size_t padded_head;  ///< whole strips
  std::size_t keys;         ///< strips of keys: [padded_keys / kStrip][groups][kStrip]
  std::size_t values;       ///< strips of columns: [padded_head / kStrip][key groups][kStrip]
  std::size_t scores;       ///< [kQueries][padded_keys]; then the probabilities, row upon row
  std::size_t output;       ///< [kQueries][padded_head]
  std::size_t total;

  [[gnu::always_inline]] static inline AttentionLayout of(std::size_t length, std::size_t head_size) noexcept {
    AttentionLayout at{};
    at.padded_keys = round_up(length, kStrip);
    at.padded_head = round_up(head_size, kStrip);
    at.keys = 0;
    at.values = at.keys + at.padded_keys * at.padded_head;
    at.scores = at.values + at.padded_keys * at.padded_head;
    at.output = at.scores + kQueries * at.padded_keys;
    at.total = at.output + kQueries * at.padded_head;
    return at;
  }
};

}  // namespace tidegate
