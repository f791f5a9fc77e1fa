// SortSplit: how what waits is best cut into batches, when it is more than two of them.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>

#include "queue/batch_rules.hpp"

namespace tidegate {

/// The lengths of row between which the next batch takes its flights.
struct LengthCut {
  std::uint64_t shortest = 0;
  std::uint64_t longest = 0;
  std::uint32_t items = 0;  ///< that were planned
  Duration greedy{0};       ///< predicted for them in batches of the likest lengths
  Duration best{0};         ///< predicted for them as they are cut

  [[nodiscard]] bool holds(std::uint64_t length) const noexcept { return length >= shortest && length <= longest; }
};

/// Sorted by length, every good plan is a sequence of cuts: a batch never gains by reaching
/// over an item to a longer one. So the least sum of predicted times is found by going
/// through the sorted items once and trying, for each as the longest of a batch, where the
/// batch may begin (Fang et al., TurboTransformers, PPoPP 2021).
class SortSplit {
 public:
  static constexpr std::uint32_t kMost = 96;

  explicit SortSplit(const BatchRules& rules) noexcept
      : rules_(rules),
        max_rows_(static_cast<double>(rules.max_rows)),
        max_tokens_(static_cast<double>(rules.max_tokens)),
        max_bytes_(static_cast<double>(rules.max_bytes)) {}

  /// In the order in which they are to run: the first is the anchor. At most kMost.
  void add(const ItemSize& size, Deadline deadline, int bucket) noexcept;
  [[nodiscard]] bool full() const noexcept { return count_ == kMost; }

  struct Plan {
    std::array<std::uint16_t, kMost> batch_of{};  ///< by the order of `add`
    std::uint32_t batches = 0;
    double total_ns = 0;
    std::uint32_t late = 0;  ///< items whose deadline passes, if batches run in the order of their first item
  };
  /// The cuts of least total time. Of one item at least.
  [[nodiscard]] Plan by_length() noexcept;
  /// What batches that grow around the first item left come to.
  [[nodiscard]] Plan by_nearness() noexcept;

  /// Where the anchor's batch begins and ends, if cuts save kLeastSaving of the time and make
  /// nobody late.
  [[nodiscard]] std::optional<LengthCut> cut() noexcept;

  static constexpr double kLeastSaving = 0.03;
  static constexpr int kBuckets = 3;  ///< of slack: the items of a lower one go before the others

 private:
  static constexpr double kNever = std::numeric_limits<double>::infinity();
  struct Item {
    double rows = 0, length = 0, bytes = 0, squares = 0;
    double per_row_ns = 0;    ///< of a batch of which it is the longest
    double alone_ns = 0;      ///< without others
    double left_ns = kNever;  ///< to its deadline
    int bucket = 0;
  };
  /// A batch that grows item by item.
  struct Group {
    double rows = 0, bytes = 0, squares = 0, longest = 0;
    double per_row_ns = 0;
    double left_ns = kNever;
    double mean_ns = 0;
    std::uint32_t gain_misses = 0;
  };

  struct Columns;
  struct Reach;
  struct Nearby;
  using Starts = std::array<std::uint16_t, kMost + 1>;  ///< of the batch that ends there
  void sort() noexcept;
  [[nodiscard]] Starts best_starts(const Columns& columns) const noexcept;
  [[nodiscard]] bool join(Group& group, const Item& item) const noexcept;
  void settle(Plan& plan, const std::array<double, kMost>& times) const noexcept;

  BatchRules rules_;
  double max_rows_, max_tokens_, max_bytes_;
  std::uint32_t count_ = 0;
  bool sorted_ = false;
  double needed_ns_ = 0;  ///< for all items, without padding and base
  double rows_ = 0;
  double least_left_ns_ = kNever;
  std::uint64_t longest_ = 0;
  std::array<std::uint32_t, kBuckets> in_bucket_{};
  std::array<Item, kMost> items_{};
  std::array<std::uint64_t, kMost> lengths_{};
  std::array<std::uint16_t, kMost> order_{};  ///< of the items by length, once sorted
};

}  // namespace tidegate
