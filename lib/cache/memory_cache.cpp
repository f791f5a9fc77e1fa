#include "cache/memory_cache.hpp"

#include <algorithm>
#include <bit>

#include "base/mutex.hpp"
#include "cache/heap_charge.hpp"
#include "cache/key_index.hpp"

namespace tidegate {
namespace {

constexpr std::uint64_t kSmallestShare = 4096;
/// The policy remembers a key for every 2 KiB: as many as there are entries where
/// answers are small vectors, for about 1 % of the budget.
constexpr std::uint64_t kBytesPerRememberedKey = 2048;
/// The index starts fit for entries of 4 KiB and grows where they are smaller.
constexpr std::uint64_t kBytesPerFirstSlot = 4096;
constexpr std::uint64_t kLargestEntryPart = 8;
/// The curve takes a twentieth of the budget; below this its fixed part would be more.
constexpr std::uint64_t kCurvePart = 20;
constexpr std::uint64_t kLeastWithCurve = 8ULL << 20;
/// make_shared puts the vector beside two counters and a virtual table pointer.
constexpr std::uint64_t kBlockHolderBytes = sizeof(std::vector<std::byte>) + 16;

constexpr std::uint32_t remembered_keys(std::uint64_t share) {
  return static_cast<std::uint32_t>(
      std::bit_ceil(std::clamp<std::uint64_t>(share / kBytesPerRememberedKey, 16, 1U << 30)));
}

constexpr std::size_t first_slots(std::uint64_t share) {
  return std::bit_ceil(std::max<std::uint64_t>(share / kBytesPerFirstSlot, 16));
}

constexpr std::uint32_t fingerprint_of(std::uint64_t hash) { return static_cast<std::uint32_t>(hash >> 24); }

TimePoint later(TimePoint now, Duration life) { return life > TimePoint::max() - now ? TimePoint::max() : now + life; }

/// Entries taken out under a lock and freed after it: a block's release may run a
/// deleter that is not ours.
class RetiredEntries {
 public:
  RetiredEntries() = default;
  RetiredEntries(const RetiredEntries&) = delete;
  RetiredEntries& operator=(const RetiredEntries&) = delete;
  ~RetiredEntries() {
    while (newest_ != nullptr) {
      const std::unique_ptr<MemoryEntry> dying(newest_);
      newest_ = static_cast<MemoryEntry*>(dying->older);
    }
  }

  void add(std::unique_ptr<MemoryEntry> entry) noexcept {
    entry->older = newest_;
    newest_ = entry.release();
  }

 private:
  MemoryEntry* newest_ = nullptr;  ///< linked through `older`
};

}  // namespace

/// Its own cache line, so that two threads in two shards do not share one.
class alignas(64) MemoryCache::Shard {
 public:
  Shard(std::uint64_t share, Staleness staleness, std::unique_ptr<EvictionPolicy> order)
      : staleness_(staleness),
        fixed_bytes_(heap_charge(sizeof(Shard)) + sizeof(void*) + order->heap_bytes()),
        bytes_per_entry_(order->bytes_per_entry()),
        share_(share),
        index_(first_slots(share)),
        order_(std::move(order)) {
    set_order_budget();
  }

  std::optional<MemoryHit> find(const CacheKey& key, std::uint64_t hash, const Clock& clock) {
    RetiredEntries retired;
    const MutexLock lock(mutex_);
    // The slot comes from memory while the clock is read.
    index_.prefetch(hash);
    const TimePoint now = clock.now();
    MemoryEntry* entry = index_.find(key, hash);
    if (entry == nullptr) {
      ++stats_.misses;
      return std::nullopt;
    }
    if (entry->expires_at <= now) {
      ++stats_.misses;
      ++stats_.expired;
      retire(*entry, retired);
      return std::nullopt;
    }
    ++stats_.hits;
    order_->hit(*entry);
    return MemoryHit{{key, entry->record, entry->expires_at - now}, age_of(*entry, now)};
  }

  void put(const CacheEntry& source, std::uint64_t hash, TimePoint now) {
    auto entry = std::make_unique<MemoryEntry>();
    entry->key = source.key;
    entry->record = source.record;
    entry->expires_at = later(now, source.time_to_live);
    entry->stale_at = std::max(now, entry->expires_at - staleness_.window);
    entry->bytes = charge_of(source.record) + bytes_per_entry_;
    entry->fingerprint = fingerprint_of(hash);

    RetiredEntries retired;
    const MutexLock lock(mutex_);
    MemoryEntry* old = index_.find(source.key, hash);
    const bool fits = entry->bytes <= share_ / kLargestEntryPart;
    if (old != nullptr) {
      // A newer answer inherits the place its key has earned. Where it is too large,
      // the older one must not outlive it.
      entry->part = old->part;
      entry->frequency = old->frequency;
      retire(*old, retired);
    } else if (fits) {
      order_->admit(*entry);
    }
    if (!fits || !make_room(*entry, retired)) {
      ++stats_.rejected;
      return;
    }
    ++stats_.inserted;
    order_->add(*entry);
    weight_ += entry->bytes;
    index_.insert(hash, std::move(entry));
  }

