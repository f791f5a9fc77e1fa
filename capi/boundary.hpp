// The border between C and C++: error objects, and a barrier no exception passes.
#pragma once

#include <type_traits>
#include <utility>

#include "handle.hpp"
#include "tidegate/error.h"

namespace tidegate::capi {

/// An error object for the host. Never fails: without memory it is a static one.
[[nodiscard]] tidegate_error* make_error(const Error& error) noexcept;

/// Stores the error for the host, if it asked for one, and answers its status.
tidegate_status report(tidegate_error** err, const Error& error) noexcept;

/// The exception being handled as an Error; `fallback` is what an exception of no
/// special meaning becomes.
[[nodiscard]] Error current_exception_as(ErrorCode fallback) noexcept;

/// Runs the body of an exported function. The body answers Result<void> or
/// Result<tidegate_status>.
template <class Body>
tidegate_status guarded(tidegate_error** err, Body&& body) noexcept {
  if (err != nullptr) *err = nullptr;
  try {
    auto result = std::forward<Body>(body)();
    if (!result) return report(err, result.error());
    if constexpr (std::is_same_v<decltype(result), Result<void>>) {
      return TIDEGATE_OK;
    } else {
      return *result;
    }
  } catch (...) {
    return report(err, current_exception_as(ErrorCode::internal));
  }
}

/// The same for functions that answer a plain value.
template <class Value, class Body>
Value guarded_value(Value fallback, Body&& body) noexcept {
  try {
    return std::forward<Body>(body)();
  } catch (...) {
    return fallback;
  }
}

}  // namespace tidegate::capi
