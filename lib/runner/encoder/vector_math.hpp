// Elementary functions over a vector type `V`, which the including file defines before.
// Each including file is compiled for one instruction set, so nothing in the vector_*
// headers may leave the unnamed namespace or call an inline function of the standard
// library: the linker would keep one copy of it for every processor.
#pragma once

#include "runner/encoder/kernels.hpp"

namespace tidegate {
namespace {

using Reg = V::Reg;
constexpr std::size_t kLanes = V::kLanes;

/// Lanes in use at `index` of a row of `width`.
inline std::size_t lanes_at(std::size_t index, std::size_t width) {
  return width - index < kLanes ? width - index : kLanes;
}

/// Horner's rule, highest power first.
template <std::size_t N>
inline Reg polynomial(Reg x, const float (&coefficients)[N]) {
  Reg result = V::set(coefficients[0]);
#pragma GCC unroll 16
  for (std::size_t i = 1; i < N; ++i) result = V::fma(result, x, V::set(coefficients[i]));
  return result;
}

/// e^x, relative error below 2e-7; x is clamped to [-87.3, 88.3], NaN stays NaN.
inline Reg exponential(Reg x) {
  // Taylor-like near-minimax polynomial on [-ln 2 / 2, ln 2 / 2].
  static constexpr float kSeries[] = {0.00139411085F, 0.00837512594F, 0.0416663513F, 0.166664153F, 0.5F, 1.0F, 1.0F};
  x = V::min(V::set(88.3F), V::max(V::set(-87.3F), x));
  const Reg power = V::round(V::mul(x, V::set(1.44269502F)));
  Reg rest = V::fma(power, V::set(-0.693359375F), x);  // ln 2 in two parts: the first product is exact
  rest = V::fma(power, V::set(0.000212194442F), rest);
  return V::scale(polynomial(rest, kSeries), power);
}

/// 2^x for x <= 0, relative error below 8e-5, a twentieth of what rounding to bf16
/// adds; x is held above -126, NaN stays NaN.
inline Reg coarse_power(Reg x) {
  static constexpr float kSeries[] = {0.0551716685F, 0.242611125F, 0.693260968F, 0.999928057F};
  x = V::max(V::set(-126.0F), x);
  const Reg power = V::round(x);
  return V::scale(polynomial(V::sub(x, power), kSeries), power);
}

/// erf, absolute error below 2.5e-7: a polynomial in x^2 up to 1, beyond it
/// 1 - e^p(|x|) with p near ln erfc.
inline Reg error_function(Reg x) {
  static constexpr float kInner[] = {7.87587487e-05F, -0.00080168643F, 0.00518908724F, -0.0268542115F,
                                     0.112835944F,    -0.37612626F,    1.12837911F};
  static constexpr float kOuter[] = {1.6371514e-06F,   -1.33150143e-05F, 7.72913772e-05F,
                                     -0.000420122524F, 0.00216530357F,   -0.0108585414F,
                                     -0.943893731F,    -5.35268068F,     -7.80681515F};
  const Reg magnitude = V::abs(x);
  const Reg inner = V::mul(x, polynomial(V::mul(x, x), kInner));
  const Reg clamped = V::min(V::set(4.0F), magnitude);  // 1 - erf(4) is below half a unit in the last place
  const Reg tail = exponential(polynomial(V::sub(clamped, V::set(2.5F)), kOuter));
  const Reg outer = V::copy_sign(V::sub(V::set(1.0F), tail), x);
  return V::select_greater(magnitude, V::set(1.0F), outer, inner);
}

/// GELU with an absolute error below 5e-6, for results that are rounded to bf16 or u8:
/// max(x, 0) - |x| (1 - Phi(|x|)), the second term by one of sixteen cubic polynomials
/// around multiples of 5/16; beyond 4.8 it is below 4e-6 and constant.
class CoarseGelu {
 public:
  Reg operator()(Reg x) const {
    const Reg magnitude = V::min(V::set(4.8F), V::abs(x));
    const Reg index = V::fma(magnitude, V::set(3.2F), V::set(kWhole));  // the segment in its low bits
    const Reg rest = V::fma(V::sub(index, V::set(kWhole)), V::set(-0.3125F), magnitude);
    Reg tail = V::fma(V::pick(third_, index), rest, V::pick(second_, index));
    tail = V::fma(tail, rest, V::pick(first_, index));
    tail = V::fma(tail, rest, V::pick(zeroth_, index));
    return V::sub(V::max(V::set(0.0F), x), tail);
  }

