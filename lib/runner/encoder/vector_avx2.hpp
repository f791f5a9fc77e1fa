// Eight lanes of AVX2 with FMA. Everything here is in the unnamed namespace: see
// vector_math.hpp.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace tidegate {
namespace {

/// Eight numbers. `_part` operations touch the first `lanes` only (1..8) and read zero
/// for the others. Pointers need no alignment.
struct V {
  using Reg = __m256;
  using Ints = __m256i;
  static constexpr std::size_t kLanes = 8;
  static constexpr std::size_t kTileRows = 6;  // 12 sums, 2 weights, 1 factor: 15 of 16 registers
  static constexpr std::size_t kNarrowRows = 8;
  static constexpr std::size_t kFewRows = 1;  // up to here, tiles of kFewRegs: two strips, 8 sums
  static constexpr std::size_t kFewRegs = 8;
  static constexpr std::size_t kNormRegs = 0;  // no row of a usual width fits the registers

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
  /// The smaller of |x| and a positive bound; either where x is NaN.
  static Reg min_abs(Reg x, Reg bound) { return min(bound, abs(x)); }
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

  /// Sixteen numbers, and one of them per lane by the low four bits of `index`.
  struct Table {
    __m256 low;
    __m256 high;
  };
  static Table table(const float* values) { return {load(values), load(values + 8)}; }
  static Reg pick(const Table& values, Reg index) {
    const __m256i bits = _mm256_castps_si256(index);
    const Reg low = _mm256_permutevar8x32_ps(values.low, bits);
    const Reg high = _mm256_permutevar8x32_ps(values.high, bits);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(bits, 28)));
  }

  static Ints load_ints(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static Ints load_ints_part(const void* p, std::size_t lanes) {
    return lanes == kLanes ? load_ints(p) : _mm256_maskload_epi32(static_cast<const int*>(p), mask(lanes));
  }
  static void store_ints(void* p, Ints x) { _mm256_storeu_si256(static_cast<__m256i*>(p), x); }
  static Reg from_ints(Ints x) { return _mm256_cvtepi32_ps(x); }
  /// Four bytes at `p` in every lane.
  static Ints repeat(const void* p) {
    int bits;
    __builtin_memcpy(&bits, p, sizeof bits);
    return _mm256_set1_epi32(bits);
  }

  /// Rounded to whole numbers, held to 0..255.
  static void store_bytes(void* p, Reg x, std::size_t lanes) {
    const __m256i whole = _mm256_cvtps_epi32(x);
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    // As numbers with sign: words above 32767 would become 0.
    const __m128i bytes = _mm_packus_epi16(_mm_min_epu16(words, _mm_set1_epi16(255)), words);
    const long long eight = _mm_cvtsi128_si64(bytes);
    __builtin_memcpy(p, &eight, lanes);
  }
  /// The nearest bf16, the even one of two.
  static void store_bf16(void* p, Reg x, std::size_t lanes) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd);
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i upper = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, is_nan), 16);
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(upper), _mm256_extracti128_si256(upper, 1));
    __builtin_memcpy(p, &words, 2 * lanes);
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
  static float lowest(Reg x) {
    __m128 half = _mm_min_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_min_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_min_ss(half, _mm_shuffle_ps(half, half, 1)));
  }

  struct Add {
    static Reg of(Reg a, Reg b) { return add(a, b); }
  };
  struct Max {
    static Reg of(Reg a, Reg b) { return max(a, b); }
  };
  template <class Fold>
  static Reg fold_four(const Reg* rows) {
    const Reg ab = Fold::of(_mm256_unpacklo_ps(rows[0], rows[1]), _mm256_unpackhi_ps(rows[0], rows[1]));
    const Reg cd = Fold::of(_mm256_unpacklo_ps(rows[2], rows[3]), _mm256_unpackhi_ps(rows[2], rows[3]));
    return Fold::of(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xEE));
  }
  /// Lane r of the answer is row r's eight numbers, folded.
  template <class Fold>
  static Reg fold_rows(const Reg (&rows)[kLanes]) {
    const Reg low = fold_four<Fold>(rows);
    const Reg high = fold_four<Fold>(rows + 4);
    return Fold::of(_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31));
  }

  /// Rows become columns.
  static void transpose(Ints (&r)[kLanes]) {
    Ints t[kLanes];
    for (int i = 0; i < 8; i += 4) {  // four by four, within each half of a register
      const Ints a = _mm256_unpacklo_epi32(r[i], r[i + 1]);
      const Ints b = _mm256_unpackhi_epi32(r[i], r[i + 1]);
      const Ints c = _mm256_unpacklo_epi32(r[i + 2], r[i + 3]);
      const Ints d = _mm256_unpackhi_epi32(r[i + 2], r[i + 3]);
      t[i] = _mm256_unpacklo_epi64(a, c);
      t[i + 1] = _mm256_unpackhi_epi64(a, c);
      t[i + 2] = _mm256_unpacklo_epi64(b, d);
      t[i + 3] = _mm256_unpackhi_epi64(b, d);
    }
    for (int i = 0; i < 4; ++i) {  // then the halves
      r[i] = _mm256_permute2x128_si256(t[i], t[i + 4], 0x20);
      r[i + 4] = _mm256_permute2x128_si256(t[i], t[i + 4], 0x31);
    }
  }
};

