#include "tidegate/tensor.hpp"

#include <cstring>
#include <limits>

namespace tidegate {

std::size_t byte_size(DataType type) noexcept {
  switch (type) {
    case DataType::f64:
    case DataType::i64: return 8;
    case DataType::f32:
    case DataType::i32: return 4;
    case DataType::f16:
    case DataType::bf16:
    case DataType::i16: return 2;
    case DataType::i8:
    case DataType::u8:
    case DataType::boolean: return 1;
  }
  return 0;
}

std::int64_t element_count(const Shape& shape) noexcept {
  std::int64_t count = 1;
  for (const std::int64_t dimension : shape) {
    if (dimension < 0 || __builtin_mul_overflow(count, dimension, &count)) return -1;
  }
  return count;
}

Result<Tensor> Tensor::share(DataType type, Shape shape, std::span<const std::byte> bytes,
                             std::shared_ptr<const void> owner) {
  const std::int64_t count = element_count(shape);
  const std::size_t size = byte_size(type);
  if (count < 0) return Error(ErrorCode::invalid_argument, "tensor shape is negative or too large");
  if (size == 0) return Error(ErrorCode::invalid_argument, "tensor has an unknown element type");
  if (static_cast<std::uint64_t>(count) != bytes.size() / size || bytes.size() % size != 0) {
    std::int64_t needed = 0;
    if (__builtin_mul_overflow(count, static_cast<std::int64_t>(size), &needed)) {
      needed = std::numeric_limits<std::int64_t>::max();
    }
    return Error(ErrorCode::invalid_argument, "tensor bytes do not match its shape and type")
        .with_numbers(static_cast<std::int64_t>(bytes.size()), needed);
  }
  Tensor tensor;
  tensor.type_ = type;
  tensor.shape_ = std::move(shape);
  tensor.bytes_ = bytes;
  tensor.owner_ = std::move(owner);
  return tensor;
}

Result<Tensor> Tensor::copy_of(DataType type, Shape shape, std::span<const std::byte> bytes) {
  // make_shared aligns to max_align_t, enough for every element type.
  std::shared_ptr<std::byte[]> block = std::make_shared_for_overwrite<std::byte[]>(bytes.size());
  if (!bytes.empty()) std::memcpy(block.get(), bytes.data(), bytes.size());
  const std::span<const std::byte> copy(block.get(), bytes.size());
  return share(type, std::move(shape), copy, std::move(block));
}

Tensor Tensor::vector_of(std::span<const float> values) {
  return *copy_of(DataType::f32, {static_cast<std::int64_t>(values.size())}, std::as_bytes(values));
}

}  // namespace tidegate
