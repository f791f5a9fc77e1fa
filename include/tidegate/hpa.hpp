// Options of the HorizontalPodAutoscaler policy, and how fast any policy may change a size.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tidegate/result.hpp"
#include "tidegate/time.hpp"

namespace tidegate {

class ScalingPolicy;

enum class HpaMetricKind : std::uint8_t {
  utilization,       ///< resource, percent of the pods' requests
  resource_average,  ///< resource, milli-units per pod
  pods,              ///< any per-pod metric, milli-units per pod
  object_value,      ///< one number, scaled by ready pods
  object_average,    ///< one number, shared out over pods
  external_value,
  external_average,
  unrecognized,  ///< a kind this build does not know: counts as a metric that failed
};

struct HpaMetric {
  HpaMetricKind kind = HpaMetricKind::utilization;
  std::string name = "cpu";  ///< resource ("cpu" has readiness rules of its own) or metric
  std::string container{};   ///< resource metrics: of this container only; empty = the pod
  std::int64_t target = 80;  ///< percent or milli-units, > 0
};

enum class HpaRateUnit : std::uint8_t { pods, percent };
struct HpaRate {
  HpaRateUnit unit = HpaRateUnit::percent;
  std::int32_t value = 100;  ///< > 0
  Duration period = std::chrono::seconds(15);
};

enum class HpaSelect : std::uint8_t { max_change, min_change, disabled };

/// One direction. Unset fields take Kubernetes' defaults.
struct HpaRules {
  std::optional<Duration> window{};  ///< up 0, down `downscale_window`
  HpaSelect select = HpaSelect::max_change;
  std::vector<HpaRate> rates{};       ///< up 4 pods or 100 % in 15 s, down 100 % in 15 s
  std::optional<double> tolerance{};  ///< `HpaOptions::tolerance`
};

struct HpaBehavior {
  HpaRules up{};
  HpaRules down{};
};

/// What zero replicas mean. `by_minimum`: someone's wish, unless min_replicas is 0
/// too. `by_condition` (newer): someone's wish, unless the policy itself went there.
enum class HpaZero : std::uint8_t { by_minimum, by_condition };

/// Defaults are those of the Kubernetes controller.
struct HpaOptions {
  std::int32_t min_replicas = 1;   ///< >= 0
  std::int32_t max_replicas = 10;  ///< >= max(1, min_replicas)
  std::vector<HpaMetric> metrics{HpaMetric{}};
  double tolerance = 0.1;  ///< of the ratio to the target, both ways
  Duration downscale_window = std::chrono::seconds(300);
  Duration cpu_initialization_period = std::chrono::seconds(300);
  Duration initial_readiness_delay = std::chrono::seconds(30);
  double scale_up_factor = 2.0;  ///< without behavior: a step at most max(factor * now, min)
  std::int32_t scale_up_min = 4;
  std::optional<HpaBehavior> behavior{};
  HpaZero zero = HpaZero::by_minimum;
};

/// Kubernetes HorizontalPodAutoscaler v2, decision for decision.
/// Errors: invalid_argument (names the option and its range).
[[nodiscard]] Result<std::unique_ptr<ScalingPolicy>> make_hpa_policy(HpaOptions options);

}  // namespace tidegate
