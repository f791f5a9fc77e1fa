#include "scaling/hpa_options.hpp"

#include <cmath>

#include "base/try.hpp"

namespace tidegate::hpa {
namespace {

Error out_of_range(std::string option, std::string_view range) {
  return Error(ErrorCode::invalid_argument, "hpa policy: " + std::move(option) + " must be " + std::string(range));
}

bool is_fraction(double value) noexcept { return std::isfinite(value) && value >= 0; }

Result<void> validate_metrics(const std::vector<HpaMetric>& metrics) {
  if (metrics.empty()) return out_of_range("metrics", "at least one");
  for (std::size_t i = 0; i < metrics.size(); ++i) {
    const std::string prefix = "metrics[" + std::to_string(i) + "].";
    if (metrics[i].kind == HpaMetricKind::unrecognized) continue;
    if (metrics[i].target <= 0) return out_of_range(prefix + "target", "greater than 0");
    if (metrics[i].kind != HpaMetricKind::utilization) continue;
    if (metrics[i].target > INT32_MAX) return out_of_range(prefix + "target", "a percentage below 2^31");
  }
  return {};
}

Result<void> validate_rules(std::string_view policy, const HpaRules& rules, const std::string& prefix) {
  const auto out_of_range = [&](std::string option, std::string_view range) {
    return Error(ErrorCode::invalid_argument,
                 std::string(policy) + " policy: " + std::move(option) + " must be " + std::string(range));
  };
  // Kubernetes' own bounds: windows up to an hour, periods up to half an hour.
  if (rules.window && (*rules.window < Duration{0} || *rules.window > std::chrono::hours(1))) {
    return out_of_range(prefix + "window", "0 to 3600 seconds");
  }
  if (rules.tolerance && !is_fraction(*rules.tolerance)) return out_of_range(prefix + "tolerance", "0 or more");
  for (std::size_t i = 0; i < rules.rates.size(); ++i) {
    const std::string rate = prefix + "rates[" + std::to_string(i) + "].";
    if (rules.rates[i].value <= 0) return out_of_range(rate + "value", "greater than 0");
    if (rules.rates[i].period <= Duration{0} || rules.rates[i].period > std::chrono::minutes(30)) {
      return out_of_range(rate + "period", "1 ns to 1800 seconds");
    }
  }
  return {};
}

}  // namespace

Result<void> validate_behavior(std::string_view policy, const HpaBehavior& behavior) {
  TIDEGATE_CHECK(validate_rules(policy, behavior.up, "behavior.up."));
  return validate_rules(policy, behavior.down, "behavior.down.");
}

Result<void> validate(const HpaOptions& options) {
  if (options.min_replicas < 0) return out_of_range("min_replicas", "0 or more");
  if (options.max_replicas < 1 || options.max_replicas < options.min_replicas) {
    return out_of_range("max_replicas", "at least 1 and at least min_replicas");
  }
  TIDEGATE_CHECK(validate_metrics(options.metrics));
  if (!is_fraction(options.tolerance)) return out_of_range("tolerance", "0 or more");
  if (options.downscale_window < Duration{0}) return out_of_range("downscale_window", "0 or more");
  if (options.cpu_initialization_period < Duration{0}) return out_of_range("cpu_initialization_period", "0 or more");
  if (options.initial_readiness_delay < Duration{0}) return out_of_range("initial_readiness_delay", "0 or more");
  if (!std::isfinite(options.scale_up_factor) || options.scale_up_factor < 1) {
    return out_of_range("scale_up_factor", "1 or more");
  }
  if (options.scale_up_min < 1) return out_of_range("scale_up_min", "1 or more");
  return options.behavior ? validate_behavior("hpa", *options.behavior) : Result<void>{};
}

}  // namespace tidegate::hpa
