// S3-FIFO eviction (Yang et al., "FIFO queues are all you need for cache eviction",
// SOSP 2023): a small queue for newcomers, a main queue for what proved useful, and
// ghosts of what left the small one.
#pragma once

#include "cache/ghost_list.hpp"
#include "cache/node_list.hpp"

namespace tidegate {

/// A tenth of the budget is the small queue's, the rest main's; ghosts stand for as
/// many bytes as main may hold. A hit changes the entry's counter and nothing else.
class S3Fifo final : public EvictionPolicy {
 public:
  enum Part : std::uint8_t { small, main };

  static constexpr std::uint8_t kMaxFrequency = 3;
  static constexpr std::uint8_t kPromoteAt = 2;  ///< hits that carry a newcomer into main

  explicit S3Fifo(std::uint32_t ghost_capacity);

  void hit(Node& node) noexcept override;
  /// Main if the key's ghost is known (which is thereby forgotten), else small.
  void admit(Node& newcomer) noexcept override;
  void add(Node& node) override;
  void remove(Node& node) noexcept override;
  void moved(Node& from, Node& to) override;
  [[nodiscard]] Node* evict(const Node& incoming) override;
  /// What was promoted counts for what that took.
  [[nodiscard]] std::uint32_t heat(const Node& node) const noexcept override;

 private:
  void push_main(Node& node) noexcept;
  [[nodiscard]] Node* evict_small(std::uint64_t ghost_bytes);
  [[nodiscard]] Node* evict_main() noexcept;

  NodeList small_;
  NodeList main_;
  GhostList ghosts_;
};

}  // namespace tidegate
