// The kernels for AVX2 with FMA; compiled with -mavx2 -mfma.
#include "runner/encoder/vector_avx2.hpp"
//
#include "runner/encoder/vector_table.hpp"

namespace tidegate {

const Kernels kAvx2Kernels = kernel_table(KernelSet::avx2);

}  // namespace tidegate
