// GroupPlan: cuts a batch into groups of whole sequences, the units of work.
#pragma once

#include <span>
#include <vector>

#include "runner/encoder/network.hpp"

namespace tidegate {

/// Tokens of a group at most, unless one sequence is longer: enough rows to reach
/// the products' full speed, few enough that activations stay in a level-2 cache.
inline constexpr std::size_t kGroupTokens = 2 * kPanelRows;

/// Keeps its memory from one batch to the next.
class GroupPlan {
 public:
  /// Sorts by length, longest first, and cuts. Groups are alike in tokens and at least
  /// one per worker where there are as many sequences, so that workers that take them
  /// in order finish together.
  void plan(std::span<Sequence> sequences, std::size_t workers);

  [[nodiscard]] std::size_t size() const noexcept { return begins_.empty() ? 0 : begins_.size() - 1; }
  [[nodiscard]] WorkShare group(std::size_t index) const noexcept { return {begins_[index], begins_[index + 1]}; }

 private:
  std::vector<std::size_t> begins_;  // of the groups, then the number of sequences
};

}  // namespace tidegate
