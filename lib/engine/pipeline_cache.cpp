// What the caches know of a request and are told of its answer.
#include <algorithm>

#include "engine/guarded_call.hpp"
#include "engine/pipeline.hpp"
#include "request/copy_input.hpp"
#include "request/request_key.hpp"

namespace tidegate {

/// Memory answers on the caller's thread.
std::optional<CacheHit> Pipeline::look_up(Passage& passage) {
  if (!reads_caches(passage)) return std::nullopt;
  passage.batches_ended = batches_ended_.load(std::memory_order_acquire);
  if (!uses_cache(*passage.key)) return std::nullopt;
  auto hit = cache_->get_in_memory(*passage.key);
  if (benefit_ && hit) benefit_->looked_up(*passage.key, CachingBenefit::Lookup::hit);
  if (benefit_ && !hit && !cache_->has_further_tiers()) {
    benefit_->looked_up(*passage.key, CachingBenefit::Lookup::miss);
  }
  return hit;
}

std::optional<Response> Pipeline::try_cached(const Request& request) {
  if (!info().deterministic) return std::nullopt;
  if (options_.batching.ordering != Ordering::none) {
    MutexLock lock(mutex_);
    if (!order_.check(request.options) || !order_.is_free(request.options)) return std::nullopt;
  }
  names_->request_came(services_->clock->now());
  const CacheStamps stamps = names_->stamps(version_scope_, request.options.cache_tag);
  const CacheKey key = make_request_key(info().fingerprint, request.input, stamps);
  if (!uses_cache(key)) return std::nullopt;
  auto hit = cache_->get_in_memory(key);
  if (!hit) return std::nullopt;
  if (hit->age == MemoryHit::Age::to_be_renewed) {
    renew(copy_input(request.input), {}, request.options.cache_tag);
  }
  return response_of(*std::move(hit));
}

std::optional<Error> Pipeline::find_error(const Passage& passage) {
  if (!reads_caches(passage)) return std::nullopt;
  return cache_->find_error(*passage.key);
}

Error Pipeline::remember(const Passage& passage, Error error) noexcept {
  if (passage.key) cache_->put_error(*passage.key, error);
  return error;
}

void Pipeline::found_further(Passage passage, PreparedInput prepared, std::optional<CacheHit> hit) noexcept {
  const std::uint64_t handle = passage.handle;
  if (benefit_) {
    benefit_->looked_up(*passage.key, hit ? CachingBenefit::Lookup::hit : CachingBenefit::Lookup::miss);
  }
  if (hit) {
    end_with(handle, response_of(*std::move(hit)));
    return;
  }
  try {
    if (passage.similar) {
      ask_similar(std::move(passage), std::move(prepared));
      return;
    }
  } catch (...) {
    end_with(handle, thrown_on_the_way());
    return;
  }
  enqueue_admitted(passage, prepared);
}

void Pipeline::enqueue_admitted(Passage& passage, PreparedInput& prepared) noexcept {
  const std::uint64_t handle = passage.handle;
  Engine::Callback is_with_the_waiter;
  if (auto queued = enqueue(passage, prepared, is_with_the_waiter, nullptr); !queued) {
    end_with(handle, std::move(queued).error());
  }
}

std::shared_ptr<SimilarQuestion> Pipeline::similar_question(const Passage& passage, const Input& input) const {
  const auto* const text = std::get_if<std::string>(&input);
  if (similar_ == nullptr || text == nullptr || !passage.key || passage.options.cache != CacheMode::similar) return {};
  return std::make_shared<SimilarQuestion>(
      SimilarQuestion{*text,
                      *passage.key,
                      similar_->partition_of(passage.options.tenant, passage.options.similar_within, passage.stamps),
                      {},
                      {}});
}

void Pipeline::ask_similar(Passage passage, PreparedInput prepared) {
  auto question = std::move(passage.similar);
  const Deadline deadline = passage.options.deadline;
  similar_->ask(std::move(question), deadline,
                [weak = weak_from_this(), visits = services_->visits, passage = std::move(passage),
                 prepared = std::move(prepared)](SimilarStage::Told told) mutable {
                  const Visits::Visit visit(*visits);
                  if (const auto self = weak.lock()) {
                    self->found_similar(std::move(passage), std::move(prepared), std::move(told));
                  }
                });
}

void Pipeline::found_similar(Passage passage, PreparedInput prepared, SimilarStage::Told told) noexcept {
  if (told.found) {
    Response response{std::move(told.found->outputs), AnswerSource::similar, {}};
    response.similarity = Similarity{told.found->cosine, told.found->question};
    end_with(passage.handle, std::move(response));
    return;
  }
  passage.similar = std::move(told.question);
  enqueue_admitted(passage, prepared);
}

/// An equal flight may have ended since the look-up, and with it the chance to join. Its
/// answer is in memory by then, and asked for under the lock it cannot be missed.
bool Pipeline::answered_meanwhile(Passage& passage, PendingRequest& waiter) noexcept {
  if (!reads_caches(passage) || passage.batches_ended == batches_ended_.load(std::memory_order_relaxed)) return false;
  try {
    passage.batches_ended = batches_ended_.load(std::memory_order_relaxed);
    auto hit = cache_->get_in_memory(*passage.key);
    if (!hit) return false;
    waiter.result = response_of(*std::move(hit));
  } catch (...) {
    return false;  // no memory to read it: it is computed
  }
  return true;
}

void Pipeline::renew(Input&& input, const std::string& tenant, const std::string& tag) noexcept {
  try {
    RequestOptions options;
    options.cache = CacheMode::refresh;
    options.deadline = services_->clock->now() + cache_->options().refresh_timeout;
    options.priority = Priority::batch;
    options.tenant = tenant;
    options.cache_tag = tag;
    // Refused or failed: the next one to find the answer stale tries again.
    Passage passage = passage_of(Request{name_, std::move(input), std::move(options)});
    passage.renews = true;
    Engine::Callback nobody = [](const Result<Response>&) {};
    static_cast<void>(carry_through(passage, nobody));
  } catch (...) {
  }
}

bool Pipeline::keep(const Work& work) noexcept {
  // What was invalidated meanwhile is of no use to anybody.
  if (!work.key || !names_->is_current(work.stamps)) return false;
  if (!work.output) {
    cache_->put_error(*work.key, work.output.error());
    return false;
  }
  if (work.similar) similar_->computed(work.similar, *work.output);
  if (!uses_cache(*work.key)) return false;
  // Before anyone is told, so that an equal request finds either flight or cache.
  cache_->put(*work.key, *work.output, work.run / std::max<std::uint32_t>(work.batch_size, 1));
  return true;
}

void Pipeline::learn_invalidations() noexcept {
  constexpr Duration kLongest = std::chrono::milliseconds(250);
  static_cast<void>(names_->synchronize_and_wait(kLongest));
}

bool Pipeline::reads_caches(const Passage& passage) noexcept {
  return passage.key && (passage.options.cache == CacheMode::use || passage.options.cache == CacheMode::similar);
}

std::optional<SemanticCacheStats> Pipeline::semantic_stats() const {
  return similar_ ? std::optional(similar_->stats()) : std::nullopt;
}

bool Pipeline::uses_cache(const CacheKey& key) const noexcept { return !benefit_ || benefit_->uses_cache(key); }

Response Pipeline::response_of(CacheHit&& hit) {
  Response response{std::move(hit.outputs), AnswerSource::cache, {.cache_tier = hit.tier}};
  response.stale = hit.age != MemoryHit::Age::fresh;
  return response;
}

}  // namespace tidegate
