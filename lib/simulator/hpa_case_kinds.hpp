// How each kind of case is played.
#pragma once

#include "simulator/case_fields.hpp"

namespace tidegate::hpa_cases {

/// The results of a case, by the names its `expect` uses. Empty for an unknown kind.
/// Complaints about the input go to the fields' CaseComplaint.
[[nodiscard]] std::optional<CaseValue> play(const std::string& kind, const CaseFields& input);

}  // namespace tidegate::hpa_cases
