// The table of the including file's instruction set.
#pragma once

#include "runner/encoder/vector_attention.hpp"
#include "runner/encoder/vector_norm.hpp"
#include "runner/encoder/vector_product.hpp"
#include "runner/encoder/vector_rows.hpp"

namespace tidegate {
namespace {

void attention(const AttentionCall& call) {
#if defined(__AVX512BF16__)
  if (call.number == Number::bf16) return attend<OperandBf16>(call);
#endif
  attend<OperandF32>(call);
}

#if defined(__AVX512BF16__)
constexpr Number kAttentionNumber = Number::bf16;
#else
constexpr Number kAttentionNumber = Number::f32;
#endif

constexpr Kernels kernel_table(KernelSet set) {
  return {set,
          kAttentionNumber,
          {product<DotF32, Number::f32>, product<DotBf16, Number::bf16>, product<DotU8, Number::u8>},
          finish,
          norm,
          narrow,
          attention};
}

}  // namespace
}  // namespace tidegate
