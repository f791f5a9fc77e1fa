#include "cache/negative_cache.hpp"

#include <new>

#include "cache/heap_charge.hpp"
#include "cache/key_hash.hpp"

namespace tidegate {
namespace {

/// List node, hash node and bucket.
constexpr std::uint64_t kEntryBytes = 2 * heap_charge(sizeof(CacheKey) + 8 * sizeof(void*)) + 64;

}  // namespace

std::size_t NegativeCache::KeyHash::operator()(const CacheKey& key) const noexcept { return hash_of(key); }

std::optional<Error> NegativeCache::find(const CacheKey& key, TimePoint now) {
  if (empty()) return std::nullopt;
  const MutexLock lock(mutex_);
  while (!entries_.empty() && entries_.back().expires_at <= now) drop(std::prev(entries_.end()));
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return std::nullopt;
  return found->second->error;
}

void NegativeCache::put(const CacheKey& key, const Error& error, TimePoint now) noexcept {
  if (time_to_live_ <= Duration::zero()) return;
  if (error.code() != ErrorCode::invalid_argument && error.code() != ErrorCode::too_large) return;
  const std::uint64_t bytes = kEntryBytes + heap_charge(error.message().size());
  if (bytes > capacity_bytes_) return;
  const MutexLock lock(mutex_);
  const auto old = by_key_.find(key);
  if (old != by_key_.end()) drop(old->second);
  while (bytes_ + bytes > capacity_bytes_) drop(std::prev(entries_.end()));
  try {
    entries_.push_front({key, error, now + time_to_live_, bytes});
  } catch (const std::bad_alloc&) {
    return;
  }
  try {
    by_key_.emplace(key, entries_.begin());
  } catch (const std::bad_alloc&) {
    entries_.pop_front();
    return;
  }
  bytes_ += bytes;
  count_.store(entries_.size(), std::memory_order_relaxed);
}

void NegativeCache::erase(const CacheKey& key) {
  if (empty()) return;
  const MutexLock lock(mutex_);
  const auto found = by_key_.find(key);
  if (found != by_key_.end()) drop(found->second);
}

void NegativeCache::clear() {
  const MutexLock lock(mutex_);
  while (!entries_.empty()) drop(entries_.begin());
}

std::uint64_t NegativeCache::bytes() const {
  const MutexLock lock(mutex_);
  return bytes_;
}

void NegativeCache::drop(Entries::iterator entry) {
  bytes_ -= entry->bytes;
  by_key_.erase(entry->key);
  entries_.erase(entry);
  count_.store(entries_.size(), std::memory_order_relaxed);
}

}  // namespace tidegate
