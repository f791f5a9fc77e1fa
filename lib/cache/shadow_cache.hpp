// ShadowCache: an eviction policy that holds no answers, to see what it would have hit.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "cache/eviction_policy.hpp"

namespace tidegate {

/// One policy at one capacity, for a sample of the keys. All its memory is taken when it is made: where more
/// entries would be in it than it has nodes for, it asks for a smaller sample. Thread-compatible.
class ShadowCache {
 public:
  struct Size {
    std::uint64_t capacity_bytes = 0;  ///< of the cache it stands for
    std::uint32_t nodes = 0;           ///< entries it can hold, 1 at least
    std::uint32_t remembered = 0;      ///< as make_eviction_policy's `memory_size`
  };
  enum class Stored : std::uint8_t { done, no_node };

  /// `sample`: a hash is in the sample if all these bits of it are set; `one_in`: one in so many hashes is.
  ShadowCache(CachePolicy policy, Size size, std::uint64_t sample, std::uint64_t one_in);

  void look_up(std::uint64_t hash);
  /// An entry that is there keeps its weight. `no_node`: as if it had not been asked for.
  [[nodiscard]] Stored store(std::uint64_t hash, std::uint64_t weight);
  /// Takes out what is not in a smaller sample.
  void thin_out(std::uint64_t sample, std::uint64_t one_in);

  [[nodiscard]] std::uint64_t sample() const noexcept { return sample_; }
  [[nodiscard]] CacheCurvePoint point() const noexcept { return {policy_, size_.capacity_bytes, requests_, hits_}; }
  /// Never changes.
  [[nodiscard]] std::uint64_t heap_bytes() const noexcept;

 private:
  using Node = EvictionPolicy::Node;
  static constexpr std::uint32_t kNone = ~0U;

  // Chains of one bucket, and the free nodes, are linked by Node::value; Node::part of free ones is kFreePart.
  static constexpr std::uint8_t kFreePart = 255;
  [[nodiscard]] static std::uint64_t hash_of(const Node& node) noexcept;
  [[nodiscard]] std::uint32_t& bucket_of(std::uint64_t hash) noexcept { return buckets_[hash & (buckets_.size() - 1)]; }
  [[nodiscard]] Node* find(std::uint64_t hash) noexcept;
  void forget(Node& node) noexcept;
  void make_free(Node& node) noexcept;

  const CachePolicy policy_;
  const Size size_;
  const std::unique_ptr<EvictionPolicy> order_;
  std::uint64_t sample_;
  std::uint64_t scaled_;                ///< its own capacity, bytes
  std::vector<std::uint32_t> buckets_;  ///< first nodes by the hash's low bits, which draw no sample
  std::vector<Node> nodes_;             ///< one more than it can hold, for the newcomer; keys begin with the hash
  std::uint32_t free_ = kNone;
  std::uint32_t count_ = 0;
  std::uint64_t used_ = 0;
  std::uint64_t requests_ = 0;
  std::uint64_t hits_ = 0;
};

}  // namespace tidegate
