// Between tensor views of the C ABI and Tensor.
#pragma once

#include "tidegate/result.h"
#include "tidegate/tensor.hpp"

namespace tidegate::capi {

inline constexpr std::uint32_t kMaxRank = 16;

/// Copies what the view shows. Errors: invalid_argument, unsupported.
[[nodiscard]] Result<Tensor> copy_tensor(const tidegate_tensor_view* view, const char* noun);

/// The same for an array; the host's structs lie as far apart as the first says that it is large.
[[nodiscard]] Result<std::vector<Tensor>> copy_tensors(const tidegate_tensor_view* views, std::uint32_t count,
                                                       const char* noun);

/// A view into `tensor`, valid as long as that object is neither moved nor destroyed.
[[nodiscard]] tidegate_tensor_view view_of(const Tensor& tensor) noexcept;

}  // namespace tidegate::capi
