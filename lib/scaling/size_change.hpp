// From the size a policy wants to the one it asks for: windows, rates and bounds.
#pragma once

#include <optional>

#include "scaling/decision_builder.hpp"
#include "scaling/hpa_rate_limit.hpp"
#include "tidegate/hpa.hpp"

namespace tidegate::hpa {

struct SizeRules {
  std::int32_t min_replicas = 1;
  std::int32_t max_replicas = 1;
  std::optional<HpaBehavior> behavior{};  ///< with its defaults filled in
  Duration downscale_window{0};           ///< without behavior
  StepLimit step{};                       ///< without behavior
};

/// Keeps `wanted` in the builder's state and answers what is left of it today.
[[nodiscard]] std::int32_t normalize(const SizeRules& rules, const ScalingSnapshot& snapshot, std::int32_t wanted,
                                     DecisionBuilder& builder);

/// The size is set to `desired`, which differs from the present one.
void record_change(const SizeRules& rules, const ScalingSnapshot& snapshot, std::int32_t desired,
                   DecisionBuilder& builder);

}  // namespace tidegate::hpa
