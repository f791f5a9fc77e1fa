#include "queue/sort_split.hpp"

#include <algorithm>

namespace tidegate {
namespace {

constexpr std::uint32_t kGainMisses = 8;  // and a growing batch is left alone
constexpr std::uint32_t kSideMisses = 8;  // and it does not look further on that side

}  // namespace

void SortSplit::add(const ItemSize& size, Deadline deadline, int bucket) noexcept {
  const BatchShape shape = BatchShape::of(size);
  Item& item = items_[count_];
  order_[count_] = static_cast<std::uint16_t>(count_);
  ++count_;
  sorted_ = false;
  item = {shape.longest, shape.rows, shape.tokens, shape.bytes, shape.squares, kNever, rules_.mean(shape), bucket};
  if (deadline != kNoDeadline) item.left_ns = static_cast<double>((deadline - rules_.now).count());
}

void SortSplit::sort() noexcept {
  if (sorted_) return;
  sorted_ = true;
  std::sort(order_.begin(), order_.begin() + count_, [this](std::uint16_t a, std::uint16_t b) {
    return items_[a].length != items_[b].length ? items_[a].length < items_[b].length : a < b;
  });
}

// ---- cuts -----------------------------------------------------------------------------

/// Running totals of the sorted items, and what a batch of consecutive ones costs.
struct SortSplit::Sums {
  const SortSplit& split;
  std::array<double, kMost + 1> rows{}, tokens{}, bytes{}, squares{};

  explicit Sums(const SortSplit& of) noexcept : split(of) {
    for (std::uint32_t i = 0; i < of.count_; ++i) {
      const Item& item = at(i);
      rows[i + 1] = rows[i] + static_cast<double>(item.rows);
      tokens[i + 1] = tokens[i] + static_cast<double>(item.tokens);
      bytes[i + 1] = bytes[i] + static_cast<double>(item.bytes);
      squares[i + 1] = squares[i] + item.squares;
    }
  }
  [[nodiscard]] const Item& at(std::uint32_t place) const noexcept { return split.items_[split.order_[place]]; }

