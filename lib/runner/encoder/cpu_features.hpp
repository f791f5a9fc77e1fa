// CpuFeatures: which instruction sets this machine offers, and which kernels to use.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tidegate {

/// Builds of the vector kernels, slowest first. Results may differ in the last
/// bits between sets, never within one.
enum class KernelSet : std::uint8_t { plain, avx2, avx512 };

[[nodiscard]] std::string_view to_string(KernelSet set) noexcept;

/// What the processor has and the operating system saves on a context switch.
struct CpuFeatures {
  bool avx2 = false;    ///< AVX2, FMA
  bool avx512 = false;  ///< AVX-512 F, BW, DQ, VL
};

/// Reads the processor's own description; costs nothing.
[[nodiscard]] CpuFeatures cpu_features() noexcept;

[[nodiscard]] bool supports(const CpuFeatures& features, KernelSet set) noexcept;
[[nodiscard]] KernelSet best_kernel_set(const CpuFeatures& features) noexcept;

/// Why no faster set than `best_kernel_set` can run; empty if it is the fastest.
[[nodiscard]] std::string why_not_faster(const CpuFeatures& features);

}  // namespace tidegate
