// CacheTier: a store of answers under 256-bit keys. Options of the memory tier.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tidegate/cache_share.hpp"
#include "tidegate/request.hpp"

namespace tidegate {

/// Digest over (format, model fingerprint, input, stamps of invalidations): see
/// docs/cache_key.md. Tiers compare all 256 bits before they answer.
using CacheKey = Digest;

/// An encoded answer: header, key, checksum, expiry and outputs in one immutable
/// block, the same bytes in every tier. Copying shares the block.
class CacheRecord {
 public:
  CacheRecord() = default;
  CacheRecord(std::shared_ptr<const std::vector<std::byte>> block) : block_(std::move(block)) {}  // NOLINT

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
    return block_ ? std::span<const std::byte>(*block_) : std::span<const std::byte>();
  }
  [[nodiscard]] const std::shared_ptr<const std::vector<std::byte>>& block() const noexcept { return block_; }

 private:
  std::shared_ptr<const std::vector<std::byte>> block_;
};

/// When a tier may answer with an entry that it was given.
enum class CacheWrite : std::uint8_t {
  lazy,  ///< at once; it may be lost with the process
  /// Not before it would outlive a killed process, if it is to outlive any. A look-up meanwhile waits, or misses.
  durable,
};

struct CacheEntry {
  CacheKey key{};
  CacheRecord record;
  Duration time_to_live{0};    ///< remaining life; zero or less = already expired
  Duration recompute_cost{0};  ///< what the model took for it; zero = unknown
  CacheWrite write = CacheWrite::lazy;
};

/// Counters of one tier since the engine started.
struct CacheTierStats {
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;
  std::uint64_t expired = 0;  ///< misses whose record was there but too old
  std::uint64_t stale = 0;    ///< hits past CacheOptions::fresh_for
  std::uint64_t inserted = 0;
  std::uint64_t evicted = 0;
  std::uint64_t rejected = 0;  ///< not stored: too large, or the policy kept what was there
  std::uint64_t entries = 0;   ///< now
  std::uint64_t bytes = 0;     ///< now, never above capacity_bytes
  std::uint64_t corrupt = 0;   ///< misses whose record failed its checks
  std::uint64_t late = 0;      ///< look-ups given up: the deadline had passed, or too many waited
  std::uint64_t dropped = 0;   ///< not stored: above the write budget, or the writer is behind
  std::uint64_t failed = 0;    ///< reads and writes that the tier's storage refused
  std::uint64_t resets = 0;    ///< times everything was thrown away as it could not be trusted
  std::uint64_t troubled = 0;  ///< now: 1 while nothing can be stored
  std::uint64_t pinned = 0;    ///< now: of bytes, those of answers that left and are still used
};

/// One tier of the chain, implemented by Tidegate and by users. Thread-safe.
/// Neither call blocks on input or output: slow tiers answer later, on a thread of
/// their own. A tier never makes a request fail: trouble is a miss.
class CacheTier {
 public:
  using Lookup = UniqueFunction<void(std::vector<std::optional<CacheEntry>>)>;

  virtual ~CacheTier() = default;
  /// Short name for metrics: "memory", "redis", ...
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  /// Calls `done` exactly once with one slot per key, in order, or with no slot where it could
  /// not find out (no connection, too late); it may do so before returning. The chain stops waiting at `deadline` and
  /// takes what is missing as a miss. An entry whose key differs from the one asked is discarded by the chain. Tables
  /// of invalidations are asked for like answers: while a tier has not answered for one in 10 s, or ever, it has no
  /// hits.
  virtual void get_many(std::span<const CacheKey> keys, Deadline deadline, Lookup done) = 0;
  /// Stores or forgets; best effort.
  virtual void put_many(std::span<const CacheEntry> entries) = 0;
  virtual void erase_many(std::span<const CacheKey> keys) = 0;
  /// What only the tier itself knows; the chain counts hits, misses and what it offers.
  [[nodiscard]] virtual CacheTierStats stats() const { return {}; }
};

/// Which entry of the memory tier goes when room is needed.
enum class CachePolicy : std::uint8_t {
  s3_fifo,     ///< three queues; resists scans, hits are cheap
  lru,         ///< least recently used
  lfu,         ///< least frequently used, never ageing
  w_tiny_lfu,  ///< a newcomer stays only if asked for more often than what it displaces
  ttl_only,    ///< what expires soonest; reads change nothing
};

/// "s3_fifo", "lru", "lfu", "w_tiny_lfu" or "ttl_only".
[[nodiscard]] std::string_view to_string(CachePolicy policy) noexcept;
/// The policy of that name; empty for any other name.
[[nodiscard]] std::optional<CachePolicy> cache_policy_of(std::string_view name) noexcept;

