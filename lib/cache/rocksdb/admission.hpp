// Admission: which answers are worth writing, and at which rate.
#pragma once

#include <cstdint>

#include "cache/ghost_list.hpp"
#include "tidegate/disk_cache.hpp"

namespace tidegate::disk {

/// Bytes a second, in bursts of a second's worth. Thread-compatible.
class TokenBucket {
 public:
  /// Starts full. A rate of 0 has no limit.
  TokenBucket(std::uint64_t bytes_per_second, TimePoint now);
  /// Larger than the whole bucket: taken while it is full, and paid for afterwards.
  [[nodiscard]] bool take(std::uint64_t bytes, TimePoint now);

 private:
  const double rate_;
  double tokens_;
  TimePoint last_;
};

enum class Verdict : std::uint8_t { take, seen_once, over_budget };

/// Thread-compatible.
class Admission {
 public:
  Admission(const DiskCacheOptions& options, TimePoint now);
  [[nodiscard]] Verdict judge(const CacheEntry& entry, std::uint64_t bytes, TimePoint now);

 private:
  [[nodiscard]] bool worth_it(const CacheEntry& entry);

  const DiskAdmission policy_;
  const Duration cost_;
  GhostList seen_;
  TokenBucket bucket_;
};

}  // namespace tidegate::disk
