#include "cache/miss_ratio_curve.hpp"

#include <algorithm>
#include <array>
#include <bit>

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
/// All shadows have (1 + 2 + 4 + 8 + 16) / 4 * 3 = 23.25 times the nodes of the real capacity's: 64 bytes each, up to
/// 8 of buckets and 16 of what the policy remembers.
constexpr std::uint64_t kBytesPerNode = 2304;
/// Of the shadow of the real capacity.
constexpr std::uint64_t kMostNodes = 2 * kMostSampled;

std::uint64_t first_sampling(std::uint64_t capacity_bytes) {
  const std::uint64_t entries = std::max<std::uint64_t>(capacity_bytes / kUsualEntry, 1);
  return std::bit_ceil(std::max(kLeastSampling, entries / kMostSampled));
}

ShadowCache::Size size_of(std::uint64_t capacity_bytes, std::uint64_t quarters) {
  const std::uint64_t nodes = std::min(capacity_bytes / MissRatioCurve::kPart / kBytesPerNode, kMostNodes);
  const std::uint64_t capacity = capacity_bytes / 4 * quarters;
  const std::uint64_t usual = capacity / first_sampling(capacity_bytes) / kUsualEntry;
  return {capacity, static_cast<std::uint32_t>(std::max<std::uint64_t>(nodes / 4 * quarters, 1)),
          static_cast<std::uint32_t>(std::bit_ceil(std::clamp<std::uint64_t>(usual, 16, 4 * kMostSampled)))};
}

}  // namespace

std::uint64_t MissRatioCurve::most_bytes(std::uint64_t capacity_bytes) noexcept {
  const std::uint64_t shadows =
      capacity_bytes < kLeastCapacity ? 0 : std::min(capacity_bytes / kPart, kMostNodes * kBytesPerNode);
  return std::max(shadows, heap_charge(sizeof(MissRatioCurve)));
}

MissRatioCurve::MissRatioCurve(std::uint64_t capacity_bytes) {
  const MutexLock lock(mutex_);
  make(capacity_bytes);
}

MissRatioCurve::~MissRatioCurve() = default;

void MissRatioCurve::make(std::uint64_t capacity_bytes) {
  capacity_bytes_ = capacity_bytes;
  if (capacity_bytes < kLeastCapacity) return;
  const std::uint64_t sampling = first_sampling(capacity_bytes);
  const std::uint64_t sample = (sampling - 1) << kSampleShift;
  shadows_.reserve(kPolicies.size() * kQuarters.size());
  for (const CachePolicy policy : kPolicies) {
    for (const std::uint64_t quarters : kQuarters) {
      shadows_.push_back(std::make_unique<ShadowCache>(policy, size_of(capacity_bytes, quarters), sample, sampling));
    }
  }
  sample_.store(sample, std::memory_order_relaxed);
}

void MissRatioCurve::resize(std::uint64_t capacity_bytes) noexcept {
  const MutexLock lock(mutex_);
  if (capacity_bytes == capacity_bytes_) return;
  sample_.store(kNothing, std::memory_order_relaxed);
  // First of all what there was goes: both together may be more than what either may take.
  Shadows().swap(shadows_);
  try {
    make(capacity_bytes);
  } catch (...) {
    Shadows().swap(shadows_);
  }
}

/// One shadow a call: a request waits for none of the others.
void MissRatioCurve::thin_one() {
  const std::uint64_t sample = sample_.load(std::memory_order_relaxed);
  const auto late =
      std::find_if(shadows_.begin(), shadows_.end(), [&](const auto& shadow) { return shadow->sample() != sample; });
  if (late != shadows_.end()) (*late)->thin_out(sample, one_in(sample));
}

void MissRatioCurve::look_up(std::uint64_t hash) {
  const MutexLock lock(mutex_);
  if (!is_sampled(hash)) return;  // not any more
  thin_one();
  for (const auto& shadow : shadows_) shadow->look_up(hash);
}

void MissRatioCurve::store(std::uint64_t hash, std::uint64_t bytes) {
  const MutexLock lock(mutex_);
  if (!is_sampled(hash)) return;
  thin_one();
  const std::uint64_t sample = sample_.load(std::memory_order_relaxed);
  bool full = false;
  for (const auto& shadow : shadows_) {
    // One that has not been thinned out yet has room as soon as it is.
    full = (shadow->store(hash, bytes) == ShadowCache::Stored::no_node && shadow->sample() == sample) || full;
  }
  if (full) sample_.store(sample << 1 | std::uint64_t{1} << kSampleShift, std::memory_order_relaxed);
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
  std::uint64_t bytes = heap_charge(sizeof(MissRatioCurve));
  if (!shadows_.empty()) bytes += heap_charge(shadows_.capacity() * sizeof(void*));
  for (const auto& shadow : shadows_) bytes += shadow->heap_bytes();
  return bytes;
}

}  // namespace tidegate