  /// Batches that end at `end`, tried from the shortest on: `next` after `next`.
  struct Batch {
    double mean_ns = 0;   ///< where it is allowed
    bool allowed = true;  ///< to be run
    bool closed = false;  ///< no batch that begins lower is allowed either
  };
  [[nodiscard]] Batch batch(std::uint32_t begin, std::uint32_t end, double left_ns) const noexcept;
};

SortSplit::Sums::Batch SortSplit::Sums::batch(std::uint32_t begin, std::uint32_t end, double left_ns) const noexcept {
  const BatchRules& rules = split.rules_;
  const Item& lowest = at(begin);
  if (end - begin == 1) return {lowest.alone_ns};
  const double real_rows = rows[end] - rows[begin];
  const double real_tokens = tokens[end] - tokens[begin];
  const auto length = static_cast<double>(at(end - 1).length);
  const bool padded = rules.layout == BatchLayout::padded;
  const double needed_tokens = padded ? real_rows * length : real_tokens;
  if (real_rows > static_cast<double>(rules.max_rows) || needed_tokens > static_cast<double>(rules.max_tokens) ||
      bytes[end] - bytes[begin] > static_cast<double>(rules.max_bytes)) {
    return {0, false, true};
  }
  const double real_squares = squares[end] - squares[begin];
  const double needed_squares = padded ? real_rows * length * length : real_squares;
  // The shorter the next item, the larger the part that is padding.
  if (needed_squares > BatchRules::kMostPadding * real_squares) return {0, false, true};
  Batch batch;
  batch.mean_ns = rules.mean(needed_tokens, needed_squares, real_rows);
  if (batch.mean_ns * rules.tail95 > left_ns) return {0, false, true};
  // What the shortest item, which pays the most for the padding, adds to the batch.
  const auto lowest_rows = static_cast<double>(lowest.rows);
  const double added = padded ? rules.mean(lowest_rows * length, lowest_rows * length * length, lowest_rows)
                              : rules.mean(static_cast<double>(lowest.tokens), lowest.squares, lowest_rows);
  batch.allowed = lowest.alone_ns - (added - rules.cost[0]) >= BatchRules::kLeastGain * lowest.alone_ns;
  return batch;
}

/// For every end of a batch the begin that makes all up to there the cheapest.
std::array<std::uint16_t, SortSplit::kMost + 1> SortSplit::best_starts(const Sums& sums) const noexcept {
  std::array<std::uint16_t, kMost + 1> starts{};
  std::array<double, kMost + 1> total{};
  for (std::uint32_t end = 1; end <= count_; ++end) {
    double least = kNever;
    double left_ns = kNever;
    for (std::uint32_t begin = end; begin-- > 0;) {
      left_ns = std::min(left_ns, sums.at(begin).left_ns);
      const Sums::Batch batch = sums.batch(begin, end, left_ns);
      if (batch.closed) break;
      if (!batch.allowed || total[begin] + batch.mean_ns >= least) continue;
      least = total[begin] + batch.mean_ns;
      starts[end] = static_cast<std::uint16_t>(begin);
    }
    total[end] = least;
  }
  return starts;
}

/// Batches that reach from the longest item left down as far as they may.
std::array<std::uint16_t, SortSplit::kMost + 1> SortSplit::greedy_starts(const Sums& sums) const noexcept {
  std::array<std::uint16_t, kMost + 1> starts{};
  for (std::uint32_t end = count_; end > 0;) {
    std::uint32_t start = end - 1;
    double left_ns = sums.at(start).left_ns;
    while (start > 0) {
      left_ns = std::min(left_ns, sums.at(start - 1).left_ns);
      const Sums::Batch batch = sums.batch(start - 1, end, left_ns);
      if (batch.closed || !batch.allowed) break;
      --start;
    }
    starts[end] = static_cast<std::uint16_t>(start);
    end = start;
  }
  return starts;
}

SortSplit::Plan SortSplit::by_length() noexcept {
  sort();
  const Sums sums(*this);
  const auto starts = count_ <= kExact ? best_starts(sums) : greedy_starts(sums);
  Plan plan;
  std::array<double, kMost> times{};
  for (std::uint32_t end = count_; end > 0; end = starts[end]) {
    for (std::uint32_t i = starts[end]; i < end; ++i) {
      plan.batch_of[order_[i]] = static_cast<std::uint16_t>(plan.batches);
    }
    times[plan.batches++] = sums.batch(starts[end], end, kNever).mean_ns;
  }
  settle(plan, times);
  return plan;
}

// ---- what it is held against ----------------------------------------------------------

/// As BatchFormer decides whether a flight fits.
bool SortSplit::join(Group& group, const Item& item) const noexcept {
  BatchShape shape = group.shape;
  shape.rows += item.rows;
  shape.tokens += item.tokens;
  shape.bytes += item.bytes;
  shape.squares += item.squares;
  shape.longest = std::max(shape.longest, item.length);
  const double left_ns = std::min(group.left_ns, item.left_ns);
  const double mean = rules_.mean(shape);
  if (group.shape.rows > 0) {
    if (shape.rows > rules_.max_rows || shape.bytes > rules_.max_bytes ||
        shape.computed_tokens(rules_.layout) > static_cast<double>(rules_.max_tokens) ||
        shape.computed_squares(rules_.layout) > BatchRules::kMostPadding * shape.squares ||
        mean * rules_.tail95 > left_ns) {
      return false;
    }
    if (item.alone_ns - (mean - group.mean_ns) < BatchRules::kLeastGain * item.alone_ns) {
      ++group.gain_misses;
      return false;
    }
  }
  group = {shape, left_ns, mean, group.gain_misses};
  return true;
}

/// The sorted items that are in no batch yet, linked, and a walk away from one of them.
struct SortSplit::Nearby {
  static constexpr std::uint16_t kEnd = kMost;
  std::array<std::uint16_t, kMost + 1> previous{}, next{}, place{};

