#include "queue/sort_split.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace tidegate {
namespace {

constexpr std::uint32_t kGainMisses = 8;  // and a growing batch is left alone
constexpr std::uint32_t kSideMisses = 3;  // and it does not look further on that side

}  // namespace

void SortSplit::add(const ItemSize& size, Deadline deadline, int bucket) noexcept {
  const BatchShape shape = BatchShape::of(size);
  Item& item = items_[count_];
  lengths_[count_] = shape.longest;
  longest_ = std::max(longest_, shape.longest);
  ++count_;
  sorted_ = false;
  item.rows = static_cast<double>(shape.rows);
  item.length = static_cast<double>(shape.longest);
  item.bytes = static_cast<double>(shape.bytes);
  item.squares = shape.squares;
  item.per_row_ns = rules_.per_row(item.length);
  item.alone_ns = rules_.cost[0] + item.rows * item.per_row_ns;
  item.left_ns = deadline == kNoDeadline ? kNever : static_cast<double>((deadline - rules_.now).count());
  least_left_ns_ = std::min(least_left_ns_, item.left_ns);
  item.bucket = bucket;
  ++in_bucket_[static_cast<std::size_t>(bucket)];
  needed_ns_ += item.alone_ns - rules_.cost[0];
  rows_ += item.rows;
}

/// By one byte of the length after the other, the lowest first; who came first stays in front.
void SortSplit::sort() noexcept {
  if (sorted_) return;
  sorted_ = true;
  for (std::uint32_t i = 0; i < count_; ++i) order_[i] = static_cast<std::uint16_t>(i);
  for (unsigned shift = 0; shift < 64 && longest_ >> shift != 0; shift += 8) {
    const auto digit = [&](std::uint16_t i) { return lengths_[i] >> shift & 0xFFU; };
    std::array<std::uint16_t, 257> place{};
    for (std::uint32_t i = 0; i < count_; ++i) ++place[digit(order_[i]) + 1];
    for (std::size_t i = 1; i < place.size(); ++i) place[i] = static_cast<std::uint16_t>(place[i] + place[i - 1]);
    std::array<std::uint16_t, kMost> sorted;
    for (std::uint32_t i = 0; i < count_; ++i) sorted[place[digit(order_[i])]++] = order_[i];
    std::copy_n(sorted.begin(), count_, order_.begin());
  }
}

// ---- cuts -----------------------------------------------------------------------------

/// The sorted items as columns, with running totals.
struct SortSplit::Columns {
  std::array<double, kMost + 1> rows, bytes, squares;  ///< of all before
  std::array<double, kMost> length, per_row_ns, left_ns;
  std::array<double, kMost> most_per_row;  ///< nanoseconds a row may take in a batch for the item to gain

  explicit Columns(const SortSplit& of) noexcept {
    rows[0] = bytes[0] = squares[0] = 0;
    for (std::uint32_t i = 0; i < of.count_; ++i) {
      const Item& item = of.items_[of.order_[i]];
      rows[i + 1] = rows[i] + item.rows;
      bytes[i + 1] = bytes[i] + item.bytes;
      squares[i + 1] = squares[i] + item.squares;
      length[i] = item.length;
      per_row_ns[i] = item.per_row_ns;
      left_ns[i] = item.left_ns;
      most_per_row[i] = (1 - BatchRules::kLeastGain) * item.alone_ns / item.rows;
    }
  }
};

/// From where on a batch may begin that ends with the item before `end`, as `end` moves up.
/// Rows, tokens, bytes, deadlines and gain leave a lower begin out for good: a longer batch has
/// more of everything. Padding does not, for a batch may grow into its longest item.
struct SortSplit::Reach {
  const SortSplit& split;
  const Columns& columns;
  std::uint32_t least = 0;   ///< whatever the padding
  std::uint32_t padded = 0;  ///< the first that is not padded too much
  // The items of [least, end) that have less time left than every later one.
  std::array<std::uint16_t, kMost> hurried;
  std::uint32_t first_hurried = 0, after_hurried = 0;
  bool any_hurried = false;  ///< a deadline is closer than the end of the longest batch there could be

