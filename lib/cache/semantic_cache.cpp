#include "cache/semantic_cache.hpp"

#include <cstring>
#include <new>
#include <vector>

#include "cache/heap_charge.hpp"
#include "cache/key_hash.hpp"
#include "cache/vector_space.hpp"

namespace tidegate {
namespace {

constexpr std::uint64_t kListNodeBytes = 2 * sizeof(void*);
constexpr std::uint64_t kHashNodeBytes = 6 * sizeof(void*);
/// Neighbours whose words are compared.
constexpr std::size_t kLookedAt = 8;

std::string_view view_of(const Digest& digest) { return {reinterpret_cast<const char*>(digest.data()), digest.size()}; }

SemanticCacheStats::State state_of(FalseHitAudit::State state) {
  switch (state) {
    case FalseHitAudit::State::probation: return SemanticCacheStats::State::probation;
    case FalseHitAudit::State::serving: return SemanticCacheStats::State::serving;
    case FalseHitAudit::State::disabled: break;
  }
  return SemanticCacheStats::State::disabled;
}

}  // namespace

struct SemanticCache::Entry {
  CacheKey key{};
  CacheRecord record;
  TextFacts facts;
  TimePoint expires_at{};
  Partition* partition = nullptr;
  std::uint32_t number = 0;  ///< in the partition's index
  std::uint64_t bytes = 0;
};

struct SemanticCache::Partition {
  Partition(const Digest& its_name, std::size_t its_dimension, std::uint32_t flat_limit)
      : name(its_name), dimension(its_dimension), index(its_dimension, flat_limit) {}

  [[nodiscard]] std::uint64_t bytes() const noexcept {
    return heap_charge(sizeof(Partition)) + kHashNodeBytes + index.heap_bytes() +
           heap_charge(by_number.capacity() * sizeof(Entries::iterator)) +
           by_key.size() * heap_charge(sizeof(CacheKey) + kHashNodeBytes) +
           heap_charge(by_key.bucket_count() * sizeof(void*));
  }

