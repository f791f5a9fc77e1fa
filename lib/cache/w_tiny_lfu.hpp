// W-TinyLFU eviction (Einziger, Friedman, Manes, "TinyLFU: a highly efficient cache
// admission policy", ACM TOS 2017): a small window in front of a segmented main part,
// which a key enters only if it is asked for more often than the one it displaces.
#pragma once

#include "cache/frequency_sketch.hpp"
#include "cache/node_list.hpp"

namespace tidegate {

/// A hundredth of the budget is the window's; of the rest, four fifths are protected.
class WTinyLfu final : public EvictionPolicy {
 public:
  enum Part : std::uint8_t { window, probation, protected_part };

  explicit WTinyLfu(std::uint32_t sketch_words);

  void hit(Node& node) noexcept override;
  void admit(Node& newcomer) noexcept override;
  void add(Node& node) override;
  void remove(Node& node) noexcept override;
  void moved(Node& from, Node& to) override;
  /// Where the window would overflow, its oldest entry (or `incoming` itself, if that
  /// is larger than the window) competes with the oldest one of main.
  [[nodiscard]] Node* evict(const Node& incoming) override;
  [[nodiscard]] std::uint32_t heat(const Node& node) const noexcept override {
    return sketch_.estimate(node.fingerprint());
  }

 private:
  [[nodiscard]] std::uint64_t window_share() const noexcept { return budget() / 100; }
  [[nodiscard]] std::uint64_t protected_share() const noexcept { return (budget() - window_share()) * 4 / 5; }
  [[nodiscard]] NodeList& list(const Node& node) noexcept { return lists_[node.part]; }
  void push(Node& node, Part part) noexcept;
  /// Oldest entries of `from` that exceed its share become the newest on probation.
  void shrink(Part from, std::uint64_t share) noexcept;

  NodeList lists_[3];
  FrequencySketch sketch_;
};

}  // namespace tidegate
