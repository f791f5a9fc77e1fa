// StaticSizes: the numbers of rows a model can compute, where it was built for a few only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "queue/batch_shape.hpp"

namespace tidegate {

/// Ascending; none = any number will do.
class StaticSizes {
 public:
  explicit StaticSizes(std::vector<std::uint32_t> sizes) : sizes_(std::move(sizes)) {}

  [[nodiscard]] bool any() const noexcept { return sizes_.empty(); }
  [[nodiscard]] std::span<const std::uint32_t> sizes() const noexcept { return sizes_; }

  /// Rows the model computes for so many; no more than the largest size are asked for.
  [[nodiscard]] std::uint64_t padded(std::uint64_t rows) const noexcept {
    const auto size = std::lower_bound(sizes_.begin(), sizes_.end(), rows);
    return size == sizes_.end() ? rows : *size;
  }

  /// The shape with the rows that fill it up.
  [[nodiscard]] BatchShape pad(BatchShape shape) const noexcept {
    shape.filler = padded(shape.rows) - shape.rows;
    return shape;
  }

 private:
  std::vector<std::uint32_t> sizes_;
};

}  // namespace tidegate
