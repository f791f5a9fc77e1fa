// Sixteen lanes of AVX-512, for the files compiled for it; what VNNI and BF16 add is
// used where the compiler may. Everything here is in the unnamed namespace: see
// vector_math.hpp.
#pragma once

// GCC 12 takes the intrinsics' undefined first operands for uses of uninitialized variables.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <cstddef>
#include <cstdint>

namespace tidegate {
namespace {

/// Sixteen numbers. `_part` operations touch the first `lanes` only (1..16) and read
/// zero for the others. Pointers need no alignment.
struct V {
  using Reg = __m512;
  using Ints = __m512i;
  using Table = __m512;
  static constexpr std::size_t kLanes = 16;
  static constexpr std::size_t kTileRows = 12;    // 24 sums, 2 weights, 1 factor: 27 of 32 registers
  static constexpr std::size_t kNarrowRows = 16;  // of one register of columns
  static constexpr std::size_t kFewRows = 3;      // up to here, tiles of kFewRegs: four strips, 24 sums
  static constexpr std::size_t kFewRegs = 8;
  static constexpr std::size_t kNormRegs = 24;  // widest row whose LayerNorm stays in registers

  static Reg set(float value) { return _mm512_set1_ps(value); }
  static Reg load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Reg x) { _mm512_storeu_ps(p, x); }
  static __mmask16 mask(std::size_t lanes) { return static_cast<__mmask16>((1U << lanes) - 1U); }
  static Reg load_part(const float* p, std::size_t lanes) {
    return lanes == kLanes ? load(p) : _mm512_maskz_loadu_ps(mask(lanes), p);
  }
  static void store_part(float* p, Reg x, std::size_t lanes) {
    if (lanes == kLanes) return store(p, x);
    _mm512_mask_storeu_ps(p, mask(lanes), x);
  }
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
  /// The smaller of |x| and a positive bound; either where x is NaN.
  static Reg min_abs(Reg x, Reg bound) { return _mm512_maskz_range_ps(0xFFFF, x, bound, 0b1010); }
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

  /// Sixteen numbers, and one of them per lane by the low four bits of `index`.
  static Table table(const float* values) { return load(values); }
  static Reg pick(Table values, Reg index) {
    return _mm512_maskz_permutexvar_ps(0xFFFF, _mm512_castps_si512(index), values);
  }

  static Ints load_ints(const void* p) { return _mm512_loadu_si512(p); }
  static Ints load_ints_part(const void* p, std::size_t lanes) {
    return lanes == kLanes ? load_ints(p) : _mm512_maskz_loadu_epi32(mask(lanes), p);
  }
  static void store_ints(void* p, Ints x) { _mm512_storeu_si512(p, x); }
  static Reg from_ints(Ints x) { return _mm512_maskz_cvtepi32_ps(0xFFFF, x); }
  /// Four bytes at `p` in every lane.
  static Ints repeat(const void* p) {
    int bits;
    __builtin_memcpy(&bits, p, sizeof bits);
    return _mm512_set1_epi32(bits);
  }

