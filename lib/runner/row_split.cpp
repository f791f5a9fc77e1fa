#include "runner/row_split.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/try.hpp"

namespace tidegate {
namespace {

constexpr std::size_t kAlignment = 8;  // of shared tensors

Result<Tensor> slice(const Tensor& tensor, std::uint32_t first, std::uint32_t count) {
  Shape shape = tensor.shape();
  const std::size_t stride = tensor.bytes().size() / static_cast<std::size_t>(shape.front());
  shape.front() = count;
  const auto bytes = tensor.bytes().subspan(first * stride, count * stride);
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % kAlignment != 0) {
    return Tensor::copy_of(tensor.type(), std::move(shape), bytes);
  }
  return Tensor::share(tensor.type(), std::move(shape), bytes, std::make_shared<const Tensor>(tensor));
}

/// How many rows of like size fit; 0 = not one.
std::uint64_t rows_that_fit(const ItemSize& size, std::uint64_t rows, const ItemSize& limit) {
  const auto fit = [rows](std::uint64_t have, std::uint64_t most) {
    const std::uint64_t of_row = have / rows + (have % rows == 0 ? 0 : 1);
    return of_row == 0 ? rows : most / of_row;
  };
  return std::min({fit(size.rows, limit.rows), fit(size.tokens, limit.tokens), fit(size.bytes, limit.bytes), rows});
}

bool fits(const ItemSize& size, const ItemSize& limit) {
  return size.rows <= limit.rows && size.tokens <= limit.tokens && size.bytes <= limit.bytes;
}

/// Parts of like numbers of rows; empty if one breaks the limit.
Result<std::vector<PreparedInput>> cut(const std::vector<Tensor>& tensors, std::uint32_t rows, std::uint32_t parts,
                                       const ItemSize& limit, const SizeOfInput& size_of) {
  std::vector<PreparedInput> made;
  made.reserve(parts);
  for (std::uint32_t i = 0, first = 0; i < parts; ++i) {
    const std::uint32_t count = rows / parts + (i < rows % parts ? 1 : 0);
    PreparedInput& part = made.emplace_back();
    TIDEGATE_TRY(std::vector<Tensor> slices, slice_rows(tensors, first, count));
    part.input = std::move(slices);
    TIDEGATE_TRY(part.size, size_of(part.input));
    if (!fits(part.size, limit)) return std::vector<PreparedInput>();
    first += count;
  }
  return made;
}

Error cannot_join(std::size_t output, const char* why) {
  return Error(ErrorCode::backend_failed, fmt::format("output {} of a request that ran in parts cannot be joined: the "
                                                      "model's answers {}",
                                                      output, why));
}

/// Output number `output` of all parts, one behind the other.
Result<Tensor> join_output(const std::vector<std::vector<Tensor>>& parts, std::size_t output) {
  const Tensor& model = parts.front()[output];
  if (model.shape().empty()) return cannot_join(output, "are scalars, and must lead with the rows");
  Shape shape = model.shape();
  shape.front() = 0;
  std::size_t size = 0;
  for (const std::vector<Tensor>& part : parts) {
    const Tensor& tensor = part[output];
    const bool same = tensor.type() == model.type() && tensor.shape().size() == shape.size() &&
                      std::equal(shape.begin() + 1, shape.end(), tensor.shape().begin() + 1);
    if (!same) return cannot_join(output, "differ in type or in the shape of a row");
    shape.front() += tensor.shape().front();
    size += tensor.bytes().size();
  }
  const auto block = std::make_shared<std::vector<std::byte>>(size);
  std::byte* end = block->data();
  for (const std::vector<Tensor>& part : parts) {
    const auto bytes = part[output].bytes();
    if (!bytes.empty()) std::memcpy(end, bytes.data(), bytes.size());
    end += bytes.size();
  }
  return Tensor::share(model.type(), std::move(shape), *block, block);
}

}  // namespace