  void erase(const CacheKey& key, std::uint64_t hash) {
    RetiredEntries retired;
    const MutexLock lock(mutex_);
    if (MemoryEntry* entry = index_.find(key, hash)) retire(*entry, retired);
  }

  void resize(std::uint64_t share) {
    RetiredEntries retired;
    const MutexLock lock(mutex_);
    share_ = share;
    set_order_budget();
    const EvictionPolicy::Node nobody;
    while (index_.count() > 0 && used_bytes() > share_) {
      EvictionPolicy::Node* const victim = order_->evict(nobody);
      if (victim == nullptr) {  // the policy would rather turn the newcomer away
        retire(*index_.any(), retired);
      } else {
        weight_ -= victim->bytes;
        retired.add(index_.remove(static_cast<MemoryEntry&>(*victim)));
      }
      ++stats_.evicted;
    }
  }

  void clear() {
    RetiredEntries retired;
    const MutexLock lock(mutex_);
    std::vector<MemoryEntry*> all;
    all.reserve(index_.count());
    index_.for_each([&](MemoryEntry& entry) { all.push_back(&entry); });
    for (MemoryEntry* const entry : all) retire(*entry, retired);
  }

  [[nodiscard]] std::vector<CacheEntry> entries(TimePoint now) const {
    std::vector<CacheEntry> all;
    const MutexLock lock(mutex_);
    all.reserve(index_.count());
    index_.for_each([&](const MemoryEntry& entry) {
      if (entry.expires_at > now) all.push_back({entry.key, entry.record, entry.expires_at - now});
    });
    return all;
  }

  void add_to(CacheTierStats& total) const {
    const MutexLock lock(mutex_);
    total.hits += stats_.hits;
    total.misses += stats_.misses;
    total.expired += stats_.expired;
    total.stale += stats_.stale;
    total.inserted += stats_.inserted;
    total.evicted += stats_.evicted;
    total.rejected += stats_.rejected;
    total.entries += index_.count();
    total.bytes += used_bytes();
  }

 private:
  [[nodiscard]] std::uint64_t used_bytes() const TIDEGATE_REQUIRES(mutex_) {
    return fixed_bytes_ + index_.heap_bytes() + weight_;
  }

  void retire(MemoryEntry& entry, RetiredEntries& retired) TIDEGATE_REQUIRES(mutex_) {
    order_->remove(entry);
    weight_ -= entry.bytes;
    retired.add(index_.remove(entry));
  }

  /// Evicts until `incoming` fits, with the larger index it may need: while
  /// an index grows, both copies count. False if it cannot fit or
  /// the policy keeps what is there.
  bool make_room(const MemoryEntry& incoming, RetiredEntries& retired) TIDEGATE_REQUIRES(mutex_) {
    for (;;) {
      const std::uint64_t growth = index_.full() ? index_.heap_bytes_grown() : 0;
      if (used_bytes() + growth + incoming.bytes <= share_) break;
      EvictionPolicy::Node* victim = order_->evict(incoming);
      if (victim == nullptr) return false;
      ++stats_.evicted;
      weight_ -= victim->bytes;
      retired.add(index_.remove(static_cast<MemoryEntry&>(*victim)));
    }
    if (index_.full()) {
      index_.grow();
      set_order_budget();
    }
    return true;
  }

  void set_order_budget() TIDEGATE_REQUIRES(mutex_) {
    const std::uint64_t bookkeeping = fixed_bytes_ + index_.heap_bytes();
    order_->set_budget(share_ > bookkeeping ? share_ - bookkeeping : 0);
  }

  /// The first asker of a stale entry renews it, and the next one if that takes too long.
  [[nodiscard]] MemoryHit::Age age_of(MemoryEntry& entry, TimePoint now) TIDEGATE_REQUIRES(mutex_) {
    if (staleness_.window == Duration::zero() || now < entry.expires_at - staleness_.window) {
      return MemoryHit::Age::fresh;
    }
    ++stats_.stale;
    if (now < entry.stale_at) return MemoryHit::Age::stale;
    entry.stale_at = later(now, staleness_.renewal);
    return MemoryHit::Age::to_be_renewed;
  }

