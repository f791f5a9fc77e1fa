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
    node.newer = nullptr;
    node.older = newest_;
    (newest_ != nullptr ? newest_->newer : oldest_) = &node;
    newest_ = &node;
    bytes_ += node.bytes;
  }

  void remove(Node& node) noexcept {
    (node.newer != nullptr ? node.newer->older : newest_) = node.older;
    (node.older != nullptr ? node.older->newer : oldest_) = node.newer;
    node.newer = node.older = nullptr;
    bytes_ -= node.bytes;
  }

  /// Null if empty.
  Node* pop_oldest() noexcept {
    Node* node = oldest_;
    if (node != nullptr) remove(*node);
    return node;
  }

 private:
  Node* newest_ = nullptr;
  Node* oldest_ = nullptr;
  std::uint64_t bytes_ = 0;
};

}  // namespace tidegate