  const Digest name;
  const std::size_t dimension;
  NeighbourIndex index;
  std::vector<Entries::iterator> by_number;
  std::unordered_map<CacheKey, Entries::iterator, KeyHash> by_key;
};

SemanticCache::SemanticCache(const SemanticCacheOptions& options, std::shared_ptr<Clock> clock)
    : capacity_(options.capacity_bytes),
      time_to_live_(options.time_to_live),
      flat_limit_(options.flat_limit),
      clock_(std::move(clock)),
      audit_(options.threshold, options.false_hit_budget, options.audited_percent) {}

SemanticCache::~SemanticCache() = default;

std::optional<SemanticCache::Found> SemanticCache::find(const Question& question) {
  const TextFacts facts(question.text);
  const std::vector<float> unit = unit_vector(question.embedding);
  const MutexLock lock(mutex_);
  known_.add(facts);
  if (audit_.state() == FalseHitAudit::State::disabled) return std::nullopt;
  const auto like = nearest_that_agrees(question, facts, unit);
  if (!like) return std::nullopt;
  entries_.splice(entries_.begin(), entries_, like->entry);
  const bool trial = like->entry->key != question.key && audit_.tries_next();
  ++(trial ? stats_.tried : stats_.hits);
  return Found{like->entry->key, like->entry->record, like->cosine, trial ? Found::Use::trial : Found::Use::answer,
               audit_.threshold()};
}

/// Among the nearest, for those that differ in a number often lie nearer than those that do not.
std::optional<SemanticCache::Like> SemanticCache::nearest_that_agrees(const Question& question, const TextFacts& facts,
                                                                      std::span<const float> unit) {
  Partition* const partition = partition_of(question.partition);
  if (partition == nullptr || unit.size() != partition->dimension) {
    ++stats_.misses;
    return std::nullopt;
  }
  const std::uint64_t before = partition->bytes();
  const auto near = partition->index.nearest(unit, kLookedAt);
  partition_bytes_ += partition->bytes() - before;  // the index may have given its graph up
  std::vector<Entries::iterator> dead;
  std::optional<Like> like;
  bool guarded = false;
  for (const auto& [number, cosine] : near) {
    if (cosine < audit_.threshold() || like) break;
    const auto entry = partition->by_number[number];
    if (entry->expires_at <= clock_->now()) {
      dead.push_back(entry);
    } else if (entry->key == question.key && audit_.state() != FalseHitAudit::State::serving) {
      continue;
    } else if (TextFacts::agree(facts, entry->facts, known_)) {
      like = Like{entry, cosine};
    } else {
      guarded = true;
    }
  }
  stats_.expired += dead.size();
  for (const auto entry : dead) erase(entry);
  if (!like) ++(guarded ? stats_.guarded : stats_.misses);
  return like;
}

void SemanticCache::put(const Question& question, const CacheRecord& record) {
  try {
    const std::vector<float> unit = unit_vector(question.embedding);
    if (unit.empty()) return;
    const MutexLock lock(mutex_);
    if (audit_.state() == FalseHitAudit::State::disabled) return;
    if (Partition* const partition = partition_of(question.partition)) {
      const auto old = partition->by_key.find(question.key);
      if (old != partition->by_key.end()) erase(old->second);
    }
    store(question, record, unit);
  } catch (const std::bad_alloc&) {
    const MutexLock lock(mutex_);
    ++stats_.rejected;
  }
}

/// Throws std::bad_alloc with nothing stored.
void SemanticCache::store(const Question& question, const CacheRecord& record, std::span<const float> unit) {
  Entries one;
  one.push_back({question.key, record, TextFacts(question.text), {}, nullptr, 0, 0});
  Entry& entry = one.front();
  entry.bytes = heap_charge(sizeof(Entry) + kListNodeBytes) + entry.facts.heap_bytes() +
                (record.block() ? heap_charge(record.block()->capacity()) + heap_charge(48) : 0);
  const TimePoint now = clock_->now();
  entry.expires_at = time_to_live_ > TimePoint::max() - now ? TimePoint::max() : now + time_to_live_;

  Partition* partition = partition_of(question.partition);
  if (partition != nullptr && partition->dimension != unit.size()) return;
  // The most that one more may take: a new partition's first vectors, or the index's next step.
  const std::uint64_t growth = (partition != nullptr ? partition->index.heap_bytes_of_add()
                                                     : NeighbourIndex(unit.size(), flat_limit_).heap_bytes_of_add()) +
                               4096;
  if (!make_room(entry.bytes + growth)) {
    ++stats_.rejected;
    return;
  }
  Partition& home = make_partition(question.partition, unit.size());  // room may have been made of it
  const std::uint64_t before = home.bytes();
  home.by_number.reserve(home.index.count() + 1U);
  const auto keyed = home.by_key.emplace(question.key, one.begin()).first;
  try {
    entry.number = home.index.add(unit);
  } catch (...) {
    home.by_key.erase(keyed);
    partition_bytes_ += home.bytes() - before;
    throw;
  }
  if (home.by_number.size() <= entry.number) home.by_number.resize(entry.number + 1U);
  home.by_number[entry.number] = one.begin();
  entry.partition = &home;
  partition_bytes_ += home.bytes() - before;
  entry_bytes_ += entry.bytes;
  entries_.splice(entries_.begin(), one);
  ++stats_.inserted;
}

void SemanticCache::tried(const Found& found, FalseHitAudit::Trial outcome) {
  const MutexLock lock(mutex_);
  audit_.tried(found.threshold, outcome);
  if (outcome == FalseHitAudit::Trial::differed) ++stats_.wrong;
}

void SemanticCache::clear() {
  const MutexLock lock(mutex_);
  while (!entries_.empty()) erase(entries_.begin());
}

SemanticCacheStats SemanticCache::stats() const {
  const MutexLock lock(mutex_);
  SemanticCacheStats stats = stats_;
  stats.entries = entries_.size();
  stats.partitions = partitions_.size();
  stats.bytes = used_bytes();
  stats.threshold = audit_.threshold();
  stats.false_hit_bound = audit_.upper_bound();
  stats.state = state_of(audit_.state());
  return stats;
}

SemanticCache::Partition* SemanticCache::partition_of(const Digest& name) {
  const auto found = partitions_.find(view_of(name));
  return found != partitions_.end() ? found->second.get() : nullptr;
}

SemanticCache::Partition& SemanticCache::make_partition(const Digest& name, std::size_t dimension) {
  if (Partition* const there = partition_of(name)) return *there;
  auto made = std::make_unique<Partition>(name, dimension, flat_limit_);
  Partition& partition = *made;
  partitions_.emplace(view_of(partition.name), std::move(made));
  partition_bytes_ += partition.bytes();
  return partition;
}

bool SemanticCache::make_room(std::uint64_t bytes) {
  while (used_bytes() + bytes > capacity_) {
    if (entries_.empty()) return false;
    erase(std::prev(entries_.end()));
    ++stats_.evicted;
  }
  return true;
}

/// A partition goes with its last entry.
void SemanticCache::erase(Entries::iterator entry) {
  Partition& partition = *entry->partition;
  const std::uint64_t before = partition.bytes();
  partition.index.remove(entry->number);
  partition.by_key.erase(entry->key);
  partition_bytes_ -= before - partition.bytes();
  entry_bytes_ -= entry->bytes;
  entries_.erase(entry);
  if (partition.index.count() > 0) return;
  partition_bytes_ -= partition.bytes();
  partitions_.erase(view_of(partition.name));
}

std::uint64_t SemanticCache::used_bytes() const {
  return entry_bytes_ + partition_bytes_ + known_.heap_bytes() +
         heap_charge(partitions_.bucket_count() * sizeof(void*));
}

}  // namespace tidegate
