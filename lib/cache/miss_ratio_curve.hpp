// MissRatioCurve: what a larger, a smaller or another cache would have hit.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/mutex.hpp"
#include "tidegate/cache.hpp"

namespace tidegate {

/// Shadow caches: eviction policies that hold no answers, at several capacities, fed
/// with a sample of the keys and scaled down alike (Waldspurger et al., "Efficient MRC construction
/// with SHARDS", FAST 2015; Waldspurger et al., "Cache modeling and optimization using miniature
/// simulations", ATC 2017). A key is either always or never in the sample. Lives are not
/// simulated: nothing expires. Thread-safe; a call for a key outside the sample costs a
/// comparison.
class MissRatioCurve {
 public:
  /// `capacity_bytes` of the real cache, >= 1.
  explicit MissRatioCurve(std::uint64_t capacity_bytes);
  ~MissRatioCurve();

  /// `hash` of the key: hash_of, all bits mixed.
  void asked(std::uint64_t hash) {
    if ((hash & sample_mask_) == sample_mask_) look_up(hash);
  }
  void stored(std::uint64_t hash, std::uint64_t bytes) {
    if ((hash & sample_mask_) == sample_mask_) store(hash, bytes);
  }

  /// By policy, then capacity. Counts are of the sample; old ones fade, so that the ratio tells about
  /// the last few hundred thousand requests.
  [[nodiscard]] std::vector<CacheCurvePoint> points() const;

  /// One key in so many is in the sample.
  [[nodiscard]] std::uint64_t sampled_one_in() const noexcept { return (sample_mask_ >> kSampleShift) + 1; }
  [[nodiscard]] std::uint64_t heap_bytes() const;

 private:
  class Shadow;
  /// The sample is drawn by bits that neither the shards nor the index's slots are.
  static constexpr unsigned kSampleShift = 32;

  void look_up(std::uint64_t hash);
  void store(std::uint64_t hash, std::uint64_t bytes);

  const std::uint64_t sample_mask_;
  mutable Mutex mutex_;  // leaf
  std::vector<std::unique_ptr<Shadow>> shadows_ TIDEGATE_GUARDED_BY(mutex_);
};

}  // namespace tidegate