  explicit Nearby(const SortSplit& of) noexcept {
    for (std::uint32_t i = 0; i < of.count_; ++i) {
      place[of.order_[i]] = static_cast<std::uint16_t>(i);
      previous[i] = static_cast<std::uint16_t>(i == 0 ? kEnd : i - 1);
      next[i] = static_cast<std::uint16_t>(i + 1 == of.count_ ? kEnd : i + 1);
    }
  }
  void unlink(std::uint16_t i) noexcept {
    if (previous[i] != kEnd) next[previous[i]] = next[i];
    if (next[i] != kEnd) previous[next[i]] = previous[i];
  }
};

SortSplit::Plan SortSplit::by_nearness() noexcept {
  sort();
  Plan plan;
  std::array<double, kMost> times{};
  std::array<bool, kMost> taken{};
  Nearby near(*this);
  const auto take = [&](std::uint16_t item) {
    near.unlink(near.place[item]);
    taken[item] = true;
    plan.batch_of[item] = static_cast<std::uint16_t>(plan.batches);
  };
  for (std::uint16_t anchor = 0; anchor < count_; ++anchor) {
    if (taken[anchor]) continue;
    Group group;
    static_cast<void>(join(group, items_[anchor]));
    take(anchor);
    for (int bucket = 0; bucket < kBuckets && group.gain_misses < kGainMisses; ++bucket) {
      std::uint16_t low = near.previous[near.place[anchor]];
      std::uint16_t high = near.next[near.place[anchor]];
      std::uint32_t low_misses = 0;
      std::uint32_t high_misses = 0;
      while ((low != Nearby::kEnd || high != Nearby::kEnd) && group.gain_misses < kGainMisses &&
             group.shape.rows < rules_.max_rows) {
        const auto distance = [&](std::uint16_t i) {
          const std::uint64_t length = items_[order_[i]].length;
          return std::max(length, items_[anchor].length) - std::min(length, items_[anchor].length);
        };
        const bool down = high == Nearby::kEnd || (low != Nearby::kEnd && distance(low) <= distance(high));
        std::uint16_t& side = down ? low : high;
        const std::uint16_t item = order_[side];
        side = down ? near.previous[side] : near.next[side];
        if (items_[item].bucket != bucket) continue;
        if (join(group, items_[item])) {
          take(item);
        } else if (++(down ? low_misses : high_misses) >= kSideMisses) {
          side = Nearby::kEnd;
        }
      }
    }
    times[plan.batches++] = group.mean_ns;
  }
  settle(plan, times);
  return plan;
}

/// Batches run in the order of their first item.
void SortSplit::settle(Plan& plan, const std::array<double, kMost>& times) const noexcept {
  std::array<double, kMost> ends{};
  double clock = 0;
  for (std::uint32_t i = 0; i < count_; ++i) {
    double& end = ends[plan.batch_of[i]];
    if (end == 0) {
      end = clock + times[plan.batch_of[i]] * rules_.tail95;
      clock += times[plan.batch_of[i]];
    }
    if (items_[i].left_ns < end) ++plan.late;
  }
  plan.total_ns = clock;
}

std::optional<LengthCut> SortSplit::cut() noexcept {
  const Plan greedy = by_nearness();
  const Plan best = by_length();
  if (best.total_ns > (1 - kLeastSaving) * greedy.total_ns || best.late > greedy.late) return std::nullopt;
  LengthCut cut;
  cut.shortest = cut.longest = items_[0].length;
  for (std::uint32_t i = 0; i < count_; ++i) {
    if (best.batch_of[i] != best.batch_of[0]) continue;
    cut.shortest = std::min(cut.shortest, items_[i].length);
    cut.longest = std::max(cut.longest, items_[i].length);
  }
  cut.items = count_;
  cut.greedy = Duration(static_cast<std::int64_t>(greedy.total_ns));
  cut.best = Duration(static_cast<std::int64_t>(best.total_ns));
  return cut;
}

}  // namespace tidegate
