// CpuFeatures: which instruction sets this machine offers, and which kernels to use.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tidegate {

/// Builds of the vector kernels, slowest first; each needs what those before it need.
/// Results may differ in the last bits between sets, never within one.
enum class KernelSet : std::uint8_t { plain, avx2, avx512, avx512_vnni, avx512_bf16 };
inline constexpr std::array kKernelSets = {KernelSet::plain, KernelSet::avx2, KernelSet::avx512, KernelSet::avx512_vnni,
                                           KernelSet::avx512_bf16};

[[nodiscard]] std::string_view to_string(KernelSet set) noexcept;

/// The set of that name; empty if there is none.
[[nodiscard]] std::optional<KernelSet> kernel_set_of(std::string_view name) noexcept;

/// What the processor has and the operating system saves on a context switch. A
/// feature counts only together with those above it, except for the last two.
struct CpuFeatures {
  bool avx2 = false;         ///< AVX2, FMA
  bool avx512 = false;       ///< AVX-512 F, BW, DQ, VL
  bool avx512_vnni = false;  ///< 8-bit dot products
  bool avx512_bf16 = false;  ///< bfloat16 dot products
  bool amx_int8 = false;     ///< tiles of 8-bit numbers, the system's tile state included
  bool amx_bf16 = false;     ///< tiles of bfloat16, likewise
};

/// Reads the processor's own description; costs nothing.
[[nodiscard]] CpuFeatures cpu_features() noexcept;

[[nodiscard]] bool supports(const CpuFeatures& features, KernelSet set) noexcept;
[[nodiscard]] KernelSet best_kernel_set(const CpuFeatures& features) noexcept;

/// Why no faster set than `best_kernel_set` can run; empty if it is the fastest.
[[nodiscard]] std::string why_not_faster(const CpuFeatures& features);

}  // namespace tidegate
