// The policies that need no memory beyond their entries: LRU, LFU, TTL-only.
#pragma once

#include <array>
#include <set>

#include "cache/node_list.hpp"

namespace tidegate {

/// Least recently used goes first.
class Lru final : public EvictionPolicy {
 public:
  Lru();
  void hit(Node& node) noexcept override;
  void admit(Node& newcomer) noexcept override;
  void add(Node& node) override;
  void remove(Node& node) noexcept override;
  void moved(Node& from, Node& to) override;
  [[nodiscard]] Node* evict(const Node& incoming) override;

 private:
  NodeList entries_;
};

/// Least frequently used goes first; among equals the one whose last use is oldest.
/// Counts to 63: beyond that, entries are equals. Nothing ages: what was popular
/// once stays until its life ends.
class Lfu final : public EvictionPolicy {
 public:
  static constexpr std::uint8_t kMaxFrequency = 63;

  Lfu();
  void hit(Node& node) noexcept override;
  void admit(Node& newcomer) noexcept override;
  void add(Node& node) override;
  void remove(Node& node) noexcept override;
  void moved(Node& from, Node& to) override;
  [[nodiscard]] Node* evict(const Node& incoming) override;

 private:
  std::array<NodeList, kMaxFrequency + 1> used_;  ///< by frequency
  std::uint64_t not_empty_ = 0;                   ///< bit f: used_[f] has entries
};

/// What expires soonest goes first; reads change nothing. Where all lives are equal
/// this is first in, first out.
class TtlOnly final : public EvictionPolicy {
 public:
  TtlOnly();
  void hit(Node& node) noexcept override;
  void admit(Node& newcomer) noexcept override;
  void add(Node& node) override;
  void remove(Node& node) noexcept override;
  void moved(Node& from, Node& to) override;
  [[nodiscard]] Node* evict(const Node& incoming) override;

 private:
  /// A total order, so that an entry is found by itself in logarithmic time.
  struct SoonestFirst {
    bool operator()(const Node* left, const Node* right) const noexcept;
  };
  std::set<Node*, SoonestFirst> entries_;
};

}  // namespace tidegate