Result<std::uint32_t> leading_rows(const Input& input) {
  const auto* tensors = std::get_if<std::vector<Tensor>>(&input);
  if (tensors == nullptr) return std::uint32_t{1};
  if (tensors->empty()) return Error(ErrorCode::invalid_argument, "the request has no tensor, and so no rows");
  std::int64_t rows = 0;
  for (std::size_t i = 0; i < tensors->size(); ++i) {
    const Shape& shape = (*tensors)[i].shape();
    if (shape.empty() || shape.front() < 1) {
      return Error(ErrorCode::invalid_argument,
                   fmt::format("tensor {} has no row: its leading dimension must be the rows, at least 1", i));
    }
    if (i > 0 && shape.front() != rows) {
      return Error(ErrorCode::invalid_argument, fmt::format("tensor {} has {} rows, but tensor 0 has {}: the leading "
                                                            "dimension of all must be the same",
                                                            i, shape.front(), rows));
    }
    rows = shape.front();
  }
  constexpr std::int64_t kMost = std::numeric_limits<std::uint32_t>::max();
  if (rows > kMost) return Error(ErrorCode::too_large, "the request has too many rows").with_numbers(rows, kMost);
  return static_cast<std::uint32_t>(rows);
}

ItemSize row_size(const Input& input, std::uint32_t rows) noexcept {
  ItemSize size;
  size.rows = rows;
  const auto* tensors = std::get_if<std::vector<Tensor>>(&input);
  if (tensors == nullptr) {
    size.bytes = std::get_if<std::string>(&input)->size();
    return size;
  }
  std::uint64_t longest = 1;
  for (const Tensor& tensor : *tensors) {
    size.bytes += tensor.bytes().size();
    if (tensor.shape().size() > 1) longest = std::max(longest, static_cast<std::uint64_t>(tensor.shape()[1]));
  }
  if (__builtin_mul_overflow(longest, std::uint64_t{rows}, &size.tokens)) {
    size.tokens = std::numeric_limits<std::uint64_t>::max();
  }
  return size;
}

Result<std::vector<Tensor>> slice_rows(const std::vector<Tensor>& tensors, std::uint32_t first, std::uint32_t count) {
  std::vector<Tensor> slices;
  slices.reserve(tensors.size());
  for (const Tensor& tensor : tensors) {
    TIDEGATE_TRY(Tensor part, slice(tensor, first, count));
    slices.push_back(std::move(part));
  }
  return slices;
}

Result<std::vector<PreparedInput>> split_rows(const PreparedInput& input, const ItemSize& limit,
                                              const SizeOfInput& size_of) {
  const auto* tensors = std::get_if<std::vector<Tensor>>(&input.input);
  if (tensors == nullptr) return Error(ErrorCode::too_large, "a text is not split");
  TIDEGATE_TRY(const std::uint32_t rows, leading_rows(input.input));
  std::uint64_t most = rows_that_fit(input.size, rows, limit);
  for (; most > 0; most /= 2) {  // once, where every row is of one size
    const auto parts = static_cast<std::uint32_t>((rows + most - 1) / most);
    TIDEGATE_TRY(std::vector<PreparedInput> made, cut(*tensors, rows, parts, limit, size_of));
    if (!made.empty()) return made;
  }
  return Error(ErrorCode::too_large, "one row of it alone is too large");
}

Result<std::vector<Tensor>> join_rows(const std::vector<std::vector<Tensor>>& parts) {
  std::vector<Tensor> joined;
  if (parts.empty()) return joined;
  for (const std::vector<Tensor>& part : parts) {
    if (part.size() != parts.front().size()) return cannot_join(part.size(), "differ in number");
  }
  for (std::size_t i = 0; i < parts.front().size(); ++i) {
    TIDEGATE_TRY(Tensor output, join_output(parts, i));
    joined.push_back(std::move(output));
  }
  return joined;
}

}  // namespace tidegate
