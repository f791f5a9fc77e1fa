// Cosine of unit vectors, as fast as the machine can.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace tidegate {

/// Sum of products of two vectors of `size` numbers. Runs the widest of AVX-512, AVX2 with FMA
/// and plain code that the processor has; the order of summation differs between them, so the
/// last bits may, too.
using DotProduct = float (*)(const float* a, const float* b, std::size_t size) noexcept;
[[nodiscard]] DotProduct fastest_dot_product() noexcept;
/// One product after the other, in double: what the fast ones are checked against.
[[nodiscard]] double plain_dot_product(std::span<const float> a, std::span<const float> b) noexcept;

/// `vector` scaled to length 1; empty where it has no direction (zeros, or a number that is not
/// finite).
[[nodiscard]] std::vector<float> unit_vector(std::span<const float> vector);

}  // namespace tidegate
