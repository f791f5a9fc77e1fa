// ReuseCurve: how many hits each further part of a memory tier would bring.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/mutex.hpp"

namespace tidegate {

/// Distances between two requests for one key, in bytes of the answers asked for in between: an LRU cache
/// of at least so many bytes would have hit. Taken of a sample of the keys, which is thinned out whenever it has
/// more than a fixed number of them (Waldspurger et al., "Efficient MRC Construction with SHARDS",
/// FAST 2015, fixed-size variant), so that its memory is fixed. Thread-safe; a call for a key outside the sample
/// costs a comparison.
class ReuseCurve {
 public:
  static constexpr std::size_t kParts = 64;
  /// What would have been found with the first, the second, ... part of the reach, in requests.
  struct Hits {
    std::array<double, kParts> by_part{};
    double weight = 1;  ///< requests that one sampled request stands for
  };

  /// `reach_bytes`: longest distance that is told; `keys`: most in the sample.
  ReuseCurve(std::uint64_t reach_bytes, std::uint32_t keys);

  /// `hash` of the key: hash_of, all bits mixed.
  void asked(std::uint64_t hash) {
    if (is_sampled(hash)) look_up(hash);
  }
  void stored(std::uint64_t hash, std::uint64_t bytes) {
    if (is_sampled(hash)) store(hash, bytes);
  }

  [[nodiscard]] Hits hits() const;
  /// What was counted so far counts for so much from now on.
  void fade(double factor);

  [[nodiscard]] std::uint64_t part_bytes() const noexcept { return part_bytes_; }
  /// What one with so many keys takes at most.
  [[nodiscard]] static std::uint64_t heap_bytes(std::uint32_t keys) noexcept;

 private:
  static constexpr std::uint32_t kNone = ~0U;
  static constexpr std::uint32_t kAllKeys = 1U << 16;
  struct Sampled {
    std::uint64_t hash = 0;
    std::uint64_t bytes = 0;
  };

  /// By bits that choose neither shard nor slot of an index.
  [[nodiscard]] static std::uint32_t draw(std::uint64_t hash) noexcept {
    return static_cast<std::uint32_t>(hash >> 40) & (kAllKeys - 1);
  }
  [[nodiscard]] bool is_sampled(std::uint64_t hash) const noexcept {
    return draw(hash) < threshold_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] double weight() const noexcept {
    return static_cast<double>(kAllKeys) / threshold_.load(std::memory_order_relaxed);
  }

  void look_up(std::uint64_t hash);
  void store(std::uint64_t hash, std::uint64_t bytes);
  /// Puts a key behind all others.
  void append(const Sampled& key) TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] Sampled take_out(std::uint32_t place) TIDEGATE_REQUIRES(mutex_);
  void forget(std::uint32_t place) TIDEGATE_REQUIRES(mutex_);
  void thin_out() TIDEGATE_REQUIRES(mutex_);
  void close_gaps() TIDEGATE_REQUIRES(mutex_);
  void add_bytes(std::uint32_t place, std::uint64_t bytes) TIDEGATE_REQUIRES(mutex_);
  /// Of the keys at places 0 to `place`.
  [[nodiscard]] std::uint64_t bytes_until(std::uint32_t place) const TIDEGATE_REQUIRES(mutex_);

  const std::uint64_t part_bytes_;
  const std::uint32_t most_keys_;
  std::atomic<std::uint32_t> threshold_;  ///< relaxed: a key seen by an older one is dropped with the next thinning
  mutable Mutex mutex_;                   // leaf
  std::unordered_map<std::uint64_t, std::uint32_t> places_ TIDEGATE_GUARDED_BY(mutex_);  ///< by hash
  /// In the order of their last request, with gaps (bytes 0); twice as many as keys.
  std::vector<Sampled> order_ TIDEGATE_GUARDED_BY(mutex_);
  std::vector<std::uint64_t> sums_ TIDEGATE_GUARDED_BY(mutex_);  ///< Fenwick tree over their bytes
  std::uint32_t first_ TIDEGATE_GUARDED_BY(mutex_) = 0;          ///< no key is before it
  std::uint32_t end_ TIDEGATE_GUARDED_BY(mutex_) = 0;
  std::uint64_t bytes_ TIDEGATE_GUARDED_BY(mutex_) = 0;
  std::array<double, kParts> hits_ TIDEGATE_GUARDED_BY(mutex_){};
};

}  // namespace tidegate
