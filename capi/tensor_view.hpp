// Between tensor views of the C ABI and Tensor.
#pragma once

#include "tidegate/result.h"
#include "tidegate/tensor.hpp"

namespace tidegate::capi {

inline constexpr std::uint32_t kMaxRank = 16;

/// Copies what the view shows. Errors: invalid_argument, unsupported.
[[nodiscard]] Result<Tensor> copy_tensor(const tidegate_tensor_view* view, const char* noun);

/// A view into `tensor`, valid as long as that object is neither moved nor destroyed.
[[nodiscard]] tidegate_tensor_view view_of(const Tensor& tensor) noexcept;

}  // namespace tidegate::capi
