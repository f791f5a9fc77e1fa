// Items whose tensors lead with rows: their size, their parts, their answers joined.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "tidegate/runner.hpp"

namespace tidegate {

/// One row for a text. Errors: invalid_argument (a scalar, no row, tensors that disagree).
[[nodiscard]] Result<std::uint32_t> leading_rows(const Input& input);

/// Of an input that has leading_rows: for each row as many tokens as the longest second
/// dimension has, at least one.
[[nodiscard]] ItemSize row_size(const Input& input, std::uint32_t rows) noexcept;

/// The tensors' rows first to first + count; they share the storage where its alignment allows.
[[nodiscard]] Result<std::vector<Tensor>> slice_rows(const std::vector<Tensor>& tensors, std::uint32_t first,
                                                     std::uint32_t count);

/// As ModelRunner::split: as few parts as fit, of like numbers of rows. `size_of` is asked for
/// the size of each part. Errors: too_large (a text; one row alone breaks the limit).
using SizeOfInput = std::function<Result<ItemSize>(const Input&)>;
[[nodiscard]] Result<std::vector<PreparedInput>> split_rows(const PreparedInput& input, const ItemSize& limit,
                                                            const SizeOfInput& size_of);

/// As ModelRunner::join: tensor by tensor, row behind row. Errors: backend_failed (the parts'
/// answers differ in number, type or shape of a row, or are scalars).
[[nodiscard]] Result<std::vector<Tensor>> join_rows(const std::vector<std::vector<Tensor>>& parts);

}  // namespace tidegate