  Reach(const SortSplit& of, const Columns& its) noexcept : split(of), columns(its) {
    const double rows = std::min(split.max_rows_, columns.rows[split.count_]);
    const double longest_ns = split.rules_.cost[0] + rows * columns.per_row_ns[split.count_ - 1];
    any_hurried = split.least_left_ns_ < longest_ns * split.rules_.tail95;
  }

  /// Alone every item may run, so at most end - 1.
  [[nodiscard]] std::uint32_t first_begin(std::uint32_t end) noexcept {
    const std::uint32_t last = end - 1;
    if (any_hurried) note_deadline(last);
    while (least < last && exceeds(least, end)) {
      if (any_hurried && hurried[first_hurried] == least) ++first_hurried;
      ++least;
    }
    padded = std::clamp(padded, least, last);
    while (padded > least && is_dense(padded - 1, end)) --padded;
    while (padded < last && !is_dense(padded, end)) ++padded;
    return padded;
  }

 private:
  void note_deadline(std::uint32_t item) noexcept {
    while (after_hurried > first_hurried && columns.left_ns[hurried[after_hurried - 1]] >= columns.left_ns[item]) {
      --after_hurried;
    }
    hurried[after_hurried++] = static_cast<std::uint16_t>(item);
  }
  /// Without a branch for each: which of them holds, and how often, cannot be foreseen.
  [[nodiscard]] bool exceeds(std::uint32_t begin, std::uint32_t end) const noexcept {
    const double per_row = columns.per_row_ns[end - 1];
    const double rows = columns.rows[end] - columns.rows[begin];
    const double mean_ns = split.rules_.cost[0] + per_row * rows;
    const double left_ns = any_hurried ? columns.left_ns[hurried[first_hurried]] : kNever;
    return (rows > split.max_rows_) | (rows * columns.length[end - 1] > split.max_tokens_) |
           (columns.bytes[end] - columns.bytes[begin] > split.max_bytes_) | (mean_ns * split.rules_.tail95 > left_ns) |
           (per_row > columns.most_per_row[begin]);
  }
  [[nodiscard]] bool is_dense(std::uint32_t begin, std::uint32_t end) const noexcept {
    const double square = columns.length[end - 1] * columns.length[end - 1];
    return (columns.rows[end] - columns.rows[begin]) * square <=
           BatchRules::kMostPadding * (columns.squares[end] - columns.squares[begin]);
  }
};

/// For every end of a batch the begin that makes all up to there the cheapest. A batch takes
/// base + per_row * rows, and per_row grows with its end: of two begins that were open to the
/// end before, the lower never overtakes the higher. So the search goes no further down than
/// the last begin found, unless that, or the bound to begins, has moved the other way.
SortSplit::Starts SortSplit::best_starts(const Columns& columns) const noexcept {
  Starts starts;
  std::array<double, kMost + 1> total;
  total[0] = 0;
  Reach reach(*this, columns);
  std::uint32_t first = 0;
  std::uint32_t found = 0;
  for (std::uint32_t end = 1; end <= count_; ++end) {
    const std::uint32_t first_before = std::exchange(first, reach.first_begin(end));
    const double per_row = columns.per_row_ns[end - 1];
    const bool lower_lost = found >= first && first >= first_before && per_row <= columns.most_per_row[found];
    const std::uint32_t lowest = lower_lost ? found : first;
    found = end - 1;
    double least = total[found] - per_row * columns.rows[found];
    for (std::uint32_t begin = found; begin-- > lowest;) {
      const double time = total[begin] - per_row * columns.rows[begin];
      // The shortest item pays the most for the padding.
      const bool better = (time < least) & (per_row <= columns.most_per_row[begin]);
      least = better ? time : least;
      found = better ? begin : found;
    }
    starts[end] = static_cast<std::uint16_t>(found);
    total[end] = rules_.cost[0] + per_row * (columns.rows[end] - columns.rows[found]) + total[found];
  }
  return starts;
}

