#pragma once

#include "tidegate/scaling.hpp"

namespace tidegate::hpa {

/// Errors: invalid_argument (names the option and its range).
[[nodiscard]] Result<void> validate(const HpaOptions& options);

}  // namespace tidegate::hpa
