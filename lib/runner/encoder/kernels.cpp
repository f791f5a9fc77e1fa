#include "runner/encoder/kernels.hpp"

#include "runner/encoder/attention_layout.hpp"

namespace tidegate {

std::size_t attention_scratch(std::size_t length, std::size_t head_size) noexcept {
  return AttentionLayout::of(length, head_size).total;
}

const Kernels& kernels_of(KernelSet set) noexcept {
  switch (set) {
    case KernelSet::plain: break;
    case KernelSet::avx2: return kAvx2Kernels;
    case KernelSet::avx512: return kAvx512Kernels;
    case KernelSet::avx512_vnni: return kAvx512VnniKernels;
    case KernelSet::avx512_bf16: return kAvx512Bf16Kernels;
  }
  return kPlainKernels;
}

}  // namespace tidegate
