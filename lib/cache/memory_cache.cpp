#include "cache/memory_cache.hpp"

#include <algorithm>
#include <bit>

#include "base/wall_time.hpp"
#include "cache/key_hash.hpp"
#include "request/record_codec.hpp"

namespace tidegate {
namespace {

constexpr std::uint64_t kSmallestShare = 4096;

/// What of a record is kept, and what its header says it took.
struct Kept {
  std::span<const std::byte> bytes;
  bool plain = true;
  Duration recompute_cost{0};
};

Kept kept_of(const CacheKey& key, const CacheRecord& record) noexcept {
  const std::span<const std::byte> bytes = record.bytes();
  const auto facts = record_facts(key, bytes);
  if (!facts) return {bytes};
  return {bytes.subspan(kRecordHeaderBytes), false, facts->recompute_cost};
}

/// Slots for look-ups without a lock take up to a 256th of the budget.
constexpr std::uint64_t kBytesPerLine = 256 * sizeof(ReadSlots::Line);

std::uint32_t lines_for(std::uint64_t capacity) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(capacity / kBytesPerLine, kThreadNumbers));
}

CacheEntry entry_of(const MemoryHit& hit, TimePoint now) {
  // It was alive when it was found.
  const Duration life = std::max(hit.expires_at - now, Duration(1));
  return {hit.value.key(), hit.value.record(unix_milliseconds_after(life)), life, hit.value.recompute_cost()};
}

}  // namespace

MemoryCache::MemoryCache(MemoryCacheOptions options, std::shared_ptr<Clock> clock)
    : MemoryCache(options, std::move(clock), Staleness{}) {}

MemoryCache::MemoryCache(MemoryCacheOptions options, std::shared_ptr<Clock> clock, Staleness staleness)
    : clock_(std::move(clock)),
      off_(options.capacity_bytes == 0),
      capacity_bytes_(options.capacity_bytes),
      curve_(options.curve == CacheCurve::on && options.capacity_bytes >= MissRatioCurve::kLeastCapacity
                 ? std::make_unique<MissRatioCurve>(options.capacity_bytes)
                 : nullptr) {
  const std::uint64_t capacity = for_entries(options.capacity_bytes);
  std::uint64_t shards = std::bit_floor(std::clamp<std::uint32_t>(options.shards, 1, 256));
  while (shards > 1 && capacity / shards < kSmallestShare) shards /= 2;
  const std::uint64_t share = capacity / shards;
  if (share < kSmallestShare) return;
  room_.store(capacity, std::memory_order_relaxed);
  slots_ = std::make_shared<ReadSlots>(lines_for(options.capacity_bytes), static_cast<std::uint32_t>(shards));
  shards_.reserve(shards);
  for (std::uint64_t i = 0; i < shards; ++i) {
    shards_.push_back(MemoryShard::create(share, options.policy, staleness, slots_));
  }
}

MemoryCache::~MemoryCache() = default;

MemoryShard* MemoryCache::shard_of(std::uint64_t hash) const noexcept {
  // The index uses the low bits; the high ones leave it all of its slots.
  return shards_.empty() ? nullptr : shards_[(hash >> 56) & (shards_.size() - 1)].get();
}

std::uint64_t MemoryCache::for_entries(std::uint64_t capacity) const {
  return curve_ != nullptr ? capacity - std::min(capacity, curve_->heap_bytes()) : capacity;
}

std::optional<MemoryHit> MemoryCache::find(const CacheKey& key) {
  const std::uint64_t hash = hash_of(key);
  MemoryShard* shard = shard_of(hash);
  if (shard == nullptr) return std::nullopt;
  if (curve_ != nullptr) curve_->asked(hash);
  return shard->find(key, hash, *clock_);
}

std::optional<CacheEntry> MemoryCache::get(const CacheKey& key) {
  const auto hit = find(key);
  return hit ? std::optional(entry_of(*hit, clock_->now())) : std::nullopt;
}

void MemoryCache::resize(std::uint64_t capacity_bytes) {
  if (shards_.empty()) return;
  const std::uint64_t capacity = std::min(capacity_bytes, capacity_bytes_);
  if (curve_ != nullptr) {
    // Entries make room before a curve is made for the new budget, and take then what it leaves.
    const std::uint64_t left = capacity - std::min(capacity, MissRatioCurve::most_bytes(capacity));
    if (room_.load(std::memory_order_relaxed) > left) {
      for (const auto& shard : shards_) shard->resize(left / shards_.size());
    }
    curve_->resize(capacity);
  }
  const std::uint64_t share = for_entries(capacity) / shards_.size();
  room_.store(share * shards_.size(), std::memory_order_relaxed);
  for (const auto& shard : shards_) shard->resize(share);
}

std::vector<CacheCurvePoint> MemoryCache::curve() const {
  return curve_ != nullptr ? curve_->points() : std::vector<CacheCurvePoint>();
}

void MemoryCache::put(const CacheEntry& entry) {
  if (off_ || entry.time_to_live <= Duration::zero()) return;
  const std::uint64_t hash = hash_of(entry.key);
  if (MemoryShard* shard = shard_of(hash)) {
    const Kept kept = kept_of(entry.key, entry.record);
    const Duration cost = entry.recompute_cost > Duration::zero() ? entry.recompute_cost : kept.recompute_cost;
    if (curve_ != nullptr) curve_->stored(hash, MemoryShard::charge_of(kept.bytes.size()));
    shard->put({entry.key, hash, kept.bytes, kept.plain, entry.time_to_live, cost}, clock_->now());
  } else {
    refused_.fetch_add(1, std::memory_order_relaxed);
  }
}

void MemoryCache::erase(const CacheKey& key) {
  const std::uint64_t hash = hash_of(key);
  if (MemoryShard* shard = shard_of(hash)) shard->erase(key, hash);
}

void MemoryCache::clear() {
  for (const auto& shard : shards_) shard->clear();
}

void MemoryCache::for_each(const std::function<void(std::uint32_t, const MemoryShard::Living&)>& visit) const {
  for (std::uint32_t shard = 0; shard < shards_.size(); ++shard) {
    for (std::uint32_t from = 0; from != ShardMemory::kNone;) {
      for (const MemoryShard::Living& entry : shards_[shard]->some_from(from, clock_->now())) visit(shard, entry);
    }
  }
}

std::optional<CacheEntry> MemoryCache::entry_at(std::uint32_t shard, std::uint32_t node) const {
  const TimePoint now = clock_->now();
  const auto hit = shards_[shard]->at(node, now);
  return hit ? std::optional(entry_of(*hit, now)) : std::nullopt;
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
  if (slots_ != nullptr) {
    const ReadSlots::Counts counts = slots_->counts();
    total.hits += counts.hits;
    total.misses += counts.misses;
  }
  total.rejected += refused_.load(std::memory_order_relaxed);
  if (curve_ != nullptr) total.bytes += curve_->heap_bytes();
  return total;
}

std::uint64_t MemoryCache::charge_of(const CacheKey& key, const CacheRecord& record) noexcept {
  return MemoryShard::charge_of(kept_of(key, record).bytes.size());
}

}  // namespace tidegate
