// What runners that take any input ask of it.
#pragma once

#include "tidegate/request.hpp"
#include "tidegate/result.hpp"

namespace tidegate {

/// A text must be UTF-8; tensors are well-formed by construction.
/// Errors: invalid_argument (says at which byte).
[[nodiscard]] Result<void> check_plain_input(const Input& input);

/// Bytes of the text, or of all tensors' elements.
[[nodiscard]] std::uint64_t input_bytes(const Input& input) noexcept;

}  // namespace tidegate
