// The kernels for AVX2 with FMA; compiled with -mavx2 -mfma.
#include <immintrin.h>

#include <cstddef>

namespace tidegate {
namespace {

/// Eight floats. `_part` operations touch the first `lanes` only (1..8) and read
/// zero for the others.
struct V {
  using Reg = __m256;
  static constexpr std::size_t kLanes = 8;
  static constexpr int kTileRows = 6;  // 12 sums, 2 columns, 1 factor: 15 of 16 registers

  static Reg set(float value) { return _mm256_set1_ps(value); }
  static Reg load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Reg x) { _mm256_storeu_ps(p, x); }
  static __m256i mask(std::size_t lanes) {
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(lanes)), index);
  }
  static Reg load_part(const float* p, std::size_t lanes) {
    return lanes == kLanes ? load(p) : _mm256_maskload_ps(p, mask(lanes));
  }
  static void store_part(float* p, Reg x, std::size_t lanes) {
    if (lanes == kLanes) return store(p, x);
    _mm256_maskstore_ps(p, mask(lanes), x);
  }
  /// Lanes from `lanes` on become zero, or `value`.
  static Reg keep(Reg x, std::size_t lanes) { return _mm256_and_ps(x, _mm256_castsi256_ps(mask(lanes))); }
  static Reg fill(Reg x, float value, std::size_t lanes) {
    return _mm256_blendv_ps(set(value), x, _mm256_castsi256_ps(mask(lanes)));
  }

  static Reg add(Reg a, Reg b) { return _mm256_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm256_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm256_mul_ps(a, b); }
  static Reg div(Reg a, Reg b) { return _mm256_div_ps(a, b); }
  static Reg sqrt(Reg a) { return _mm256_sqrt_ps(a); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }
  // The second operand is the answer where either is NaN.
  static Reg min(Reg a, Reg b) { return _mm256_min_ps(a, b); }
  static Reg max(Reg a, Reg b) { return _mm256_max_ps(a, b); }
  static Reg abs(Reg a) { return _mm256_andnot_ps(set(-0.0F), a); }
  static Reg copy_sign(Reg magnitude, Reg sign) {
    return _mm256_or_ps(abs(magnitude), _mm256_and_ps(set(-0.0F), sign));
  }
  static Reg round(Reg a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  /// a > b ? yes : no
  static Reg select_greater(Reg a, Reg b, Reg yes, Reg no) {
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
  }
  /// x * 2^power for whole powers in [-126, 127]; NaN stays NaN.
  static Reg scale(Reg x, Reg power) {
    const __m256i exponent = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(power), _mm256_set1_epi32(127)), 23);
    return mul(x, _mm256_castsi256_ps(exponent));
  }

  static float sum(Reg x) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_shuffle_ps(half, half, 1)));
  }
  static float highest(Reg x) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_shuffle_ps(half, half, 1)));
  }
};

}  // namespace
}  // namespace tidegate

#include "runner/encoder/vector_kernels.hpp"

namespace tidegate {

const Kernels kAvx2Kernels = {KernelSet::avx2, kStrip, product, residual_norm, bias_activation, attention};

}  // namespace tidegate
