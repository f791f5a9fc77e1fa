#include "runner/encoder/group_plan.hpp"

#include <algorithm>

namespace tidegate {

std::vector<std::size_t> plan_groups(std::span<Sequence> sequences, std::size_t workers) {
  std::stable_sort(sequences.begin(), sequences.end(),
                   [](const Sequence& a, const Sequence& b) { return a.tokens.size() > b.tokens.size(); });
  std::size_t total = 0;
  for (const Sequence& sequence : sequences) total += sequence.tokens.size();
  // A whole number of rounds: with one group more than workers, all but one would wait for it.
  const std::size_t wanted = round_up(std::max<std::size_t>(1, (total + kGroupTokens - 1) / kGroupTokens), workers);
  const std::size_t target = std::max<std::size_t>(1, (total + wanted - 1) / wanted);
  std::vector<std::size_t> begins;
  std::size_t tokens = 0;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const std::size_t length = sequences[i].tokens.size();
    if (begins.empty() || tokens >= target || tokens + length > kGroupTokens) {
      begins.push_back(i);
      tokens = 0;
    }
    tokens += length;
  }
  begins.push_back(sequences.size());
  return begins;
}

}  // namespace tidegate
