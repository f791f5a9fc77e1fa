// Models of one engine with shares of the memory tier of their own.
#include <doctest/doctest.h>

#include <algorithm>

#include "engine/engine_rig.hpp"
#include "support/temporary_folder.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

constexpr std::uint64_t kTotal = 4ULL << 20;

CacheOptions with_shares(const std::string& snapshot = {}) {
  CacheOptions cache;
  cache.memory.capacity_bytes = kTotal;
  cache.memory.shards = 2;
  cache.memory.per_model = CachePerModel::on;
  cache.negative_time_to_live = Duration::zero();
  cache.bypass = CacheBypass::never;
  cache.snapshot.file = snapshot;
  return cache;
}

std::vector<Replica> replicas(EngineRig& rig, std::uint8_t version) {
  auto runner = std::make_unique<FakeRunner>(rig.log);
  runner->mutable_info().fingerprint[0] = version;
  std::vector<Replica> set;
  set.push_back({std::move(runner), {}});
  return set;
}

ModelOptions limited(std::uint64_t least, std::uint64_t most) {
  ModelOptions options;
  options.cache_share = {least, most};
  return options;
}

AnswerSource ask(EngineRig& rig, const std::string& model, const std::string& text) {
  Answer answer;
  REQUIRE(rig.engine->infer({model, text, {}}, answer.callback()));
  rig.settle();
  REQUIRE(answer.answered());
  return (*answer.result)->source;
}

CacheShareStats share_of(EngineRig& rig, std::string_view model) {
  const auto shares = rig.engine->cache_shares();
  REQUIRE(shares);
  const auto found = std::find_if(shares->begin(), shares->end(), [&](const auto& one) { return one.model == model; });
  return found != shares->end() ? *found : CacheShareStats{};
}

}  // namespace

TEST_CASE("engine shares: each model has its part, and metrics and totals tell") {
  EngineRig rig({}, with_shares());
  CHECK(share_of(rig, "fake").bytes == kTotal);
  REQUIRE(rig.engine->add_model("other", replicas(rig, 9), limited(kTotal / 4, kTotal / 2)));
  CHECK(share_of(rig, "other").bytes == kTotal / 2);
  CHECK(share_of(rig, "other").min_bytes == kTotal / 4);
  for (const char* text : {"a", "b", "a"}) ask(rig, "fake", text);
  CHECK(ask(rig, "other", "a") == AnswerSource::model);
  CHECK(share_of(rig, "fake").memory.entries == 2);
  CHECK(share_of(rig, "fake").memory.hits == 1);
  CHECK(share_of(rig, "other").memory.entries == 1);
  const CacheTierStats all = rig.engine->cache_stats().front();
  CHECK(all.entries == 3);
  CHECK(all.hits == 1);
  CHECK(all.bytes <= kTotal);
  const std::string text = to_prometheus(rig.engine->metrics());
  CHECK(text.find("tidegate_cache_share_bytes{model=\"other\"} 2097152") != std::string::npos);
  CHECK(text.find("tidegate_cache_share_hits_total{model=\"fake\"} 1") != std::string::npos);
}

TEST_CASE("engine shares: a model that is asked for the same wins bytes from one that never is") {
  EngineRig rig({}, with_shares());
  REQUIRE(rig.engine->add_model("other", replicas(rig, 9)));
  for (int round = 0; round < 3; ++round) {
    // More than half of the budget holds.
    for (int i = 0; i < 24'000; ++i) {
      ask(rig, "fake", "text " + std::to_string(i));
      ask(rig, "other", std::to_string(round) + ' ' + std::to_string(i));
    }
  }
  CHECK(share_of(rig, "fake").bytes > kTotal * 9 / 16);
  CHECK(share_of(rig, "fake").bytes + share_of(rig, "other").bytes <= kTotal);
  CHECK(rig.engine->cache_stats().front().bytes <= kTotal);
}

TEST_CASE("engine shares: a new version keeps the share and has limits of its own") {
  EngineRig rig({}, with_shares());
  ask(rig, "fake", "a");
  REQUIRE(rig.engine->replace_model("fake", replicas(rig, 9), limited(0, kTotal / 2)));
  CHECK(rig.engine->cache_shares()->size() == 1);
  CHECK(share_of(rig, "fake").bytes == kTotal / 2);
  CHECK(share_of(rig, "fake").memory.entries == 1);
  REQUIRE(rig.engine->replace_model("fake", replicas(rig, 10)));
  CHECK(share_of(rig, "fake").bytes == kTotal);
}

