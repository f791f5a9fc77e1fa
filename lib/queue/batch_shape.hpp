// BatchShape: what a batch asks of the machine, in the terms its time depends on.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tidegate/runner.hpp"

namespace tidegate {

/// A size of nothing would let a batch grow without bound.
[[nodiscard]] inline ItemSize at_least_one(ItemSize size) noexcept {
  size.rows = std::max<std::uint32_t>(1, size.rows);
  size.tokens = std::max<std::uint64_t>(1, size.tokens);
  return size;
}

/// Tokens of one row of the item.
[[nodiscard]] inline std::uint64_t row_length(const ItemSize& size) noexcept {
  // Nearly all items are one row, and a division takes longer than all else that is done with a size.
  return size.rows == 1 ? size.tokens : (size.tokens + size.rows - 1) / size.rows;
}

struct BatchShape {
  std::uint64_t rows = 0;
  std::uint64_t tokens = 0;
  std::uint64_t bytes = 0;
  std::uint64_t longest = 0;  ///< row
  double squares = 0;         ///< sum of the rows' squared lengths: attention's share
  std::uint64_t filler = 0;   ///< rows computed for nothing, where the model has static shapes

  void add(const ItemSize& size) noexcept {
    rows += size.rows;
    tokens += size.tokens;
    bytes += size.bytes;
    longest = std::max(longest, row_length(size));
    squares += squares_of(size);
  }

  /// Takes back an `add`; `longest` stays.
  void subtract(const ItemSize& size) noexcept {
    rows -= size.rows;
    tokens -= size.tokens;
    bytes -= size.bytes;
    squares = rows == 0 ? 0 : squares - squares_of(size);
  }

  [[nodiscard]] static BatchShape of(const ItemSize& size) noexcept {
    BatchShape shape;
    shape.add(size);
    return shape;
  }

  [[nodiscard]] std::uint64_t computed_rows() const noexcept { return rows + filler; }
  /// Tokens that are computed: a padded batch computes every row at the longest's length.
  [[nodiscard]] double computed_tokens(BatchLayout layout) const noexcept {
    return layout == BatchLayout::packed ? static_cast<double>(tokens)
                                         : static_cast<double>(computed_rows()) * static_cast<double>(longest);
  }
  [[nodiscard]] double computed_squares(BatchLayout layout) const noexcept {
    if (layout == BatchLayout::packed) return squares;
    return static_cast<double>(computed_rows()) * static_cast<double>(longest) * static_cast<double>(longest);
  }

 private:
  [[nodiscard]] static double squares_of(const ItemSize& size) noexcept {
    const auto length = static_cast<double>(row_length(size));
    return static_cast<double>(size.rows) * length * length;
  }
};

}  // namespace tidegate
