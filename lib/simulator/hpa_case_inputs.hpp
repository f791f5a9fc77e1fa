// From the words of a case file to the values the HPA rules take.
#pragma once

#include <vector>

#include "simulator/case_fields.hpp"
#include "tidegate/scaling.hpp"

namespace tidegate::hpa_cases {

/// The instant every case plays at; ages are counted back from it.
inline constexpr TimePoint kNow{};

[[nodiscard]] std::vector<ScalingPod> read_pods(const CaseFields& input);
/// What metric `fields` reads: figures of `input`'s pods, its own values, its error.
[[nodiscard]] MetricReading read_reading(const CaseFields& fields, const CaseFields& input);
[[nodiscard]] HpaMetric read_metric(const CaseFields& fields);
[[nodiscard]] HpaRules read_rules(const CaseFields& parent, const char* key);
[[nodiscard]] HpaBehavior read_behavior(const CaseFields& input);
[[nodiscard]] std::vector<ScalingEvent> read_events(const CaseFields& input, const char* key);
[[nodiscard]] std::vector<ScalingRecommendation> read_recommendations(const CaseFields& input);

}  // namespace tidegate::hpa_cases
