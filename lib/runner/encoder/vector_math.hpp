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
/// in |x|, one around each multiple of 5/16; beyond 4.8 it is below 4e-6 and constant.
class CoarseGelu {
 public:
  Reg operator()(Reg x) const {
    const Reg magnitude = V::min_abs(x, V::set(4.8F));
    // Adding 1.5 * 2^23 rounds to a whole number and leaves it in the low bits.
    const Reg index = V::fma(magnitude, V::set(3.2F), V::set(12582912.0F));
    Reg tail = V::fma(V::pick(third_, index), magnitude, V::pick(second_, index));
    tail = V::fma(tail, magnitude, V::pick(first_, index));
    tail = V::fma(tail, magnitude, V::pick(zeroth_, index));
    return V::sub(V::max(V::set(0.0F), x), tail);
  }

 private:
  static constexpr float kThird[16] = {0.0206408612F,   0.0766090602F,    0.122518189F,     0.12470112F,
                                       0.0925244093F,   0.047932066F,     0.0107376007F,    -0.0101520419F,
                                       -0.0162810106F,  -0.0139653999F,   -0.00909244083F,  -0.00488539226F,
                                       -0.00224211742F, -0.000894746103F, -0.000313775468F, -0.000105377803F};
  static constexpr float kSecond[16] = {-0.4009507F,   -0.431919187F, -0.493316382F,   -0.495180666F,
                                        -0.387752384F, -0.19955653F,  -0.00884863921F, 0.117151901F,
                                        0.159342617F,  0.140503854F,  0.0970715359F,   0.0557680205F,
                                        0.027387552F,  0.0116761895F, 0.00436358666F,  0.00155075954F};
  static constexpr float kFirst[16] = {0.500062585F,  0.506112337F,   0.533961356F,   0.532911301F,
                                       0.413013041F,  0.147731438F,   -0.178646281F,  -0.432209611F,
                                       -0.52905637F,  -0.477965951F,  -0.348872393F,  -0.213654071F,
                                       -0.112050928F, -0.0509668253F, -0.0202794578F, -0.00762227457F};
  static constexpr float kZeroth[16] = {-3.04960366e-07F, -0.000406616367F, -0.00469629839F, -0.00377640268F,
                                        0.0409498028F,    0.165844947F,     0.352285147F,    0.522533178F,
                                        0.596664548F,     0.550477028F,     0.422519207F,    0.274906427F,
                                        0.153621644F,     0.0744387135F,    0.0315030217F,   0.012515163F};
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