SortSplit::Plan SortSplit::by_length() noexcept {
  sort();
  const Columns columns(*this);
  const Starts starts = best_starts(columns);
  Plan plan;
  std::array<double, kMost> times;
  for (std::uint32_t end = count_; end > 0; end = starts[end]) {
    for (std::uint32_t i = starts[end]; i < end; ++i) {
      plan.batch_of[order_[i]] = static_cast<std::uint16_t>(plan.batches);
    }
    const double rows = columns.rows[end] - columns.rows[starts[end]];
    times[plan.batches++] = rules_.cost[0] + rows * columns.per_row_ns[end - 1];
  }
  settle(plan, times);
  return plan;
}

// ---- what it is held against ----------------------------------------------------------

/// As BatchFormer decides whether a flight fits.
bool SortSplit::join(Group& group, const Item& item) const noexcept {
  const double rows = group.rows + item.rows;
  const double bytes = group.bytes + item.bytes;
  const double squares = group.squares + item.squares;
  const double longest = std::max(group.longest, item.length);
  const double left_ns = std::min(group.left_ns, item.left_ns);
  const double per_row_ns = std::max(group.per_row_ns, item.per_row_ns);
  const double mean_ns = rules_.cost[0] + rows * per_row_ns;
  if (group.rows > 0) {
    if (rows > max_rows_ || bytes > max_bytes_ || rows * longest > max_tokens_ ||
        rows * longest * longest > BatchRules::kMostPadding * squares || mean_ns * rules_.tail95 > left_ns) {
      return false;
    }
    if (item.alone_ns - (mean_ns - group.mean_ns) < BatchRules::kLeastGain * item.alone_ns) {
      ++group.gain_misses;
      return false;
    }
  }
  group = {rows, bytes, squares, longest, per_row_ns, left_ns, mean_ns, group.gain_misses};
  return true;
}

/// The sorted items that are in no batch yet, linked, and a walk away from one of them.
struct SortSplit::Nearby {
  static constexpr std::uint16_t kEnd = kMost;
  std::array<std::uint16_t, kMost> previous, next, place;

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
  std::array<double, kMost> times;
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
      if (in_bucket_[static_cast<std::size_t>(bucket)] == 0) continue;
      std::uint16_t low = near.previous[near.place[anchor]];
      std::uint16_t high = near.next[near.place[anchor]];
      std::uint32_t low_misses = 0;
      std::uint32_t high_misses = 0;
      while ((low != Nearby::kEnd || high != Nearby::kEnd) && group.gain_misses < kGainMisses &&
             group.rows < max_rows_) {
        const auto distance = [&](std::uint16_t i) {
          return std::abs(items_[order_[i]].length - items_[anchor].length);
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
  const double most = (1 - kLeastSaving) * greedy.total_ns;
  // Without a token of padding, in batches filled to the last row.
  const double least = needed_ns_ + rules_.cost[0] * std::ceil(rows_ / max_rows_);
  if (least > most) return std::nullopt;
  const Plan best = by_length();
  if (best.total_ns > most || best.late > greedy.late) return std::nullopt;
  double shortest = items_[0].length;
  double longest = items_[0].length;
  for (std::uint32_t i = 0; i < count_; ++i) {
    if (best.batch_of[i] != best.batch_of[0]) continue;
    shortest = std::min(shortest, items_[i].length);
    longest = std::max(longest, items_[i].length);
  }
  return LengthCut{static_cast<std::uint64_t>(shortest), static_cast<std::uint64_t>(longest), count_,
                   Duration(static_cast<std::int64_t>(greedy.total_ns)),
                   Duration(static_cast<std::int64_t>(best.total_ns))};
}

}  // namespace tidegate
