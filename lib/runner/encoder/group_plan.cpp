#include "runner/encoder/group_plan.hpp"

#include <algorithm>

namespace tidegate {

void GroupPlan::plan(std::span<Sequence> sequences, std::size_t workers) {
  std::sort(sequences.begin(), sequences.end(), [](const Sequence& a, const Sequence& b) {
    return a.tokens.size() != b.tokens.size() ? a.tokens.size() > b.tokens.size() : a.item < b.item;
  });
  std::size_t total = 0;
  for (const Sequence& sequence : sequences) total += sequence.tokens.size();
  // A whole number of rounds: with one group more than workers, all but one would wait for it.
  const std::size_t wanted = round_up(std::max<std::size_t>(1, (total + kGroupTokens - 1) / kGroupTokens), workers);
  const std::size_t target = std::max<std::size_t>(1, (total + wanted - 1) / wanted);
  begins_.clear();
  std::size_t tokens = 0;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const std::size_t length = sequences[i].tokens.size();
    if (begins_.empty() || tokens >= target || tokens + length > kGroupTokens) {
      begins_.push_back(i);
      tokens = 0;
    }
    tokens += length;
  }
  begins_.push_back(sequences.size());
}

}  // namespace tidegate
