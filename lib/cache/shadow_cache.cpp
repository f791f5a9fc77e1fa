#include "cache/shadow_cache.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "cache/heap_charge.hpp"

namespace tidegate {
namespace {

/// Counts are halved at so many sampled requests.
constexpr std::uint64_t kWindow = 16384;

}  // namespace

ShadowCache::ShadowCache(CachePolicy policy, Size size, std::uint64_t sample, std::uint64_t one_in)
    : policy_(policy),
      size_(size),
      order_(make_eviction_policy(policy, size.remembered)),
      sample_(sample),
      scaled_(std::max<std::uint64_t>(size.capacity_bytes / one_in, 1)),
      buckets_(std::bit_ceil(size.nodes), kNone),
      nodes_(std::size_t{size.nodes} + 1) {
  order_->set_budget(scaled_);
  for (auto node = nodes_.rbegin(); node != nodes_.rend(); ++node) make_free(*node);
}

std::uint64_t ShadowCache::heap_bytes() const noexcept {
  return heap_charge(sizeof(ShadowCache)) + order_->heap_bytes() +
         heap_charge(buckets_.size() * sizeof(std::uint32_t)) +
         heap_charge(nodes_.size() * sizeof(Node) + sizeof(Node));
}

std::uint64_t ShadowCache::hash_of(const Node& node) noexcept {
  std::uint64_t hash = 0;
  std::memcpy(&hash, node.key.data(), sizeof(hash));
  return hash;
}

void ShadowCache::make_free(Node& node) noexcept {
  node = {};
  node.part = kFreePart;
  node.value = free_;
  free_ = static_cast<std::uint32_t>(&node - nodes_.data());
}

EvictionPolicy::Node* ShadowCache::find(std::uint64_t hash) noexcept {
  std::uint32_t number = bucket_of(hash);
  while (number != kNone && hash_of(nodes_[number]) != hash) number = nodes_[number].value;
  return number != kNone ? &nodes_[number] : nullptr;
}

void ShadowCache::look_up(std::uint64_t hash) {
  if (++requests_ > kWindow) {
    requests_ /= 2;
    hits_ /= 2;
  }
  Node* const node = find(hash);
  if (node == nullptr) return;
  ++hits_;
  order_->hit(*node);
}

ShadowCache::Stored ShadowCache::store(std::uint64_t hash, std::uint64_t weight) {
  const std::uint64_t bytes = std::max<std::uint64_t>(weight, 1);
  if (bytes > scaled_ || find(hash) != nullptr) return Stored::done;
  if (count_ == size_.nodes && used_ + bytes <= scaled_) return Stored::no_node;
  Node& node = nodes_[free_];
  free_ = node.value;
  node = {};
  node.bytes = static_cast<std::uint32_t>(bytes);
  std::memcpy(node.key.data(), &hash, sizeof(hash));
  order_->admit(node);
  while (used_ + bytes > scaled_) {
    Node* const victim = order_->evict(node);
    if (victim == nullptr) {
      make_free(node);
      return Stored::done;
    }
    forget(*victim);
  }
  node.value = bucket_of(hash);
  bucket_of(hash) = static_cast<std::uint32_t>(&node - nodes_.data());
  order_->add(node);
  used_ += bytes;
  ++count_;
  return Stored::done;
}

/// The policy has let go of it.
void ShadowCache::forget(Node& node) noexcept {
  const auto number = static_cast<std::uint32_t>(&node - nodes_.data());
  std::uint32_t* link = &bucket_of(hash_of(node));
  while (*link != number) link = &nodes_[*link].value;
  *link = node.value;
  used_ -= node.bytes;
  --count_;
  make_free(node);
}

void ShadowCache::thin_out(std::uint64_t sample, std::uint64_t one_in) {
  sample_ = sample;
  scaled_ = std::max<std::uint64_t>(size_.capacity_bytes / one_in, 1);
  order_->set_budget(scaled_);
  for (Node& node : nodes_) {
    if (node.part == kFreePart || (hash_of(node) & sample) == sample) continue;
    order_->remove(node);
    forget(node);
  }
}

}  // namespace tidegate
