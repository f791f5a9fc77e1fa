// What the caches do for requests on their way: renewals, remembered errors, bypass.
#include <doctest/doctest.h>

#include <string>

#include "engine/engine_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;
using std::chrono::seconds;

namespace {

CacheOptions ageing() {
  CacheOptions cache;
  cache.time_to_live = seconds(100);
  cache.time_to_live_jitter_percent = 0;
  cache.fresh_for = seconds(10);
  return cache;
}

/// Asks and lets everything run; the answer.
Result<Response> ask(EngineRig& rig, const std::string& text, RequestOptions options = {}) {
  Answer answer;
  const auto accepted = rig.engine->infer(rig.request(text, std::move(options)), answer.callback());
  if (!accepted) return accepted.error();
  rig.settle();
  REQUIRE(answer.calls == 1);
  return *std::move(answer.result);
}

void refuse_long_texts(std::span<BatchItem> batch) {
  FakeRunner::answer(batch);
  for (BatchItem& item : batch) {
    if (std::get<std::string>(item.input->input).size() > 10) {
      item.output = Error(ErrorCode::invalid_argument, "the text is too long");
    }
  }
}

}  // namespace

TEST_CASE("engine cache: a stale answer is given at once and computed anew once, as work that can wait") {
  EngineRig rig({}, ageing());
  CHECK(ask(rig, "text")->source == AnswerSource::model);
  rig.clock->advance(seconds(10));
  Answer first, second;
  REQUIRE(rig.engine->infer(rig.request("text"), first.callback()));
  REQUIRE(rig.engine->infer(rig.request("text"), second.callback()));
  rig.completions->run_all();
  REQUIRE(first.answered());
  REQUIRE(second.answered());
  CHECK((*first.result)->source == AnswerSource::cache);
  CHECK((*first.result)->stale);
  CHECK((*second.result)->stale);
  CHECK(rig.log->batches.size() == 1);
  rig.settle();
  CHECK(rig.log->batches.size() == 2);
  CHECK(rig.engine->explain()->back().opened_by == Priority::batch);
  const auto renewed = ask(rig, "text");
  CHECK(renewed->source == AnswerSource::cache);
  CHECK_FALSE(renewed->stale);
  CHECK(rig.log->batches.size() == 2);
}

TEST_CASE("engine cache: what try_cached finds stale is renewed too") {
  EngineRig rig({}, ageing());
  REQUIRE(ask(rig, "text"));
  rig.clock->advance(seconds(10));
  const auto found = rig.engine->try_cached(rig.request("text"));
  REQUIRE(found);
  CHECK(found->stale);
  rig.settle();
  CHECK(rig.log->batches.size() == 2);
  CHECK_FALSE(rig.engine->try_cached(rig.request("text"))->stale);
}

TEST_CASE("engine cache: a renewal that fails leaves the old answer until its end, and is tried again") {
  bool fails = false;
  EngineRig rig({}, ageing(), [&](std::span<BatchItem> batch) {
    FakeRunner::answer(batch);
    if (fails) {
      for (BatchItem& item : batch) item.output = Error(ErrorCode::backend_failed, "out of order");
    }
  });
  REQUIRE(ask(rig, "text"));
  fails = true;
  rig.clock->advance(seconds(20));
  CHECK(ask(rig, "text")->stale);
  CHECK(ask(rig, "text")->stale);
  const std::size_t runs = rig.log->batches.size();
  rig.clock->advance(seconds(5));  // refresh_timeout
  CHECK(ask(rig, "text")->stale);
  CHECK(rig.log->batches.size() > runs);
  rig.clock->advance(seconds(75));
  const auto at_last = ask(rig, "text");
  REQUIRE_FALSE(at_last);
  CHECK(at_last.error().code() == ErrorCode::backend_failed);
}

TEST_CASE("engine cache: a request the model found invalid is refused without asking it again, for a while") {
  CacheOptions cache;
  cache.negative_time_to_live = seconds(5);
  EngineRig rig({}, cache, refuse_long_texts);
  const std::string text = "a text that is too long";
  CHECK(ask(rig, text).error().code() == ErrorCode::invalid_argument);
  CHECK(rig.log->batches.size() == 1);
  Answer never;
  const auto refused = rig.engine->infer(rig.request(text), never.callback());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message() == "the text is too long");
  CHECK(never.calls == 0);
  CHECK(ask(rig, text, {.cache = CacheMode::refresh}).error().code() == ErrorCode::invalid_argument);
  CHECK(rig.log->batches.size() == 2);
  rig.clock->advance(seconds(5));
  CHECK(ask(rig, text).error().code() == ErrorCode::invalid_argument);
  CHECK(rig.log->batches.size() == 3);
  CHECK(ask(rig, "short"));
}

TEST_CASE("engine cache: errors that another attempt may not meet are never remembered") {
  EngineRig rig({}, {}, [](std::span<BatchItem> batch) {
    for (BatchItem& item : batch) item.output = Error(ErrorCode::backend_failed, "out of order");
  });
  CHECK_FALSE(ask(rig, "text"));
  CHECK_FALSE(ask(rig, "text"));
  CHECK(rig.log->batches.size() >= 2);
}

TEST_CASE("engine cache: a model whose requests never repeat goes without the caches, until they do") {
  for (const CacheBypass bypass : {CacheBypass::automatic, CacheBypass::never}) {
    EngineRig* all = nullptr;
    CacheOptions cache;
    cache.bypass = bypass;
    EngineRig rig({}, cache, [&](std::span<BatchItem> batch) {
      FakeRunner::answer(batch);
      all->clock->advance(std::chrono::microseconds(10));
    });
    all = &rig;
    constexpr int kUnique = 12'000;
    for (int i = 0; i < kUnique; ++i) REQUIRE(ask(rig, std::to_string(i)));
    const auto stored = rig.engine->cache_stats().front().inserted;
    if (bypass == CacheBypass::never) {
      CHECK(stored == kUnique);
      continue;
    }
    CHECK(stored < kUnique * 3 / 4);
    CHECK(stored > kUnique / 64);
    for (int round = 0; round < 40; ++round) {
      for (int i = 0; i < 1000; ++i) REQUIRE(ask(rig, "again " + std::to_string(i)));
    }
    const auto before = rig.engine->cache_stats().front().hits;
    for (int i = 0; i < 1000; ++i) REQUIRE(ask(rig, "again " + std::to_string(i)));
    CHECK(rig.engine->cache_stats().front().hits - before == 1000);
  }
}

TEST_CASE("engine cache: the memory tier gives memory back when told to") {
  CacheOptions cache;
  cache.memory.capacity_bytes = 1 << 20;
  EngineRig rig({}, cache);
  for (int i = 0; i < 500; ++i) REQUIRE(ask(rig, std::to_string(i)));
  REQUIRE(rig.engine->resize_cache(1 << 17));
  CHECK(rig.engine->cache_stats().front().bytes <= 1 << 17);
  CHECK(rig.engine->cache_curve()->empty());
  CHECK(ask(rig, "more"));
  CHECK(rig.engine->resize_cache((1 << 20) + 1).error().code() == ErrorCode::invalid_argument);
}
