#include "runner/encoder/cpu_features.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace tidegate {
namespace {

#if defined(__x86_64__)
/// Whether the operating system saves the tile registers (XCR0 bits 17 and 18).
bool tiles_are_saved() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  constexpr unsigned kOsXsave = 1U << 27;
  constexpr unsigned kTileState = 3U << 17;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & kOsXsave) == 0) return false;
  unsigned low = 0;
  unsigned high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & kTileState) == kTileState;
}

/// Bits 22 and 25 of leaf 7 (EDX): AMX for bfloat16 and for 8-bit numbers.
void read_tiles(CpuFeatures& features) {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  if (!tiles_are_saved() || __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return;
  features.amx_bf16 = (edx >> 22 & 1U) != 0;
  features.amx_int8 = (edx >> 25 & 1U) != 0;
}
#endif

}  // namespace

std::string_view to_string(KernelSet set) noexcept {
  switch (set) {
    case KernelSet::plain: return "plain";
    case KernelSet::avx2: return "avx2";
    case KernelSet::avx512: return "avx512";
    case KernelSet::avx512_vnni: return "avx512_vnni";
    case KernelSet::avx512_bf16: return "avx512_bf16";
  }
  return "unknown";
}

std::optional<KernelSet> kernel_set_of(std::string_view name) noexcept {
  for (const KernelSet set : kKernelSets) {
    if (to_string(set) == name) return set;
  }
  return std::nullopt;
}

CpuFeatures cpu_features() noexcept {
  CpuFeatures features;
#if defined(__x86_64__)
  // The compiler's run-time library checks the saved state (XGETBV) along with CPUID.
  features.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  features.avx512 = features.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  features.avx512_vnni = features.avx512 && __builtin_cpu_supports("avx512vnni");
  features.avx512_bf16 = features.avx512_vnni && __builtin_cpu_supports("avx512bf16");
  read_tiles(features);
#endif
  return features;
}

bool supports(const CpuFeatures& features, KernelSet set) noexcept {
  switch (set) {
    case KernelSet::plain: return true;
    case KernelSet::avx2: return features.avx2;
    case KernelSet::avx512: return features.avx512;
    case KernelSet::avx512_vnni: return features.avx512_vnni;
    case KernelSet::avx512_bf16: return features.avx512_bf16;
  }
  return false;
}

KernelSet best_kernel_set(const CpuFeatures& features) noexcept {
  KernelSet best = KernelSet::plain;
  for (const KernelSet set : kKernelSets) {
    if (supports(features, set)) best = set;
  }
  return best;
}

std::string why_not_faster(const CpuFeatures& features) {
  switch (best_kernel_set(features)) {
    case KernelSet::plain: return "avx2 and above: this processor lacks AVX2 or FMA";
    case KernelSet::avx2: return "avx512 and above: this processor lacks AVX-512 F, BW, DQ or VL";
    case KernelSet::avx512: return "avx512_vnni and above: this processor lacks AVX-512 VNNI";
    case KernelSet::avx512_vnni: return "avx512_bf16: this processor lacks AVX-512 BF16";
    case KernelSet::avx512_bf16: return {};
  }
  return {};
}

}  // namespace tidegate
