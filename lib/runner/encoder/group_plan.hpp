// GroupPlan: cuts a batch into groups of whole sequences, the units of work.
#pragma once

#include <span>
#include <vector>

#include "runner/encoder/network.hpp"

namespace tidegate {

/// Tokens of a group at most, unless one sequence is longer: enough rows to reach
/// the products' full speed, few enough that activations stay in the caches
/// (docs/decisions/0002-onednn-version.md).
inline constexpr std::size_t kGroupTokens = 192;

/// Sorts by length, longest first, and answers where each group begins, with the
/// number of sequences at the end. Groups are alike in tokens and at least one per
/// worker where there are as many sequences, so that workers that take them in
/// order finish together.
[[nodiscard]] std::vector<std::size_t> plan_groups(std::span<Sequence> sequences, std::size_t workers);

}  // namespace tidegate
