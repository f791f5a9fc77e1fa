// All validation of options, in one place.
#pragma once

#include "tidegate/engine.hpp"

namespace tidegate {

/// Errors: invalid_argument, naming the option, its value and the allowed range.
[[nodiscard]] Result<void> check_options(const EngineOptions& options);
[[nodiscard]] Result<void> check_options(const ModelOptions& options);
[[nodiscard]] Result<void> check_options(const ReplicaOptions& options);
[[nodiscard]] Result<void> check_options(const StreamOptions& options);

}  // namespace tidegate
