#include "cache/rocksdb/admission.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace tidegate::disk {
namespace {

/// As many keys are remembered as answers of 2 KiB would fit.
std::uint32_t remembered_keys(std::uint64_t capacity) {
  return static_cast<std::uint32_t>(std::bit_ceil(std::clamp<std::uint64_t>(capacity / 2048, 1024, 1 << 20)));
}

std::uint32_t fingerprint_of(const CacheKey& key) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, key.data() + 16, sizeof(bits));
  return bits;
}

}  // namespace

TokenBucket::TokenBucket(std::uint64_t bytes_per_second, TimePoint now)
    : rate_(static_cast<double>(bytes_per_second)), tokens_(rate_), last_(now) {}

bool TokenBucket::take(std::uint64_t bytes, TimePoint now) {
  if (rate_ == 0) return true;
  if (now > last_) {
    const double seconds = std::chrono::duration<double>(now - last_).count();
    tokens_ = std::min(rate_, tokens_ + seconds * rate_);
    last_ = now;
  }
  const auto wanted = static_cast<double>(bytes);
  if (tokens_ < std::min(wanted, rate_)) return false;
  tokens_ -= wanted;
  return true;
}

Admission::Admission(const DiskCacheOptions& options, TimePoint now)
    : policy_(options.admission),
      cost_(options.admit_cost),
      seen_(policy_ == DiskAdmission::seen_twice ? remembered_keys(options.capacity_bytes) : 1),
      bucket_(options.write_bytes_per_second, now) {}

Verdict Admission::judge(const CacheEntry& entry, std::uint64_t bytes, TimePoint now) {
  if (policy_ == DiskAdmission::seen_twice && !worth_it(entry)) return Verdict::seen_once;
  return bucket_.take(bytes, now) ? Verdict::take : Verdict::over_budget;
}

bool Admission::worth_it(const CacheEntry& entry) {
  if (cost_ > Duration::zero() && entry.recompute_cost >= cost_) return true;
  const std::uint32_t fingerprint = fingerprint_of(entry.key);
  if (seen_.take(fingerprint)) return true;
  seen_.insert(fingerprint, 1, ~std::uint64_t{0});
  return false;
}

}  // namespace tidegate::disk
