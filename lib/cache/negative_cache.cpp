#include "cache/negative_cache.hpp"

#include <new>

#include "cache/heap_charge.hpp"

namespace tidegate {
namespace {

/// List node and hash node, each with two links or a link and the hash.
constexpr std::uint64_t kEntryBytes = 2 * heap_charge(sizeof(CacheKey) + 8 * sizeof(void*)) + 64;

}  // namespace

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
  const MutexLock lock(mutex_);
  if (bytes > capacity_bytes_ || !make_table() || bytes + used_bytes() - bytes_ > capacity_bytes_) return;
  const auto old = by_key_.find(key);
  if (old != by_key_.end()) drop(old->second);
  while (used_bytes() + bytes > capacity_bytes_) drop(std::prev(entries_.end()));
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

/// It never grows: the bucket of each entry that may be is there.
bool NegativeCache::make_table() noexcept {
  if (by_key_.bucket_count() > 1) return true;
  try {
    by_key_.reserve(capacity_bytes_ / (kEntryBytes + sizeof(void*)));
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

std::uint64_t NegativeCache::used_bytes() const {
  const std::uint64_t buckets = by_key_.bucket_count();
  return bytes_ + (buckets > 1 ? heap_charge(buckets * sizeof(void*)) : 0);
}

void NegativeCache::resize(std::uint64_t capacity_bytes) {
  const MutexLock lock(mutex_);
  if (capacity_bytes == capacity_bytes_) return;
  capacity_bytes_ = capacity_bytes;
  if (by_key_.bucket_count() <= 1) return;
  const std::uint64_t most = capacity_bytes / (kEntryBytes + sizeof(void*));
  while (entries_.size() > most) drop(std::prev(entries_.end()));
  // The buckets as new, for as many as may be from now on.
  Table().swap(by_key_);
  try {
    by_key_.reserve(most);
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) by_key_.emplace(entry->key, entry);
  } catch (const std::bad_alloc&) {
    while (!entries_.empty()) drop(entries_.begin());
  }
  while (!entries_.empty() && used_bytes() > capacity_bytes) drop(std::prev(entries_.end()));
  // Not even the buckets fit.
  if (used_bytes() > capacity_bytes) Table().swap(by_key_);
}

void NegativeCache::clear() {
  const MutexLock lock(mutex_);
  while (!entries_.empty()) drop(entries_.begin());
  Table().swap(by_key_);
}

std::uint64_t NegativeCache::bytes() const {
  const MutexLock lock(mutex_);
  return used_bytes();
}

void NegativeCache::drop(Entries::iterator entry) {
  bytes_ -= entry->bytes;
  by_key_.erase(entry->key);
  entries_.erase(entry);
  count_.store(entries_.size(), std::memory_order_relaxed);
}

}  // namespace tidegate