TEST_CASE("engine shares: what is refused changes no share and keeps none") {
  EngineRig rig({}, with_shares());
  REQUIRE(rig.engine->add_model("other", replicas(rig, 9), limited(kTotal / 2, 0)));
  const auto too_much = rig.engine->add_model("third", replicas(rig, 10), limited(kTotal / 2 + 1, 0));
  REQUIRE_FALSE(too_much);
  CHECK(too_much.error().code() == ErrorCode::invalid_argument);
  CHECK(std::string(too_much.error().message())
            .starts_with("model 'third': cache.share.min_bytes is 2097153; it must be 0 to "));
  CHECK(rig.engine->add_model("other", replicas(rig, 10), limited(0, kTotal / 4)).error().code() ==
        ErrorCode::already_exists);
  CHECK(rig.engine->replace_model("other", replicas(rig, 10), limited(kTotal, 0)).error().code() ==
        ErrorCode::invalid_argument);
  CHECK(share_of(rig, "other").bytes == kTotal / 2);
  CHECK(share_of(rig, "other").min_bytes == kTotal / 2);
  CHECK(rig.engine->cache_shares()->size() == 2);
  const auto upside_down = rig.engine->add_model("third", replicas(rig, 10), limited(2000, 1000));
  REQUIRE_FALSE(upside_down);
  CHECK(std::string(upside_down.error().message())
            .starts_with("cache.share.max_bytes is 1000; it must be 0 (no limit) or 2000"));
  rig.engine->drain(Duration::zero());
  CHECK(rig.engine->add_model("third", replicas(rig, 10)).error().code() == ErrorCode::shutting_down);
  CHECK(rig.engine->cache_shares()->size() == 2);
}

TEST_CASE("engine shares: limits without shares are refused, and so is the curve with them") {
  EngineRig rig;
  CHECK(rig.engine->cache_shares()->empty());
  const auto refused = rig.engine->add_model("other", replicas(rig, 9), limited(1000, 0));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message() ==
        "model 'other': cache.share.min_bytes is 1000 and cache.share.max_bytes 0; both must be 0 unless "
        "cache.memory.per_model is on");
  EngineOptions options;
  options.cache = with_shares();
  options.cache.memory.curve = CacheCurve::on;
  CHECK(Engine::create(std::move(options)).error().message() ==
        "cache.memory.curve is on; with cache.memory.per_model on it must be off");
}

TEST_CASE("engine shares: invalidating one of several models gives its memory back at once") {
  EngineRig rig({}, with_shares());
  REQUIRE(rig.engine->add_model("other", replicas(rig, 9)));
  ask(rig, "fake", "a");
  ask(rig, "other", "a");
  REQUIRE(rig.engine->invalidate_cache({"other", {}, {}}));
  CHECK(share_of(rig, "other").memory.entries == 0);
  CHECK(share_of(rig, "fake").memory.entries == 1);
  CHECK(ask(rig, "fake", "a") == AnswerSource::cache);
  CHECK(ask(rig, "other", "a") == AnswerSource::model);
}

TEST_CASE("engine shares: memory pressure shrinks all of them, and they come back") {
  EngineRig rig({}, with_shares());
  REQUIRE(rig.engine->add_model("other", replicas(rig, 9), limited(kTotal / 2, 0)));
  for (int i = 0; i < 8000; ++i) ask(rig, i % 2 == 0 ? "fake" : "other", std::to_string(i));
  REQUIRE(rig.engine->resize_cache(kTotal / 4));
  CHECK(rig.engine->cache_stats().front().bytes <= kTotal / 4);
  CHECK(share_of(rig, "other").min_bytes == kTotal / 8);
  REQUIRE(rig.engine->resize_cache(kTotal));
  CHECK(share_of(rig, "other").bytes >= kTotal / 2);
  CHECK(share_of(rig, "fake").bytes + share_of(rig, "other").bytes > kTotal - kTotal / 512);
}

TEST_CASE("engine shares: over a restart each model's answers come back to it") {
  const TemporaryFolder folder;
  const CacheOptions cache = with_shares(folder.file("snapshot"));
  {
    EngineRig rig({}, cache);
    REQUIRE(rig.engine->add_model("other", replicas(rig, 9)));
    for (const char* text : {"a", "b"}) ask(rig, "fake", text);
    ask(rig, "other", "a");
  }
  {
    // Without one of its models: what is that one's stays in the file, also over an invalidation.
    EngineRig rig({}, cache);
    CHECK(rig.engine->snapshot_stats().restored == 2);
    REQUIRE(rig.engine->invalidate_cache({"fake", "x", {}}));
    CHECK_FALSE(std::filesystem::exists(folder.file("snapshot")));
    REQUIRE(rig.engine->save_cache());
  }
  EngineRig rig({}, cache);
  CHECK(rig.engine->snapshot_stats().restored == 2);
  CHECK(ask(rig, "fake", "a") == AnswerSource::cache);
  REQUIRE(rig.engine->add_model("other", replicas(rig, 9)));
  CHECK(rig.engine->snapshot_stats().restored == 3);
  CHECK(share_of(rig, "other").memory.entries == 1);
  CHECK(ask(rig, "other", "a") == AnswerSource::cache);
}
