// SimilarStage: finds, tries and keeps answers to questions that mean the same, for one model.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.hpp"
#include "cache/semantic_cache.hpp"
#include "request/cache_stamps.hpp"

namespace tidegate {

/// Embeds a text with another model of the engine. `done` runs once, later or before this returns, with
/// the vector or with nothing, and is destroyed uncalled if the text was refused.
using EmbedText =
    std::function<void(std::string text, Deadline deadline, UniqueFunction<void(std::vector<float>)> done)>;

/// A question on its way; its answer is kept under it.
struct SimilarQuestion {
  std::string text;
  CacheKey key{};
  Digest partition{};
  std::vector<float> embedding;               ///< set by `ask`
  std::optional<SemanticCache::Found> trial;  ///< set by `ask`: compare its answer with the computed one
};

/// Searches and comparisons run on one thread of its own, parked while idle; no lock is held around
/// the host's `agrees`. Trouble on the way is a miss. Thread-safe.
class SimilarStage : public std::enable_shared_from_this<SimilarStage> {
 public:
  struct Answer {
    std::vector<Tensor> outputs;
    float cosine = 0;
    Digest question{};  ///< key of the one it was computed for
  };
  /// `found` is empty where the model must compute. Then `question`, where set, is to be given to `computed`.
  struct Told {
    std::optional<Answer> found;
    std::shared_ptr<SimilarQuestion> question;
  };

  /// May throw std::system_error: no thread. `scope` goes into every partition's name.
  SimilarStage(const SemanticCacheOptions& options, std::shared_ptr<Clock> clock, EmbedText embed, Digest scope);

  /// Waits a second at most for an `agrees` that hangs.
  ~SimilarStage();

  /// All that must be equal before texts are compared.
  [[nodiscard]] Digest partition_of(std::string_view tenant, std::string_view within,
                                    const CacheStamps& stamps = {}) const noexcept;

  /// `done` runs exactly once, on a thread of the stage's, of the embedder's, or here.
  void ask(std::shared_ptr<SimilarQuestion> question, Deadline deadline, UniqueFunction<void(Told)> done);
  /// The model has computed the answer.
  void computed(std::shared_ptr<SimilarQuestion> question, const std::vector<Tensor>& outputs) noexcept;

  [[nodiscard]] SemanticCacheStats stats() const { return cache_.stats(); }

 private:
  [[nodiscard]] Told search(std::shared_ptr<SimilarQuestion> question);
  void keep(SimilarQuestion& question, const std::vector<Tensor>& outputs);
  [[nodiscard]] FalseHitAudit::Trial compare(const SemanticCache::Found& found,
                                             const std::vector<Tensor>& computed) const;

  const SemanticCacheOptions options_;
  const EmbedText embed_;
  const Digest scope_;
  SemanticCache cache_;
  ThreadPool thread_;
};

}  // namespace tidegate