/// f32: one multiplication a group.
struct DotF32 {
  using Sum = __m256;
  using Factor = __m256;
  using Weights = __m256;
  static constexpr std::size_t kRows = V::kTileRows;
  static Factor factor(const std::byte* p) { return _mm256_castsi256_ps(V::repeat(p)); }
  static Weights weights(const std::byte* p) { return _mm256_castsi256_ps(V::load_ints(p)); }
  static Sum dot(Sum sum, Factor x, Weights w) { return _mm256_fmadd_ps(x, w, sum); }
};

/// bf16 widened to f32, the group's first number first.
struct DotBf16 {
  using Sum = __m256;
  struct Factor {
    __m256 first;
    __m256 second;
  };
  using Weights = Factor;
  static constexpr std::size_t kRows = 4;  // 8 sums, 4 weights, 2 factors, 1 mask
  static Factor split(__m256i pair) {
    const __m256i upper = _mm256_and_si256(pair, _mm256_set1_epi32(static_cast<int>(0xFFFF0000U)));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(pair, 16)), _mm256_castsi256_ps(upper)};
  }
  static Factor factor(const std::byte* p) { return split(V::repeat(p)); }
  static Weights weights(const std::byte* p) { return split(V::load_ints(p)); }
  static Sum dot(Sum sum, Factor x, Weights w) {
    return _mm256_fmadd_ps(x.second, w.second, _mm256_fmadd_ps(x.first, w.first, sum));
  }
};

/// u8 times s8 in 16 bits, even and odd bytes apart: vpmaddubsw would saturate.
struct DotU8 {
  using Sum = __m256i;
  struct Factor {
    __m256i even;
    __m256i odd;
  };
  using Weights = Factor;
  static constexpr std::size_t kRows = 4;  // 8 sums, 4 weights, 2 factors, 1 mask
  static Factor factor(const std::byte* p) {
    const __m256i bytes = V::repeat(p);
    return {_mm256_and_si256(bytes, _mm256_set1_epi32(0x00FF00FF)), _mm256_srli_epi16(bytes, 8)};
  }
  static Weights weights(const std::byte* p) {
    const __m256i bytes = V::load_ints(p);
    return {_mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8), _mm256_srai_epi16(bytes, 8)};
  }
  static Sum dot(Sum sum, Factor x, Weights w) {
    const __m256i even = _mm256_madd_epi16(x.even, w.even);
    return _mm256_add_epi32(sum, _mm256_add_epi32(even, _mm256_madd_epi16(x.odd, w.odd)));
  }
};

}  // namespace
}  // namespace tidegate
