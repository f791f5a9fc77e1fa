// The kernels for AVX-512; compiled with -mavx512f -mavx512bw -mavx512dq -mavx512vl.
#include <immintrin.h>

#include <cstddef>

namespace tidegate {
namespace {

/// Sixteen floats. `_part` operations touch the first `lanes` only (1..16) and read
/// zero for the others.
struct V {
  using Reg = __m512;
  static constexpr std::size_t kLanes = 16;
  static constexpr int kTileRows = 12;  // 24 sums, 2 columns, 1 factor: 27 of 32 registers

  static Reg set(float value) { return _mm512_set1_ps(value); }
  static Reg load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Reg x) { _mm512_storeu_ps(p, x); }
  static __mmask16 mask(std::size_t lanes) { return static_cast<__mmask16>((1U << lanes) - 1U); }
  static Reg load_part(const float* p, std::size_t lanes) { return _mm512_maskz_loadu_ps(mask(lanes), p); }
  static void store_part(float* p, Reg x, std::size_t lanes) { _mm512_mask_storeu_ps(p, mask(lanes), x); }
  /// Lanes from `lanes` on become zero, or `value`.
  static Reg keep(Reg x, std::size_t lanes) { return _mm512_maskz_mov_ps(mask(lanes), x); }
  static Reg fill(Reg x, float value, std::size_t lanes) { return _mm512_mask_mov_ps(set(value), mask(lanes), x); }

  static Reg add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm512_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
  static Reg div(Reg a, Reg b) { return _mm512_div_ps(a, b); }
  // The masked forms with a full mask: GCC 12 takes the plain ones for uses of an
  // uninitialized register.
  static Reg sqrt(Reg a) { return _mm512_maskz_sqrt_ps(0xFFFF, a); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  // The second operand is the answer where either is NaN.
  static Reg min(Reg a, Reg b) { return _mm512_maskz_min_ps(0xFFFF, a, b); }
  static Reg max(Reg a, Reg b) { return _mm512_maskz_max_ps(0xFFFF, a, b); }
  static Reg abs(Reg a) { return _mm512_maskz_andnot_ps(0xFFFF, set(-0.0F), a); }
  static Reg copy_sign(Reg magnitude, Reg sign) {
    return _mm512_maskz_or_ps(0xFFFF, abs(magnitude), _mm512_maskz_and_ps(0xFFFF, set(-0.0F), sign));
  }
  static Reg round(Reg a) {
    return _mm512_maskz_roundscale_ps(0xFFFF, a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  /// a > b ? yes : no
  static Reg select_greater(Reg a, Reg b, Reg yes, Reg no) {
    return _mm512_mask_mov_ps(no, _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), yes);
  }
  /// x * 2^power for whole powers in [-126, 127]; NaN stays NaN.
  static Reg scale(Reg x, Reg power) { return _mm512_maskz_scalef_ps(0xFFFF, x, power); }

  static float fold(__m256 half) {
    __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_shuffle_ps(quarter, quarter, 1)));
  }
  static __m256 lower(Reg x) { return _mm512_maskz_extractf32x8_ps(0xFF, x, 0); }
  static __m256 upper(Reg x) { return _mm512_maskz_extractf32x8_ps(0xFF, x, 1); }
  static float sum(Reg x) { return fold(_mm256_add_ps(lower(x), upper(x))); }
  static float highest(Reg x) {
    const __m256 half = _mm256_max_ps(lower(x), upper(x));
    __m128 quarter = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    quarter = _mm_max_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_max_ss(quarter, _mm_shuffle_ps(quarter, quarter, 1)));
  }
};

}  // namespace
}  // namespace tidegate

#include "runner/encoder/vector_kernels.hpp"

namespace tidegate {

const Kernels kAvx512Kernels = {KernelSet::avx512, kStrip, product, residual_norm, bias_activation, attention};

}  // namespace tidegate
