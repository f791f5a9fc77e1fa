// SemanticCacheOptions: answers to questions that mean the same. Off unless asked for.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "tidegate/tensor.hpp"
#include "tidegate/time.hpp"

namespace tidegate {

/// A tier for *responses* (generated text, labels, search results), never for embeddings. A
/// request takes part only if it says so (CacheMode::similar) and its input is a text. Before
/// anything is compared, tenant, model and RequestOptions::similar_within must be equal. Then the
/// stored question must lie within `threshold` of the asked one, as embedded by `embedder`, and
/// agree with it in numbers, negations and rare words, in their order, and in length.
/// Whatever passes is tried against the model first: answers are used only while the
/// share of wrong ones is at most `false_hit_budget`, with 95 % confidence.
struct SemanticCacheOptions {
  /// Name of the model of the same engine that embeds the texts: it answers one f32 vector.
  std::string embedder;
  float threshold = 0.95F;                        ///< cosine, 0.5 to 1; raised by the audit
  double false_hit_budget = 0.01;                 ///< allowed share of wrong answers, 0.0001 to 0.5
  std::uint32_t audited_percent = 5;              ///< of the hits are computed all the same, 1 to 100
  std::uint64_t capacity_bytes = 64ULL << 20;     ///< of vectors, indexes and answers, >= 1 MiB
  Duration time_to_live = std::chrono::hours(1);  ///< of an answer; 1 ms to 3650 days
  /// Vectors of one partition that are compared one by one; beyond, a graph (HNSW) is searched.
  std::uint32_t flat_limit = 4096;
  /// Whether a stored answer would have done in place of the computed one. Called by the audit,
  /// on a thread of the engine's, concurrently. Empty = equal bytes.
  std::function<bool(std::span<const Tensor> stored, std::span<const Tensor> computed)> agrees{};
};

/// Counters of one semantic tier since its start, and what the audit found.
struct SemanticCacheStats {
  std::uint64_t hits = 0;     ///< answered
  std::uint64_t misses = 0;   ///< nothing near enough
  std::uint64_t guarded = 0;  ///< near enough, but the words differ
  std::uint64_t tried = 0;    ///< would-be hits that were computed to compare
  std::uint64_t wrong = 0;    ///< of them, those whose answer differed
  std::uint64_t expired = 0, evicted = 0, inserted = 0, rejected = 0;
  std::uint64_t entries = 0, partitions = 0, bytes = 0;  ///< now
  float threshold = 1;                                   ///< now
  double false_hit_bound = 1;                            ///< upper bound of the share of wrong answers, now
  enum class State : std::uint8_t { probation, serving, disabled };
  State state = State::probation;  ///< disabled: the audit has switched the tier off
};

}  // namespace tidegate
