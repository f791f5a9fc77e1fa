// NodeList: entries from the newest to the oldest, and what they weigh together.
#pragma once

#include "cache/eviction_policy.hpp"

namespace tidegate {

/// Linked through the nodes themselves. Thread-compatible.
class NodeList {
 public:
  using Node = EvictionPolicy::Node;

  [[nodiscard]] Node* oldest() const noexcept { return oldest_; }
  [[nodiscard]] bool empty() const noexcept { return oldest_ == nullptr; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

  void push(Node& node) noexcept {
    node.to_newer = 0;
    node.to_older = newest_ != nullptr ? distance(node, *newest_) : 0;
    if (newest_ != nullptr) {
      newest_->to_newer = distance(*newest_, node);
    } else {
      oldest_ = &node;
    }
    newest_ = &node;
    bytes_ += node.bytes;
  }

  void remove(Node& node) noexcept {
    Node* const newer = linked(node, node.to_newer);
    Node* const older = linked(node, node.to_older);
    if (newer != nullptr) {
      newer->to_older = older != nullptr ? distance(*newer, *older) : 0;
    } else {
      newest_ = older;
    }
    if (older != nullptr) {
      older->to_newer = newer != nullptr ? distance(*older, *newer) : 0;
    } else {
      oldest_ = newer;
    }
    node.to_newer = node.to_older = 0;
    bytes_ -= node.bytes;
  }

  /// `to` is a copy of `from` and takes its place.
  void replace(const Node& from, Node& to) noexcept {
    Node* const newer = linked(from, from.to_newer);
    Node* const older = linked(from, from.to_older);
    to.to_newer = newer != nullptr ? distance(to, *newer) : 0;
    to.to_older = older != nullptr ? distance(to, *older) : 0;
    if (newer != nullptr) {
      newer->to_older = distance(*newer, to);
    } else {
      newest_ = &to;
    }
    if (older != nullptr) {
      older->to_newer = distance(*older, to);
    } else {
      oldest_ = &to;
    }
  }

  /// Null if empty.
  Node* pop_oldest() noexcept {
    Node* node = oldest_;
    if (node != nullptr) remove(*node);
    return node;
  }

 private:
  // Links are distances in nodes, so that both fit into eight bytes; all nodes are aligned to their size.
  [[nodiscard]] static std::int32_t distance(const Node& from, const Node& to) noexcept {
    const auto bytes = reinterpret_cast<std::intptr_t>(&to) - reinterpret_cast<std::intptr_t>(&from);
    return static_cast<std::int32_t>(bytes / static_cast<std::intptr_t>(sizeof(Node)));
  }
  [[nodiscard]] static Node* linked(const Node& from, std::int32_t nodes) noexcept {
    if (nodes == 0) return nullptr;
    const std::intptr_t bytes = nodes * static_cast<std::intptr_t>(sizeof(Node));
    return reinterpret_cast<Node*>(reinterpret_cast<std::intptr_t>(&from) + bytes);
  }

  Node* newest_ = nullptr;
  Node* oldest_ = nullptr;
  std::uint64_t bytes_ = 0;
};

}  // namespace tidegate