  /// Rounded to whole numbers, held to 0..255.
  static void store_bytes(void* p, Reg x, std::size_t lanes) {
    const __m128i bytes = _mm512_maskz_cvtusepi32_epi8(0xFFFF, _mm512_maskz_cvtps_epi32(0xFFFF, x));
    if (lanes == kLanes) {
      _mm_storeu_si128(static_cast<__m128i*>(p), bytes);
    } else {
      _mm_mask_storeu_epi8(p, mask(lanes), bytes);
    }
  }
  /// The nearest bf16, the even one of two.
  static __m256i to_bf16(Reg x) {
#if defined(__AVX512BF16__)
    return reinterpret_cast<__m256i>(_mm512_maskz_cvtneps_pbh(0xFFFF, x));
#else
    const Ints bits = _mm512_castps_si512(x);
    const Ints odd = _mm512_and_si512(_mm512_maskz_srli_epi32(0xFFFF, bits, 16), _mm512_set1_epi32(1));
    const Ints rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
    const Ints quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    const Ints result = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), quiet);
    return _mm512_maskz_cvtepi32_epi16(0xFFFF, _mm512_maskz_srli_epi32(0xFFFF, result, 16));
#endif
  }
  static void store_bf16(void* p, Reg x, std::size_t lanes) {
    if (lanes == kLanes) {
      _mm256_storeu_si256(static_cast<__m256i*>(p), to_bf16(x));
    } else {
      _mm256_mask_storeu_epi16(p, mask(lanes), to_bf16(x));
    }
  }

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
  static float lowest(Reg x) {
    const __m256 half = _mm256_min_ps(lower(x), upper(x));
    __m128 quarter = _mm_min_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    quarter = _mm_min_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_min_ss(quarter, _mm_shuffle_ps(quarter, quarter, 1)));
  }

  struct Add {
    static Reg of(Reg a, Reg b) { return add(a, b); }
  };
  struct Max {
    static Reg of(Reg a, Reg b) { return max(a, b); }
  };
  template <class Fold>
  static Reg fold_pair(Reg a, Reg b) {
    return Fold::of(_mm512_maskz_unpacklo_ps(0xFFFF, a, b), _mm512_maskz_unpackhi_ps(0xFFFF, a, b));
  }
  template <class Fold>
  static Reg fold_four(const Reg* rows) {
    const __m512d low = _mm512_castps_pd(fold_pair<Fold>(rows[0], rows[1]));
    const __m512d high = _mm512_castps_pd(fold_pair<Fold>(rows[2], rows[3]));
    return Fold::of(_mm512_castpd_ps(_mm512_maskz_unpacklo_pd(0xFF, low, high)),
                    _mm512_castpd_ps(_mm512_maskz_unpackhi_pd(0xFF, low, high)));
  }
  template <class Fold>
  static Reg fold_lanes(Reg a, Reg b) {
    return Fold::of(_mm512_maskz_shuffle_f32x4(0xFFFF, a, b, 0x88), _mm512_maskz_shuffle_f32x4(0xFFFF, a, b, 0xDD));
  }
  /// Lane r of the answer is row r's sixteen numbers, folded.
  template <class Fold>
  static Reg fold_rows(const Reg (&rows)[kLanes]) {
    const Reg low = fold_lanes<Fold>(fold_four<Fold>(rows), fold_four<Fold>(rows + 4));
    const Reg high = fold_lanes<Fold>(fold_four<Fold>(rows + 8), fold_four<Fold>(rows + 12));
    return fold_lanes<Fold>(low, high);
  }

  /// Rows become columns.
  static void transpose(Ints (&r)[kLanes]) {
    Ints t[kLanes];
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {  // four by four, within each quarter of a register
      const Ints a = _mm512_maskz_unpacklo_epi32(0xFFFF, r[i], r[i + 1]);
      const Ints b = _mm512_maskz_unpackhi_epi32(0xFFFF, r[i], r[i + 1]);
      const Ints c = _mm512_maskz_unpacklo_epi32(0xFFFF, r[i + 2], r[i + 3]);
      const Ints d = _mm512_maskz_unpackhi_epi32(0xFFFF, r[i + 2], r[i + 3]);
      t[i] = _mm512_maskz_unpacklo_epi64(0xFF, a, c);
      t[i + 1] = _mm512_maskz_unpackhi_epi64(0xFF, a, c);
      t[i + 2] = _mm512_maskz_unpacklo_epi64(0xFF, b, d);
      t[i + 3] = _mm512_maskz_unpackhi_epi64(0xFF, b, d);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {  // then the quarters
      const Ints a = _mm512_maskz_shuffle_i32x4(0xFFFF, t[i], t[i + 4], 0x88);
      const Ints b = _mm512_maskz_shuffle_i32x4(0xFFFF, t[i], t[i + 4], 0xDD);
      const Ints c = _mm512_maskz_shuffle_i32x4(0xFFFF, t[i + 8], t[i + 12], 0x88);
      const Ints d = _mm512_maskz_shuffle_i32x4(0xFFFF, t[i + 8], t[i + 12], 0xDD);
      r[i] = _mm512_maskz_shuffle_i32x4(0xFFFF, a, c, 0x88);
      r[i + 4] = _mm512_maskz_shuffle_i32x4(0xFFFF, b, d, 0x88);
      r[i + 8] = _mm512_maskz_shuffle_i32x4(0xFFFF, a, c, 0xDD);
      r[i + 12] = _mm512_maskz_shuffle_i32x4(0xFFFF, b, d, 0xDD);
    }
  }
};

/// f32: one multiplication a group.
struct DotF32 {
  using Sum = __m512;
  using Factor = __m512;
  using Weights = __m512;
  static constexpr std::size_t kRows = V::kTileRows;
  static Factor factor(const std::byte* p) { return _mm512_castsi512_ps(V::repeat(p)); }
  static Weights weights(const std::byte* p) { return _mm512_castsi512_ps(V::load_ints(p)); }
  static Sum dot(Sum sum, Factor x, Weights w) { return _mm512_fmadd_ps(x, w, sum); }
};

