#include "engine/similar_stage.hpp"

#include <algorithm>
#include <utility>

#include "base/sha256.hpp"
#include "request/record_codec.hpp"

namespace tidegate {
namespace {

/// Calls `done` once, at the latest when it is destroyed: an embedder that refuses a text drops its
/// callback.
class OnceTold {
 public:
  explicit OnceTold(UniqueFunction<void(SimilarStage::Told)> done) : done_(std::move(done)) {}
  OnceTold(OnceTold&& other) noexcept : done_(std::exchange(other.done_, {})) {}
  OnceTold(const OnceTold&) = delete;
  OnceTold& operator=(const OnceTold&) = delete;
  OnceTold& operator=(OnceTold&&) = delete;
  ~OnceTold() { tell({}); }

  void tell(SimilarStage::Told told) {
    if (auto done = std::exchange(done_, {})) done(std::move(told));
  }

 private:
  UniqueFunction<void(SimilarStage::Told)> done_;
};

bool equal_bytes(std::span<const Tensor> a, std::span<const Tensor> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Tensor& one, const Tensor& other) {
    return one.type() == other.type() && one.shape() == other.shape() && std::ranges::equal(one.bytes(), other.bytes());
  });
}

}  // namespace

SimilarStage::SimilarStage(const SemanticCacheOptions& options, std::shared_ptr<Clock> clock, EmbedText embed,
                           Digest scope)
    : options_(options),
      embed_(std::move(embed)),
      scope_(scope),
      cache_(options, std::move(clock)),
      thread_("tidegate-like", 1) {}

SimilarStage::~SimilarStage() { thread_.stop(std::chrono::seconds(1)); }

Digest SimilarStage::partition_of(std::string_view tenant, std::string_view within,
                                  const CacheStamps& stamps) const noexcept {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(scope_)));
  hash.update_field(tenant).update_field(within);
  for (const std::int64_t stamp : {stamps.model, stamps.version, stamps.tag}) {
    hash.update_u64(static_cast<std::uint64_t>(stamp));
  }
  return hash.finish();
}

void SimilarStage::ask(std::shared_ptr<SimilarQuestion> question, Deadline deadline, UniqueFunction<void(Told)> done) {
  std::string text = question->text;
  embed_(std::move(text), deadline,
         [self = shared_from_this(), question = std::move(question),
          told = OnceTold(std::move(done))](std::vector<float> embedding) mutable {
           if (embedding.empty()) return;
           question->embedding = std::move(embedding);
           SimilarStage& stage = *self;
           stage.thread_.post([self = std::move(self), question = std::move(question),
                               told = std::move(told)]() mutable { told.tell(self->search(std::move(question))); });
         });
}

SimilarStage::Told SimilarStage::search(std::shared_ptr<SimilarQuestion> question) {
  try {
    auto found = cache_.find({question->partition, question->key, question->text, question->embedding});
    if (!found) return {std::nullopt, std::move(question)};
    if (found->use == SemanticCache::Found::Use::trial) {
      question->trial = std::move(found);
      return {std::nullopt, std::move(question)};
    }
    // Its checksum was computed here, and it never left the process.
    auto outputs = decode_record(found->key, found->record, ChecksumPolicy::trust);
    if (!outputs) return {std::nullopt, std::move(question)};
    return {Answer{*std::move(outputs), found->cosine, found->key}, nullptr};
  } catch (...) {
    return {};  // no memory to look: the model computes
  }
}

void SimilarStage::computed(std::shared_ptr<SimilarQuestion> question, const std::vector<Tensor>& outputs) noexcept {
  try {
    thread_.post(
        [self = shared_from_this(), question = std::move(question), outputs] { self->keep(*question, outputs); });
  } catch (...) {
    // No memory for it: the answer is computed again another time.
  }
}

void SimilarStage::keep(SimilarQuestion& question, const std::vector<Tensor>& outputs) {
  try {
    if (question.trial) cache_.tried(*question.trial, compare(*question.trial, outputs));
    cache_.put({question.partition, question.key, question.text, question.embedding},
               encode_record(question.key, outputs, 0));
  } catch (...) {
    // An `agrees` of the host's that threw has said nothing.
  }
}

FalseHitAudit::Trial SimilarStage::compare(const SemanticCache::Found& found,
                                           const std::vector<Tensor>& computed) const {
  const auto stored = decode_record(found.key, found.record, ChecksumPolicy::trust);
  if (!stored) return FalseHitAudit::Trial::differed;
  const bool agree = options_.agrees ? options_.agrees(*stored, computed) : equal_bytes(*stored, computed);
  return agree ? FalseHitAudit::Trial::agreed : FalseHitAudit::Trial::differed;
}

}  // namespace tidegate