enum class CacheCurve : std::uint8_t { off, on };

/// Whether a model may go without the caches.
enum class CacheBypass : std::uint8_t {
  /// While hits save less time than look-ups cost, one key in 64 is looked up and stored.
  automatic,
  never,
};

/// The memory tier.
struct MemoryCacheOptions {
  /// Hard budget of everything the tier holds (answers, index, bookkeeping);
  /// 0 switches the tier off. An answer that is still used when it leaves counts until it is
  /// released; where such answers take a quarter of a shard, nothing more is stored in it.
  /// An entry above an eighth of a shard's part is not stored.
  std::uint64_t capacity_bytes = 64ULL << 20;
  std::uint32_t shards = 8;  ///< power of two, 1..256
  CachePolicy policy = CachePolicy::s3_fifo;
  /// Keeps shadow caches beside the tier, which tell what other sizes and policies would hit
  /// (Engine::cache_curve). Takes a twentieth of the budget at most; off where
  /// remembered errors leave less than 8 MiB.
  CacheCurve curve = CacheCurve::off;
  CachePerModel per_model = CachePerModel::off;
};

/// The memory tier's answers, kept in a file from the end of an engine to the start of the next.
struct CacheSnapshotOptions {
  std::string file;  ///< empty = they are lost. Replaced as a whole; the engine's own
  /// Most bytes of the file; what is worth least (how often it is asked for, times the life it has left) is left out.
  std::uint64_t capacity_bytes = 1ULL << 30;
};

/// What became of the snapshot.
struct CacheSnapshotStats {
  std::uint64_t restored = 0;  ///< answers read when the engine was made
  std::uint64_t skipped = 0;   ///< too old, damaged, or not of a snapshot of this format
  std::uint64_t written = 0;   ///< answers in the file by the last save
  std::uint64_t failed = 0;    ///< saves that the disk refused, and readings that ran out of memory
};

struct CacheOptions {
  MemoryCacheOptions memory{};
  Duration time_to_live = std::chrono::hours(1);  ///< of a computed answer; 1 ms to 3650 days
  /// Of a computed answer in the further tiers; 0, or less than time_to_live = as long as in memory.
  Duration tier_time_to_live{0};
  /// Shortens each life by up to so many percent, 0 to 50, chosen by its key: answers
  /// computed together do not all end together.
  std::uint32_t time_to_live_jitter_percent = 10;
  /// How long of its life an answer in memory is fresh; 0, or no less than the life = all of it. Past that it is still
  /// answered (Response::stale), and the first request that finds it so has it computed anew, as class batch
  /// (stale-while-revalidate, RFC 5861).
  Duration fresh_for{0};
  /// How long such a renewal may take, before the next request starts another; 1 ms to 1 h.
  Duration refresh_timeout = std::chrono::seconds(5);
  /// How long a request that the model found invalid is refused with the same error, without
  /// asking the model; 30 s at most, 0 = never. Takes up to a fiftieth of the memory tier's budget.
  Duration negative_time_to_live = std::chrono::seconds(5);
  CacheBypass bypass = CacheBypass::automatic;
  /// Further tiers, nearest first; asked one after the other on a memory miss, the next one also when a quarter of
  /// lookup_budget has passed without an answer. The first hit counts.
  std::vector<std::shared_ptr<CacheTier>> tiers{};
  /// Longest a request waits for all further tiers together before it is computed;
  /// a minute at most. A request with a deadline waits for a fifth of what is left of it.
  Duration lookup_budget = std::chrono::milliseconds(5);
  CacheSnapshotOptions snapshot{};
};

/// Answers of one model that are to be asked for no more (Engine::invalidate_cache).
struct CacheScope {
  std::string model{};              ///< name it is served under; empty = the only one
  std::string tag{};                ///< only what is asked for with this RequestOptions::cache_tag; empty = all
  std::optional<Digest> version{};  ///< only of the version with this ModelInfo::fingerprint; not with a tag
};

/// What a memory tier of some capacity and policy would have hit of late, by a sample of the keys.
struct CacheCurvePoint {
  CachePolicy policy{};
  std::uint64_t capacity_bytes = 0;
  std::uint64_t requests = 0;  ///< sampled
  std::uint64_t hits = 0;
};

/// A model's share of the memory tier, now.
struct CacheShareStats {
  std::string model;
  std::uint64_t bytes = 0;                     ///< of MemoryCacheOptions::capacity_bytes
  std::uint64_t min_bytes = 0, max_bytes = 0;  ///< between which it moves
  CacheTierStats memory{};
};

}  // namespace tidegate
