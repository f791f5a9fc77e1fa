// From one metric's reading to the number of replicas it asks for.
#pragma once

#include "scaling/hpa_arithmetic.hpp"
#include "scaling/hpa_pod_groups.hpp"

namespace tidegate::hpa {

/// Everything but the metric that the calculation looks at.
struct MetricContext {
  std::int32_t current = 0;          ///< replicas asked for (spec)
  std::int32_t status_replicas = 0;  ///< replicas existing
  std::span<const ScalingPod> pods;
  Tolerances tolerances{};
  PodTiming timing{};
};

struct MetricProposal {
  std::int32_t replicas = 0;
  std::int64_t usage = 0;  ///< percent for utilization, else milli-units
  std::int64_t raw = 0;    ///< utilization only: milli-units a pod
  double ratio = 0;        ///< to the target, before pods were made up for
};

/// Errors: unavailable (no usable data; the text is Kubernetes'), unsupported
/// (unrecognized metric).
[[nodiscard]] Result<MetricProposal> propose_replicas(const HpaMetric& metric, const MetricReading& reading,
                                                      const MetricContext& context);

}  // namespace tidegate::hpa
