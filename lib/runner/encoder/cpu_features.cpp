#include "runner/encoder/cpu_features.hpp"

namespace tidegate {

std::string_view to_string(KernelSet set) noexcept {
  switch (set) {
    case KernelSet::plain: return "plain";
    case KernelSet::avx2: return "avx2";
    case KernelSet::avx512: return "avx512";
  }
  return "unknown";
}

CpuFeatures cpu_features() noexcept {
  CpuFeatures features;
#if defined(__x86_64__)
  // The compiler's run-time library checks the saved state (XGETBV) along with CPUID.
  features.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  features.avx512 = features.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
  return features;
}

bool supports(const CpuFeatures& features, KernelSet set) noexcept {
  switch (set) {
    case KernelSet::plain: return true;
    case KernelSet::avx2: return features.avx2;
    case KernelSet::avx512: return features.avx512;
  }
  return false;
}

KernelSet best_kernel_set(const CpuFeatures& features) noexcept {
  if (features.avx512) return KernelSet::avx512;
  return features.avx2 ? KernelSet::avx2 : KernelSet::plain;
}

std::string why_not_faster(const CpuFeatures& features) {
  if (features.avx512) return {};
  if (features.avx2) return "avx512: this processor lacks AVX-512 F, BW, DQ or VL";
  return "avx2, avx512: this processor lacks AVX2 or FMA";
}

}  // namespace tidegate
