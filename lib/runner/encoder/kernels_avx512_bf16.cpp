// The kernels for AVX-512 with VNNI and BF16; compiled with the flags of both.
#include "runner/encoder/vector_avx512.hpp"
//
#include "runner/encoder/vector_table.hpp"

namespace tidegate {

const Kernels kAvx512Bf16Kernels = kernel_table(KernelSet::avx512_bf16);

}  // namespace tidegate
