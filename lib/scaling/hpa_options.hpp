#pragma once

#include "tidegate/scaling.hpp"

namespace tidegate::hpa {

/// Errors: invalid_argument (names the option and its range).
[[nodiscard]] Result<void> validate(const HpaOptions& options);

/// The same of a policy that uses the HPA's rules for how fast a size may change.
[[nodiscard]] Result<void> validate_behavior(std::string_view policy, const HpaBehavior& behavior);

}  // namespace tidegate::hpa
