// Widening of stored weights to f32.
#pragma once

#include <cstddef>
#include <span>

#include "runner/encoder/encoder_model.hpp"

namespace tidegate {

/// Converts `values.size()` numbers of type f32, f16 or bf16, which may lie
/// unaligned, exactly.
void widen(DataType type, const std::byte* stored, std::span<float> values) noexcept;

}  // namespace tidegate
