// The kernels for AVX-512 with VNNI; compiled with the flags of AVX-512 and -mavx512vnni.
#include "runner/encoder/vector_avx512.hpp"
//
#include "runner/encoder/vector_table.hpp"

namespace tidegate {

const Kernels kAvx512VnniKernels = kernel_table(KernelSet::avx512_vnni);

}  // namespace tidegate