#if defined(__AVX512BF16__)
/// bf16: two multiplications a group.
struct DotBf16 {
  using Sum = __m512;
  using Factor = __m512bh;
  using Weights = __m512bh;
  static constexpr std::size_t kRows = V::kTileRows;
  static Factor factor(const std::byte* p) { return reinterpret_cast<__m512bh>(V::repeat(p)); }
  static Weights weights(const std::byte* p) { return reinterpret_cast<__m512bh>(V::load_ints(p)); }
  static Sum dot(Sum sum, Factor x, Weights w) { return _mm512_dpbf16_ps(sum, x, w); }
};
#else
/// bf16 widened to f32, the group's first number first.
struct DotBf16 {
  using Sum = __m512;
  struct Factor {
    __m512 first;
    __m512 second;
  };
  using Weights = Factor;
  static constexpr std::size_t kRows = 10;  // 20 sums, 4 weights, 2 factors, 1 mask
  static Factor split(__m512i pair) {
    return {_mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xFFFF, pair, 16)),
            _mm512_castsi512_ps(_mm512_and_si512(pair, _mm512_set1_epi32(static_cast<int>(0xFFFF0000U))))};
  }
  static Factor factor(const std::byte* p) { return split(V::repeat(p)); }
  static Weights weights(const std::byte* p) { return split(V::load_ints(p)); }
  static Sum dot(Sum sum, Factor x, Weights w) {
    return _mm512_fmadd_ps(x.second, w.second, _mm512_fmadd_ps(x.first, w.first, sum));
  }
};
#endif

#if defined(__AVX512VNNI__)
/// u8 times s8: four multiplications a group.
struct DotU8 {
  using Sum = __m512i;
  using Factor = __m512i;
  using Weights = __m512i;
  static constexpr std::size_t kRows = V::kTileRows;
  static Factor factor(const std::byte* p) { return V::repeat(p); }
  static Weights weights(const std::byte* p) { return V::load_ints(p); }
  static Sum dot(Sum sum, Factor x, Weights w) { return _mm512_dpbusd_epi32(sum, x, w); }
};
#else
/// u8 times s8 in 16 bits, even and odd bytes apart: vpmaddubsw would saturate.
struct DotU8 {
  using Sum = __m512i;
  struct Factor {
    __m512i even;
    __m512i odd;
  };
  using Weights = Factor;
  static constexpr std::size_t kRows = 10;  // 20 sums, 4 weights, 2 factors, 1 mask
  static Factor factor(const std::byte* p) {
    const __m512i bytes = V::repeat(p);
    return {_mm512_and_si512(bytes, _mm512_set1_epi32(0x00FF00FF)), _mm512_srli_epi16(bytes, 8)};
  }
  static Weights weights(const std::byte* p) {
    const __m512i bytes = V::load_ints(p);
    return {_mm512_srai_epi16(_mm512_slli_epi16(bytes, 8), 8), _mm512_srai_epi16(bytes, 8)};
  }
  static Sum dot(Sum sum, Factor x, Weights w) {
    const __m512i even = _mm512_madd_epi16(x.even, w.even);
    return _mm512_add_epi32(sum, _mm512_add_epi32(even, _mm512_madd_epi16(x.odd, w.odd)));
  }
};
#endif

#if defined(__AVX512BF16__)
/// What attention does with bf16 beside its products.
struct Bf16Words {
  static __mmask32 mask(std::size_t numbers) {
    return static_cast<__mmask32>(numbers >= 32 ? 0xFFFFFFFFU : (1U << numbers) - 1U);
  }
  static __m512i load(const std::byte* p, __mmask32 mask) { return _mm512_maskz_loadu_epi16(mask, p); }
  /// Two rows of 32 to pairs (first[j], second[j]) of columns 0..15 and 16..31.
  static void pairs(__m512i first, __m512i second, std::byte* target) {
    static constexpr std::uint16_t kLow[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                               8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
    const __m512i low = V::load_ints(kLow);
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    V::store_ints(target, _mm512_permutex2var_epi16(first, low, second));
    V::store_ints(target + 64, _mm512_permutex2var_epi16(first, high, second));
  }
  /// 2^x for x <= 0, relative error below 8e-5, a twentieth of what rounding to bf16
  /// adds; 0 for minus infinity, NaN stays NaN.
  static __m512 power(__m512 x) {
    const __m512 rest = _mm512_maskz_reduce_ps(0xFFFF, x, 0b1001);  // x - floor(x)
    __m512 result = _mm512_fmadd_ps(rest, V::set(0.0780245215F), V::set(0.226067171F));
    result = _mm512_fmadd_ps(result, rest, V::set(0.695833504F));
    result = _mm512_fmadd_ps(result, rest, V::set(0.999925196F));
    return _mm512_maskz_scalef_ps(0xFFFF, result, x);  // times 2^floor(x)
  }
  /// Stores 32 numbers rounded, and adds the rounded ones to `sum`.
  static __m512 store_and_sum(std::byte* target, __m512 low, __m512 high, __m512 sum) {
    const __m512bh rounded = _mm512_maskz_cvtne2ps_pbh(0xFFFFFFFFU, high, low);
    V::store_ints(target, reinterpret_cast<__m512i>(rounded));
    return _mm512_dpbf16_ps(sum, rounded, reinterpret_cast<__m512bh>(_mm512_set1_epi32(0x3F803F80)));
  }
};
#endif

}  // namespace
}  // namespace tidegate
