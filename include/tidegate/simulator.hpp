// Simulator: runs the objects that run live on recorded or made-up inputs.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "tidegate/result.hpp"

namespace tidegate {

/// A case whose result differs from what its file expects: the first difference.
struct CaseFailure {
  std::string id;
  std::string kind;
  std::string field;
  std::string expected;
  std::string got;
};

struct CaseReport {
  std::size_t total = 0;
  std::vector<CaseFailure> failures;  ///< in file order, at most one a case

  [[nodiscard]] std::size_t agreeing() const noexcept { return total - failures.size(); }
  /// "145 of 145 cases agree", then one line for each failure.
  [[nodiscard]] std::string text() const;
};

/// Replays a file of HorizontalPodAutoscaler decisions (JSON, `schema_version` 1,
/// `cases` of the kinds metric, group_pods, clamp_rules, up_limit, down_limit,
/// behavior_rate, stabilize_legacy, stabilize_behavior, store_event and reconcile)
/// on the functions the `hpa` policy is made of, and reconcile cases on the policy
/// itself. Only the keys present in a case's `expect` are compared. Blocks for CPU
/// work in proportion to the file. Errors: invalid_argument (not JSON, or names the
/// case and the field that is missing or malformed), version_mismatch.
[[nodiscard]] Result<CaseReport> replay_hpa_cases(std::string_view json_text);

}  // namespace tidegate
