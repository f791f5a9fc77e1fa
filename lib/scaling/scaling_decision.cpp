#include <cmath>
#include <limits>

#include "scaling/hpa_arithmetic.hpp"
#include "tidegate/scaling.hpp"

namespace tidegate {
namespace {

std::string_view name_of(ScalingConditionType type) noexcept {
  switch (type) {
    case ScalingConditionType::able_to_scale: return "AbleToScale";
    case ScalingConditionType::scaling_active: return "ScalingActive";
    case ScalingConditionType::scaling_limited: return "ScalingLimited";
    case ScalingConditionType::scaled_to_zero: return "ScaledToZero";
  }
  return "Unknown";
}

}  // namespace

const ScalingCondition* ScalingDecision::condition(ScalingConditionType type) const noexcept {
  for (const ScalingCondition& known : conditions) {
    if (known.type == type) return &known;
  }
  return nullptr;
}

std::string ScalingDecision::explain() const {
  std::string text;
  for (const ScalingStep& step : steps) {
    text +=
        step.stage + ": " + std::to_string(step.before) + " -> " + std::to_string(step.after) + " (" + step.why + ")\n";
  }
  for (const ScalingCondition& known : conditions) {
    text += name_of(known.type);
    text += known.status ? "=True " : "=False ";
    text += known.reason + ": " + known.message + '\n';
  }
  return text;
}

std::optional<std::int64_t> to_milli(double value) noexcept {
  if (std::isnan(value)) return std::nullopt;
  return hpa::to_int64(std::round(value * 1000.0));
}

}  // namespace tidegate
