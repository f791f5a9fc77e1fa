// Tensor: an immutable, reference-counted block of numbers with a shape.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tidegate/result.hpp"

namespace tidegate {

/// Element type. Values are fixed and shared with the C ABI (`TIDEGATE_DTYPE_*`).
enum class DataType : std::int32_t {
  f32 = 1,
  f64 = 2,
  f16 = 3,
  bf16 = 4,
  i8 = 5,
  i16 = 6,
  i32 = 7,
  i64 = 8,
  u8 = 9,
  boolean = 10,
};

/// Bytes of one element; 0 for a value outside the enumeration.
[[nodiscard]] std::size_t byte_size(DataType type) noexcept;

/// Dimensions, outermost first; empty = scalar. Each is >= 0.
using Shape = std::vector<std::int64_t>;

/// Number of elements; nullopt-like -1 if a dimension is negative or the product overflows.
[[nodiscard]] std::int64_t element_count(const Shape& shape) noexcept;

/// Row-major, contiguous, immutable once built. Copying shares the storage
/// (one atomic increment), so a cache hit copies no numbers. Safe to read from
/// any number of threads.
class Tensor {
 public:
  Tensor() = default;

  /// Copies `bytes`. Errors: invalid_argument (size does not match shape and type).
  [[nodiscard]] static Result<Tensor> copy_of(DataType type, Shape shape, std::span<const std::byte> bytes);

  /// Shares `bytes` (kept alive by `owner`), 8-byte aligned at least.
  [[nodiscard]] static Result<Tensor> share(DataType type, Shape shape, std::span<const std::byte> bytes,
                                            std::shared_ptr<const void> owner);

  /// A one-dimensional f32 tensor holding a copy of `values`.
  [[nodiscard]] static Tensor vector_of(std::span<const float> values);

  [[nodiscard]] DataType type() const noexcept { return type_; }
  [[nodiscard]] const Shape& shape() const noexcept { return shape_; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

  /// The elements as T; empty if T's size is not the element size.
  template <class T>
  [[nodiscard]] std::span<const T> as() const noexcept {
    if (sizeof(T) != byte_size(type_)) return {};
    return {reinterpret_cast<const T*>(bytes_.data()), bytes_.size() / sizeof(T)};
  }

 private:
  DataType type_ = DataType::f32;
  Shape shape_{0};
  std::span<const std::byte> bytes_{};
  std::shared_ptr<const void> owner_{};
};

}  // namespace tidegate
