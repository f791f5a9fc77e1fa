#include "cache/miss_ratio_curve.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <new>
#include <unordered_map>

#include "cache/eviction_policy.hpp"
#include "cache/heap_charge.hpp"

namespace tidegate {
namespace {

constexpr std::array kPolicies{CachePolicy::lru, CachePolicy::s3_fifo, CachePolicy::w_tiny_lfu};
/// Capacities in quarters of the real one.
constexpr std::array<std::uint64_t, 5> kQuarters{1, 2, 4, 8, 16};
constexpr std::uint64_t kLeastSampling = 64;
/// Entries of a usual size (2 KiB) that a shadow of the real capacity holds at most.
constexpr std::uint64_t kUsualEntry = 2048;
constexpr std::uint64_t kMostSampled = 1024;
/// Counts are halved at so many sampled requests.
constexpr std::uint64_t kWindow = 16384;
/// A hash map's entry: hash, number and link, and its bucket.
constexpr std::uint64_t kEntryBytes = heap_charge(3 * sizeof(void*)) + sizeof(void*);
/// No entry weighs less, so that a shadow knows how many it holds at most.
constexpr std::uint64_t kLeastEntry = 64;

std::uint64_t sampled_one_in(std::uint64_t capacity_bytes) {
  const std::uint64_t entries = std::max<std::uint64_t>(capacity_bytes / kUsualEntry, 1);
  return std::bit_ceil(std::max(kLeastSampling, entries / kMostSampled));
}

}  // namespace

/// One policy at one capacity.
class MissRatioCurve::Shadow {
 public:
  Shadow(CachePolicy policy, std::uint64_t capacity, std::uint64_t sampled_one_in)
      : policy_(policy),
        capacity_(capacity),
        scaled_(std::max<std::uint64_t>(capacity / sampled_one_in, 1)),
        order_(make_eviction_policy(policy, static_cast<std::uint32_t>(std::bit_ceil(std::clamp<std::uint64_t>(
                                                scaled_ / kUsualEntry, 16, 4 * kMostSampled))))) {
    order_->set_budget(scaled_);
    // Address space only: the policy's entries must not move.
    nodes_.reserve(scaled_ / kLeastEntry + 2);
  }

  void look_up(std::uint64_t hash) {
    if (++requests_ > kWindow) {
      requests_ /= 2;
      hits_ /= 2;
    }
    const auto found = places_.find(hash);
    if (found == places_.end()) return;
    ++hits_;
    order_->hit(nodes_[found->second]);
  }

  /// An entry that is there keeps its weight.
  void store(std::uint64_t hash, std::uint64_t weight) {
    const std::uint64_t bytes = std::max(weight, kLeastEntry);
    if (bytes > scaled_ || places_.contains(hash)) return;
    EvictionPolicy::Node& node = free_node();
    node.bytes = static_cast<std::uint32_t>(bytes);
    std::memcpy(node.key.data(), &hash, sizeof(hash));
    places_[hash] = static_cast<std::uint32_t>(&node - nodes_.data());
    order_->admit(node);
    while (used_ + bytes > scaled_) {
      EvictionPolicy::Node* const victim = order_->evict(node);
      if (victim == nullptr) {
        forget(node);
        return;
      }
      used_ -= victim->bytes;
      forget(*victim);
    }
    order_->add(node);
    used_ += bytes;
  }

  [[nodiscard]] CacheCurvePoint point() const noexcept { return {policy_, capacity_, requests_, hits_}; }
  [[nodiscard]] std::uint64_t heap_bytes() const noexcept {
    return heap_charge(sizeof(Shadow)) + order_->heap_bytes() +
           nodes_.size() * (sizeof(EvictionPolicy::Node) + sizeof(std::uint32_t)) +
           places_.size() * (kEntryBytes + order_->bytes_per_entry());
  }

 private:
  [[nodiscard]] EvictionPolicy::Node& free_node() {
    if (free_.empty()) return nodes_.emplace_back();
    EvictionPolicy::Node& node = nodes_[free_.back()];
    free_.pop_back();
    return node = {};
  }

  void forget(const EvictionPolicy::Node& node) {
    std::uint64_t hash = 0;
    std::memcpy(&hash, node.key.data(), sizeof(hash));
    places_.erase(hash);
    free_.push_back(static_cast<std::uint32_t>(&node - nodes_.data()));
  }

  const CachePolicy policy_;
  const std::uint64_t capacity_;  ///< of the cache it stands for
  const std::uint64_t scaled_;    ///< its own
  const std::unique_ptr<EvictionPolicy> order_;
  std::unordered_map<std::uint64_t, std::uint32_t> places_;  ///< in nodes_, by hash of the key
  std::vector<EvictionPolicy::Node> nodes_;                  ///< their keys are the hashes
  std::vector<std::uint32_t> free_;                          ///< of nodes_
  std::uint64_t used_ = 0;
  std::uint64_t requests_ = 0;
  std::uint64_t hits_ = 0;
};

MissRatioCurve::MissRatioCurve(std::uint64_t capacity_bytes)
    : sample_mask_((tidegate::sampled_one_in(capacity_bytes) - 1) << kSampleShift) {
  for (const CachePolicy policy : kPolicies) {
    for (const std::uint64_t quarters : kQuarters) {
      const std::uint64_t capacity = std::max<std::uint64_t>(capacity_bytes / 4, 1) * quarters;
      shadows_.push_back(std::make_unique<Shadow>(policy, capacity, sampled_one_in()));
    }
  }
}

MissRatioCurve::~MissRatioCurve() = default;

void MissRatioCurve::look_up(std::uint64_t hash) {
  const MutexLock lock(mutex_);
  for (const auto& shadow : shadows_) shadow->look_up(hash);
}

void MissRatioCurve::store(std::uint64_t hash, std::uint64_t bytes) {
  const MutexLock lock(mutex_);
  for (const auto& shadow : shadows_) shadow->store(hash, bytes);
}

std::vector<CacheCurvePoint> MissRatioCurve::points() const {
  std::vector<CacheCurvePoint> points;
  const MutexLock lock(mutex_);
  points.reserve(shadows_.size());
  for (const auto& shadow : shadows_) points.push_back(shadow->point());
  return points;
}

std::uint64_t MissRatioCurve::heap_bytes() const {
  const MutexLock lock(mutex_);
  std::uint64_t bytes = heap_charge(sizeof(MissRatioCurve)) + heap_charge(shadows_.capacity() * sizeof(void*));
  for (const auto& shadow : shadows_) bytes += shadow->heap_bytes();
  return bytes;
}

}  // namespace tidegate