  const Staleness staleness_;
  const std::uint64_t fixed_bytes_;      ///< this object and its policy's
  const std::uint64_t bytes_per_entry_;  ///< the policy's
  mutable Mutex mutex_;                  // leaf, but for a lock the clock's now() may take; no entry is freed under it
  std::uint64_t share_ TIDEGATE_GUARDED_BY(mutex_);  ///< bytes
  KeyIndex index_ TIDEGATE_GUARDED_BY(mutex_);
  std::unique_ptr<EvictionPolicy> order_ TIDEGATE_GUARDED_BY(mutex_);
  std::uint64_t weight_ TIDEGATE_GUARDED_BY(mutex_) = 0;  ///< of all entries
  CacheTierStats stats_ TIDEGATE_GUARDED_BY(mutex_);      ///< entries and bytes unused: counted when asked
};

MemoryCache::MemoryCache(MemoryCacheOptions options, std::shared_ptr<Clock> clock)
    : MemoryCache(options, std::move(clock), Staleness{}) {}

MemoryCache::MemoryCache(MemoryCacheOptions options, std::shared_ptr<Clock> clock, Staleness staleness)
    : clock_(std::move(clock)),
      off_(options.capacity_bytes == 0),
      capacity_bytes_(options.capacity_bytes),
      curve_(options.curve == CacheCurve::on && options.capacity_bytes >= kLeastWithCurve
                 ? std::make_unique<MissRatioCurve>(options.capacity_bytes)
                 : nullptr) {
  const std::uint64_t capacity = for_entries(options.capacity_bytes);
  std::uint64_t shards = std::bit_floor(std::clamp<std::uint32_t>(options.shards, 1, 256));
  while (shards > 1 && capacity / shards < kSmallestShare) shards /= 2;
  const std::uint64_t share = capacity / shards;
  if (share < kSmallestShare) return;
  shards_.reserve(shards);
  for (std::uint64_t i = 0; i < shards; ++i) {
    shards_.push_back(
        std::make_unique<Shard>(share, staleness, make_eviction_policy(options.policy, remembered_keys(share))));
  }
}

MemoryCache::~MemoryCache() = default;

MemoryCache::Shard* MemoryCache::shard_of(std::uint64_t hash) const noexcept {
  // The index uses the low bits; the high ones leave it all of its slots.
  return shards_.empty() ? nullptr : shards_[(hash >> 56) & (shards_.size() - 1)].get();
}

/// What is left of a budget beside the curve's part.
std::uint64_t MemoryCache::for_entries(std::uint64_t capacity) const noexcept {
  return curve_ != nullptr ? capacity - capacity / kCurvePart : capacity;
}

std::optional<MemoryHit> MemoryCache::find(const CacheKey& key) {
  const std::uint64_t hash = hash_of(key);
  Shard* shard = shard_of(hash);
  if (shard == nullptr) return std::nullopt;
  if (curve_ != nullptr) curve_->asked(hash);
  return shard->find(key, hash, *clock_);
}

std::optional<CacheEntry> MemoryCache::get(const CacheKey& key) {
  auto hit = find(key);
  return hit ? std::optional(std::move(hit->entry)) : std::nullopt;
}

void MemoryCache::resize(std::uint64_t capacity_bytes) {
  if (shards_.empty()) return;
  const std::uint64_t share = for_entries(std::min(capacity_bytes, capacity_bytes_)) / shards_.size();
  for (const auto& shard : shards_) shard->resize(share);
}

void MemoryCache::clear() {
  for (const auto& shard : shards_) shard->clear();
}

void MemoryCache::for_each(const std::function<void(const CacheEntry&)>& visit) const {
  for (const auto& shard : shards_) {
    for (const CacheEntry& entry : shard->entries(clock_->now())) visit(entry);
  }
}

std::vector<CacheCurvePoint> MemoryCache::curve() const {
  return curve_ != nullptr ? curve_->points() : std::vector<CacheCurvePoint>();
}

void MemoryCache::put(const CacheEntry& entry) {
  if (off_ || entry.time_to_live <= Duration::zero()) return;
  const std::uint64_t hash = hash_of(entry.key);
  if (Shard* shard = shard_of(hash)) {
    if (curve_ != nullptr) curve_->stored(hash, charge_of(entry.record));
    shard->put(entry, hash, clock_->now());
  } else {
    refused_.fetch_add(1, std::memory_order_relaxed);
  }
}

void MemoryCache::erase(const CacheKey& key) {
  const std::uint64_t hash = hash_of(key);
  if (Shard* shard = shard_of(hash)) shard->erase(key, hash);
}

void MemoryCache::get_many(std::span<const CacheKey> keys, Deadline /*deadline*/, Lookup done) {
  std::vector<std::optional<CacheEntry>> found;
  found.reserve(keys.size());
  for (const CacheKey& key : keys) found.push_back(get(key));
  done(std::move(found));
}

void MemoryCache::put_many(std::span<const CacheEntry> entries) {
  for (const CacheEntry& entry : entries) put(entry);
}

void MemoryCache::erase_many(std::span<const CacheKey> keys) {
  for (const CacheKey& key : keys) erase(key);
}

CacheTierStats MemoryCache::stats() const {
  CacheTierStats total;
  for (const auto& shard : shards_) shard->add_to(total);
  total.rejected += refused_.load(std::memory_order_relaxed);
  if (curve_ != nullptr) total.bytes += curve_->heap_bytes();
  return total;
}

std::uint64_t MemoryCache::charge_of(const CacheRecord& record) noexcept {
  std::uint64_t bytes = heap_charge(sizeof(MemoryEntry));
  if (record.block()) bytes += heap_charge(kBlockHolderBytes) + heap_charge(record.block()->capacity());
  return bytes;
}

}  // namespace tidegate
