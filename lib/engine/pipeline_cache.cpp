// What the caches know of a request and are told of its answer.
#include "engine/guarded_call.hpp"
#include "engine/pipeline.hpp"
#include "request/request_key.hpp"

namespace tidegate {

/// Memory answers on the caller's thread.
std::optional<CacheHit> Pipeline::look_up(Passage& passage) {
  if (!passage.key || passage.options.cache != CacheMode::use) return std::nullopt;
  passage.batches_ended = batches_ended_.load(std::memory_order_acquire);
  if (!uses_cache(*passage.key)) return std::nullopt;
  auto hit = services_->cache->get_in_memory(*passage.key);
  if (benefit_ && hit) benefit_->looked_up(*passage.key, CachingBenefit::Lookup::hit);
  if (benefit_ && !hit && !services_->cache->has_further_tiers()) {
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
  const CacheKey key = make_request_key(info().fingerprint, request.input);
  if (!uses_cache(key)) return std::nullopt;
  auto hit = services_->cache->get_in_memory(key);
  if (!hit) return std::nullopt;
  if (hit->age == MemoryHit::Age::to_be_renewed) renew(Input(request.input), {});
  return response_of(*std::move(hit));
}

std::optional<Error> Pipeline::find_error(const Passage& passage) {
  if (!passage.key || passage.options.cache != CacheMode::use) return std::nullopt;
  return services_->cache->find_error(*passage.key);
}

Error Pipeline::remember(const Passage& passage, Error error) noexcept {
  if (passage.key) services_->cache->put_error(*passage.key, error);
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
  Engine::Callback is_with_the_waiter;
  if (auto queued = enqueue(passage, prepared, is_with_the_waiter, nullptr); !queued) {
    end_with(handle, std::move(queued).error());
  }
}

/// An equal flight may have ended since the look-up, and with it the chance to join. Its
/// answer is in memory by then, and asked for under the lock it cannot be missed.
bool Pipeline::answered_meanwhile(Passage& passage, PendingRequest& waiter) noexcept {
  if (!passage.key || passage.options.cache != CacheMode::use ||
      passage.batches_ended == batches_ended_.load(std::memory_order_relaxed))
    return false;
  try {
    auto hit = services_->cache->get_in_memory(*passage.key);
    if (!hit) return false;
    waiter.result = response_of(*std::move(hit));
  } catch (...) {
    return false;  // no memory to read it: it is computed
  }
  return true;
}

void Pipeline::renew(Input&& input, const std::string& tenant) noexcept {
  try {
    RequestOptions options;
    options.cache = CacheMode::refresh;
    options.deadline = services_->clock->now() + services_->cache->options().refresh_timeout;
    options.priority = Priority::batch;
    options.tenant = tenant;
    // Refused or failed: the next one to find the answer stale tries again.
    Passage passage = passage_of(Request{name_, std::move(input), std::move(options)});
    passage.renews = true;
    Engine::Callback nobody = [](const Result<Response>&) {};
    static_cast<void>(carry_through(passage, nobody));
  } catch (...) {
  }
}

bool Pipeline::keep(const Work& work) noexcept {
  if (!work.key) return false;
  if (!work.output) {
    services_->cache->put_error(*work.key, work.output.error());
    return false;
  }
  if (!uses_cache(*work.key)) return false;
  // Before anyone is told, so that an equal request finds either flight or cache.
  services_->cache->put(*work.key, *work.output);
  return true;
}

bool Pipeline::uses_cache(const CacheKey& key) const noexcept { return !benefit_ || benefit_->uses_cache(key); }

Response Pipeline::response_of(CacheHit&& hit) {
  Response response{std::move(hit.outputs), AnswerSource::cache, {.cache_tier = hit.tier}};
  response.stale = hit.age != MemoryHit::Age::fresh;
  return response;
}

}  // namespace tidegate