 private:
  static constexpr float kWhole = 12582912.0F;  // 1.5 * 2^23: adding it rounds to whole numbers
  static constexpr float kThird[16] = {0.0206408612F,   0.0766090602F,    0.122518189F,     0.12470112F,
                                       0.0925244093F,   0.047932066F,     0.0107376007F,    -0.0101520419F,
                                       -0.0162810106F,  -0.0139653999F,   -0.00909244083F,  -0.00488539226F,
                                       -0.00224211742F, -0.000894746103F, -0.000313775468F, -0.000105377803F};
  static constexpr float kSecond[16] = {-0.4009507F,    -0.360098213F,   -0.263594776F,   -0.144458786F,
                                        -0.0407858379F, 0.0251250323F,   0.0515503623F,   0.0505291261F,
                                        0.0372350365F,  0.0226707887F,   0.0118299033F,   0.00538741192F,
                                        0.00216373103F, 0.000771471066F, 0.000245283707F, 6.88842265e-05F};
  static constexpr float kFirst[16] = {0.500062585F,    0.258606941F,     0.0608919151F,    -0.0667506829F,
                                       -0.122659735F,   -0.124817759F,    -0.0985805541F,   -0.0654073656F,
                                       -0.0376122445F,  -0.0190372746F,   -0.0085553946F,   -0.00343227526F,
                                       -0.00123361615F, -0.000398206845F, -0.000115649411F, -3.01943182e-05F};
  static constexpr float kZeroth[16] = {-3.04960366e-07F, 0.117911808F,    0.16623953F,     0.163361117F,
                                        0.132064745F,     0.0923230946F,   0.0569949374F,   0.0313979834F,
                                        0.0155241974F,    0.00691258488F,  0.00277791452F,  0.00100889173F,
                                        0.000331451447F,  9.85648512e-05F, 2.65427589e-05F, 6.478871e-06F};
  V::Table third_ = V::table(kThird);
  V::Table second_ = V::table(kSecond);
  V::Table first_ = V::table(kFirst);
  V::Table zeroth_ = V::table(kZeroth);
};

/// Absolute error below 4e-7, relative above 1.
template <Activation activation>
struct Exact {
  Reg operator()(Reg x) const {
    const Reg one = V::set(1.0F);
    if constexpr (activation == Activation::gelu_erf) {
      const Reg half = V::mul(x, V::set(0.5F));
      return V::fma(half, error_function(V::mul(x, V::set(0.707106781F))), half);
    } else if constexpr (activation == Activation::gelu_tanh) {
      // x / 2 (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3)
      const Reg cubic = V::mul(V::mul(x, x), V::set(0.044715F));
      const Reg argument = V::mul(V::fma(cubic, x, x), V::set(-1.59576912F));
      return V::div(x, V::add(one, exponential(argument)));
    } else if constexpr (activation == Activation::relu) {
      return V::max(V::set(0.0F), x);
    } else if constexpr (activation == Activation::tanh) {
      // From |x|, so that the quotient loses nothing; below 2^-8 the series does.
      const Reg magnitude = V::abs(x);
      const Reg decay = exponential(V::mul(magnitude, V::set(-2.0F)));
      const Reg large = V::copy_sign(V::div(V::sub(one, decay), V::add(one, decay)), x);
      const Reg square = V::mul(x, x);
      const Reg small = V::fma(V::mul(square, x), V::set(-0.333333343F), x);
      return V::select_greater(magnitude, V::set(0.00390625F), large, small);
    } else {
      return x;
    }
  }
};

}  // namespace
}  // namespace tidegate
