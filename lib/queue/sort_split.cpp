#include "queue/sort_split.hpp"

#include <algorithm>
#include <cmath>

namespace tidegate {
namespace {

constexpr std::uint32_t kGainMisses = 8;  // and a growing batch is left alone
constexpr std::uint32_t kSideMisses = 8;  // and it does not look further on that side

}  // namespace

void SortSplit::add(const ItemSize& size, Deadline deadline, int bucket) noexcept {
  const BatchShape shape = BatchShape::of(size);
  Item& item = items_[count_];
  ++count_;
  sorted_ = false;
  item.rows = static_cast<double>(shape.rows);
  item.length = static_cast<double>(shape.longest);
  item.bytes = static_cast<double>(shape.bytes);
  item.squares = shape.squares;
  item.alone_ns = rules_.mean(item.rows, item.length);
  item.left_ns = deadline == kNoDeadline ? kNever : static_cast<double>((deadline - rules_.now).count());
  item.bucket = bucket;
  ++in_bucket_[static_cast<std::size_t>(bucket)];
  needed_ns_ += item.alone_ns - rules_.cost[0];
  rows_ += item.rows;
}

void SortSplit::sort() noexcept {
  if (sorted_) return;
  sorted_ = true;
  // Lengths are whole numbers below 2^50, places below 2^8: one number to sort by holds both.
  std::array<std::uint64_t, kMost> keys{};
  for (std::uint32_t i = 0; i < count_; ++i) keys[i] = static_cast<std::uint64_t>(items_[i].length) << 8U | i;
  std::sort(keys.begin(), keys.begin() + count_);
  for (std::uint32_t i = 0; i < count_; ++i) order_[i] = static_cast<std::uint16_t>(keys[i] & 0xFFU);
}

// ---- cuts -----------------------------------------------------------------------------

/// The sorted items as columns, with running totals.
struct SortSplit::Columns {
  std::array<double, kMost + 1> rows{}, bytes{}, squares{};  ///< of all before
  std::array<double, kMost> length{}, left_ns{};
  std::array<double, kMost> most_per_row{};  ///< nanoseconds a row may add to a batch for the item to gain

  explicit Columns(const SortSplit& of) noexcept {
    for (std::uint32_t i = 0; i < of.count_; ++i) {
      const Item& item = of.items_[of.order_[i]];
      rows[i + 1] = rows[i] + item.rows;
      bytes[i + 1] = bytes[i] + item.bytes;
      squares[i + 1] = squares[i] + item.squares;
      length[i] = item.length;
      left_ns[i] = item.left_ns;
      most_per_row[i] = (1 - BatchRules::kLeastGain) * item.alone_ns / item.rows;
    }
  }
};

/// Calls `visit(begin, mean_ns)` for every batch that may run and ends with the item before
/// `end`, from the shortest batch on, until `visit` answers false.
template <class Visit>
void SortSplit::each_batch(const Columns& columns, std::uint32_t end, Visit&& visit) const noexcept {
  const double length = columns.length[end - 1];
  const double square = length * length;
  const double per_row = rules_.cost[1] * length + rules_.cost[2] * square + rules_.cost[3];
  const double most_rows =
      std::min(static_cast<double>(rules_.max_rows), static_cast<double>(rules_.max_tokens) / length);
  const auto most_bytes = static_cast<double>(rules_.max_bytes);
  double left_ns = columns.left_ns[end - 1];
  if (!visit(end - 1, rules_.cost[0] + per_row * (columns.rows[end] - columns.rows[end - 1]))) return;
  for (std::uint32_t begin = end - 1; begin-- > 0;) {
    const double rows = columns.rows[end] - columns.rows[begin];
    const double mean_ns = rules_.cost[0] + per_row * rows;
    left_ns = std::min(left_ns, columns.left_ns[begin]);
    // Each of these holds for every batch that begins lower as well: more rows, more of them padding.
    if (rows > most_rows || columns.bytes[end] - columns.bytes[begin] > most_bytes) return;
    if (rows * square > BatchRules::kMostPadding * (columns.squares[end] - columns.squares[begin])) return;
    if (mean_ns * rules_.tail95 > left_ns) return;
    // The shortest item pays the most for the padding.
    if (per_row > columns.most_per_row[begin]) continue;
    if (!visit(begin, mean_ns)) return;
  }
}

/// For every end of a batch the begin that makes all up to there the cheapest.
SortSplit::Starts SortSplit::best_starts(const Columns& columns) const noexcept {
  Starts starts{};
  std::array<double, kMost + 1> total{};
  for (std::uint32_t end = 1; end <= count_; ++end) {
    double least = kNever;
    each_batch(columns, end, [&](std::uint32_t begin, double mean_ns) {
      if (total[begin] + mean_ns < least) {
        least = total[begin] + mean_ns;
        starts[end] = static_cast<std::uint16_t>(begin);
      }
      return true;
    });
    total[end] = least;
  }
  return starts;
}

/// Batches that reach from the longest item left down as far as they may.
SortSplit::Starts SortSplit::greedy_starts(const Columns& columns) const noexcept {
  Starts starts{};
  for (std::uint32_t end = count_; end > 0; end = starts[end]) {
    each_batch(columns, end, [&](std::uint32_t begin, double) {
      const bool next = begin == end - 1 || begin + 1 == starts[end];
      if (next) starts[end] = static_cast<std::uint16_t>(begin);
      return next;
    });
  }
  return starts;
}

SortSplit::Plan SortSplit::by_length() noexcept {
  sort();
  const Columns columns(*this);
  const Starts starts = count_ <= kExact ? best_starts(columns) : greedy_starts(columns);
  Plan plan;
  std::array<double, kMost> times{};
  for (std::uint32_t end = count_; end > 0; end = starts[end]) {
    for (std::uint32_t i = starts[end]; i < end; ++i) {
      plan.batch_of[order_[i]] = static_cast<std::uint16_t>(plan.batches);
    }
    times[plan.batches++] = rules_.mean(columns.rows[end] - columns.rows[starts[end]], columns.length[end - 1]);
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
  const double mean_ns = rules_.mean(rows, longest);
  if (group.rows > 0) {
    if (rows > static_cast<double>(rules_.max_rows) || bytes > static_cast<double>(rules_.max_bytes) ||
        rows * longest > static_cast<double>(rules_.max_tokens) ||
        rows * longest * longest > BatchRules::kMostPadding * squares || mean_ns * rules_.tail95 > left_ns) {
      return false;
    }
    if (item.alone_ns - (mean_ns - group.mean_ns) < BatchRules::kLeastGain * item.alone_ns) {
      ++group.gain_misses;
      return false;
    }
  }
  group = {rows, bytes, squares, longest, left_ns, mean_ns, group.gain_misses};
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
      if (in_bucket_[static_cast<std::size_t>(bucket)] == 0) continue;
      std::uint16_t low = near.previous[near.place[anchor]];
      std::uint16_t high = near.next[near.place[anchor]];
      std::uint32_t low_misses = 0;
      std::uint32_t high_misses = 0;
      while ((low != Nearby::kEnd || high != Nearby::kEnd) && group.gain_misses < kGainMisses &&
             group.rows < static_cast<double>(rules_.max_rows)) {
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
  const double least = needed_ns_ + rules_.cost[0] * std::ceil(rows_ / static_cast<double>(rules_.max_rows));
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
