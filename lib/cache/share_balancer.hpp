// How a memory budget is divided among models: pure decisions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "cache/reuse_curve.hpp"

namespace tidegate {

/// One model's part of the budget, and what it is good for.
struct ShareView {
  std::uint64_t bytes = 0;
  std::uint64_t least = 0;
  std::uint64_t most = 0;  ///< >= least
  ReuseCurve::Hits hits{};
  std::uint64_t overhead = 0;  ///< of its bytes, what holds no answers
};

struct ShareMove {
  std::size_t from = 0;
  std::size_t to = 0;
  std::uint64_t bytes = 0;
};

/// The move of at most `step` bytes from where they bring the fewest hits to where they bring the most; empty
/// where no move brings more than chance may have made of the sample. Hits per byte are those of the smallest
/// concave curve above the counted one, so that a working set that pays only as a whole is
/// seen from below. `part_bytes`: of the curves, and the unit of their hits.
[[nodiscard]] std::optional<ShareMove> best_move(std::span<const ShareView> shares, std::uint64_t part_bytes,
                                                 std::uint64_t step);

/// Sizes that the others must shrink to for `bytes` more to be free: each gives of what it has above its least, in
/// proportion. Less is freed where they have no more.
[[nodiscard]] std::vector<std::uint64_t> sizes_with_room(std::span<const ShareView> shares, std::uint64_t bytes);

/// Sizes that they grow to when `bytes` become free: equally, none above its most.
[[nodiscard]] std::vector<std::uint64_t> sizes_with_gift(std::span<const ShareView> shares, std::uint64_t bytes);

}  // namespace tidegate
