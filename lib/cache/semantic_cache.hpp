// SemanticCache: answers to questions that mean the same, guarded and audited.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>

#include "base/mutex.hpp"
#include "cache/false_hit_audit.hpp"
#include "cache/neighbour_index.hpp"
#include "cache/text_facts.hpp"
#include "cache/word_frequency.hpp"
#include "tidegate/cache.hpp"
#include "tidegate/semantic.hpp"

namespace tidegate {

/// Thread-safe; one lock. Every call does work in proportion to the partition: it belongs on a
/// worker's thread, not on a caller's. Entries and their vectors live and die together. What
/// was used longest ago goes first.
class SemanticCache {
 public:
  /// A question. `partition` is a digest of all that must be equal; `key` names the exact question.
  struct Question {
    Digest partition{};
    CacheKey key{};
    std::string_view text;
    std::span<const float> embedding;  ///< any length; a vector without direction finds nothing
  };
  struct Found {
    CacheKey key{};  ///< of the question that was answered
    CacheRecord record;
    float cosine = 0;
    /// `answer`: use it. `trial`: compute, and report to `tried`.
    enum class Use : std::uint8_t { answer, trial };
    Use use = Use::trial;
    float threshold = 0;  ///< the one it was found under, for `tried`
  };

  SemanticCache(const SemanticCacheOptions& options, std::shared_ptr<Clock> clock);
  ~SemanticCache();

  /// Counts the question's words as seen. The answer of the very question is no evidence that like questions
  /// share theirs: it is passed over while all is tried, and answered without a trial afterwards.
  [[nodiscard]] std::optional<Found> find(const Question& question);

  /// Stores an answer; one of the same key and partition is replaced. Best effort:
  /// without memory nothing is stored.
  void put(const Question& question, const CacheRecord& record);

  /// The end of a trial.
  void tried(const Found& found, FalseHitAudit::Trial outcome);

  void clear();
  [[nodiscard]] SemanticCacheStats stats() const;

 private:
  struct Entry;
  struct Partition;
  using Entries = std::list<Entry>;  ///< newest use first
  struct Like {
    Entries::iterator entry;
    float cosine = 0;
  };
  using Partitions = std::unordered_map<std::string_view, std::unique_ptr<Partition>>;

  [[nodiscard]] std::optional<Like> nearest_that_agrees(const Question& question, const TextFacts& facts,
                                                        std::span<const float> unit) TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] Partition* partition_of(const Digest& name) TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] Partition& make_partition(const Digest& name, std::size_t dimension) TIDEGATE_REQUIRES(mutex_);
  void store(const Question& question, const CacheRecord& record, std::span<const float> unit)
      TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] bool make_room(std::uint64_t bytes) TIDEGATE_REQUIRES(mutex_);
  void erase(Entries::iterator entry) TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] std::uint64_t used_bytes() const TIDEGATE_REQUIRES(mutex_);

  const std::uint64_t capacity_;
  const Duration time_to_live_;
  const std::uint32_t flat_limit_;
  const std::shared_ptr<Clock> clock_;

  mutable Mutex mutex_;  // leaf, but for a lock the clock's now() may take
  Entries entries_ TIDEGATE_GUARDED_BY(mutex_);
  Partitions partitions_ TIDEGATE_GUARDED_BY(mutex_);
  WordFrequency known_ TIDEGATE_GUARDED_BY(mutex_);
  FalseHitAudit audit_ TIDEGATE_GUARDED_BY(mutex_);
  std::uint64_t entry_bytes_ TIDEGATE_GUARDED_BY(mutex_) = 0;      ///< apart from the indexes
  std::uint64_t partition_bytes_ TIDEGATE_GUARDED_BY(mutex_) = 0;  ///< of partitions, with their indexes
  SemanticCacheStats stats_ TIDEGATE_GUARDED_BY(mutex_);
};

}  // namespace tidegate
