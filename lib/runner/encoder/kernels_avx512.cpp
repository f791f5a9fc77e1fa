// The kernels for AVX-512; compiled with -mavx512f -mavx512bw -mavx512dq -mavx512vl.
#include "runner/encoder/vector_avx512.hpp"
//
#include "runner/encoder/vector_table.hpp"

namespace tidegate {

const Kernels kAvx512Kernels = kernel_table(KernelSet::avx512);

}  // namespace tidegate
