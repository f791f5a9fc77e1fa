// MissRatioCurve: what a larger, a smaller or another cache would have hit.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/mutex.hpp"
#include "cache/shadow_cache.hpp"

namespace tidegate {

/// Shadow caches: eviction policies that hold no answers, at several capacities, fed
/// with a sample of the keys and scaled down alike (Waldspurger et al., "Efficient MRC construction
/// with SHARDS", FAST 2015; Waldspurger et al., "Cache modeling and optimization using miniature
/// simulations", ATC 2017). A key is either always or never in the sample, which is halved
/// whenever the shadows have no room for it: their memory is taken when they are made. Lives are not
/// simulated: nothing expires. Thread-safe; a call for a key outside the sample costs a
/// comparison.
class MissRatioCurve {
 public:
  /// It takes this part of the cache's budget at most,
  static constexpr std::uint64_t kPart = 20;
  /// and nothing of a smaller one: it would tell too little.
  static constexpr std::uint64_t kLeastCapacity = 8ULL << 20;

  /// What it takes for a cache of this capacity, rounded up.
  [[nodiscard]] static std::uint64_t most_bytes(std::uint64_t capacity_bytes) noexcept;

  /// `capacity_bytes` of the real cache. Throws std::bad_alloc.
  explicit MissRatioCurve(std::uint64_t capacity_bytes);
  ~MissRatioCurve();

  /// Begins anew for a cache of another size. Where there is no memory for that, it tells nothing from now on.
  void resize(std::uint64_t capacity_bytes) noexcept;

  /// `hash` of the key: hash_of, all bits mixed.
  void asked(std::uint64_t hash) {
    if (is_sampled(hash)) look_up(hash);
  }
  void stored(std::uint64_t hash, std::uint64_t bytes) {
    if (is_sampled(hash)) store(hash, bytes);
  }

  /// By policy, then capacity; none below kLeastCapacity. Counts are of the sample; old ones fade, so that the ratio
  /// tells about the last few hundred thousand requests.
  [[nodiscard]] std::vector<CacheCurvePoint> points() const;

  /// One key in so many is in the sample.
  [[nodiscard]] std::uint64_t sampled_one_in() const noexcept {
    return one_in(sample_.load(std::memory_order_relaxed));
  }
  /// Changes with `resize` only.
  [[nodiscard]] std::uint64_t heap_bytes() const;

 private:
  using Shadows = std::vector<std::unique_ptr<ShadowCache>>;
  /// The sample is drawn by bits that neither the shards nor the index's slots are.
  static constexpr unsigned kSampleShift = 32;
  static constexpr std::uint64_t kNothing = ~std::uint64_t{0};

  [[nodiscard]] static constexpr std::uint64_t one_in(std::uint64_t sample) noexcept {
    return (sample >> kSampleShift) + 1;
  }
  [[nodiscard]] bool is_sampled(std::uint64_t hash) const noexcept {
    const std::uint64_t sample = sample_.load(std::memory_order_relaxed);
    return (hash & sample) == sample;
  }
  void look_up(std::uint64_t hash);
  void store(std::uint64_t hash, std::uint64_t bytes);
  void make(std::uint64_t capacity_bytes) TIDEGATE_REQUIRES(mutex_);
  void thin_one() TIDEGATE_REQUIRES(mutex_);

  std::atomic<std::uint64_t> sample_{kNothing};  ///< relaxed: bits that are set in the sample's hashes
  mutable Mutex mutex_;                          // leaf
  std::uint64_t capacity_bytes_ TIDEGATE_GUARDED_BY(mutex_) = 0;
  Shadows shadows_ TIDEGATE_GUARDED_BY(mutex_);
};

}  // namespace tidegate
