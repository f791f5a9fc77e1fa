// The memory tier over a restart.
#include <doctest/doctest.h>

#include <sys/resource.h>

#include "cache/fake_tiers.hpp"
#include "engine/engine_rig.hpp"
#include "support/temporary_folder.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

CacheOptions kept_in(const std::string& file) {
  CacheOptions cache;
  cache.snapshot.file = file;
  return cache;
}

AnswerSource ask(EngineRig& rig, const std::string& text) {
  Answer answer;
  REQUIRE(rig.engine->infer(rig.request(text), answer.callback()));
  rig.settle();
  REQUIRE(answer.answered());
  CHECK((*answer.result)->outputs.at(0).as<float>()[0] == static_cast<float>(text.size()));
  return (*answer.result)->source;
}

}  // namespace

TEST_CASE("engine snapshot: after a restart the memory answers what it answered before") {
  const TemporaryFolder folder;
  const CacheOptions cache = kept_in(folder.file("snapshot"));
  {
    EngineRig rig({}, cache);
    for (const char* text : {"a", "bc", "def"}) CHECK(ask(rig, text) == AnswerSource::model);
  }
  EngineRig rig({}, cache);
  CHECK(rig.engine->snapshot_stats().restored == 3);
  CHECK(rig.engine->snapshot_stats().skipped == 0);
  for (const char* text : {"a", "bc", "def"}) CHECK(ask(rig, text) == AnswerSource::cache);
  CHECK(ask(rig, "new") == AnswerSource::model);
  CHECK(rig.log->batches.size() == 1);
}

TEST_CASE("engine snapshot: what was invalidated stays so over a restart") {
  const TemporaryFolder folder;
  const CacheOptions cache = kept_in(folder.file("snapshot"));
  {
    EngineRig rig({}, cache);
    ask(rig, "a");
    REQUIRE(rig.engine->save_cache());
    REQUIRE(rig.engine->invalidate_cache({{}, "x", {}}));
    RequestOptions tagged;
    tagged.cache_tag = "x";
    CHECK_FALSE(rig.engine->try_cached(rig.request("a", tagged)));
  }
  for (int restart = 0; restart < 2; ++restart) {
    EngineRig rig({}, cache);
    RequestOptions tagged;
    tagged.cache_tag = "x";
    CHECK_FALSE(rig.engine->try_cached(rig.request("a", tagged)));
    CHECK(ask(rig, "a") == AnswerSource::cache);
  }
}

TEST_CASE("engine snapshot: a drain writes it, once; what cannot be written is counted and fails nothing") {
  const TemporaryFolder folder;
  const CacheOptions cache = kept_in(folder.file("snapshot"));
  {
    EngineRig rig({}, cache);
    ask(rig, "a");
    rig.engine->drain(Duration::zero());
    CHECK(rig.engine->snapshot_stats().written == 1);
    folder.remove("snapshot");
  }
  CHECK_FALSE(std::filesystem::exists(folder.file("snapshot")));
  EngineRig rig({}, kept_in(folder.file("missing/snapshot")));
  ask(rig, "a");
  CHECK(rig.engine->save_cache().error().code() == ErrorCode::io_error);
  rig.engine->drain(Duration::zero());
  CHECK(rig.engine->snapshot_stats().failed == 2);
  EngineRig none;
  CHECK(none.engine->save_cache().error().code() == ErrorCode::invalid_argument);
}

TEST_CASE("engine snapshot: a full disk leaves the former file, and is counted") {
  const TemporaryFolder folder;
  const CacheOptions cache = kept_in(folder.file("snapshot"));
  {
    EngineRig rig({}, cache);
    ask(rig, "a");
  }
  EngineRig rig({}, cache);
  for (int i = 0; i < 100; ++i) ask(rig, std::string(10, 'x') + std::to_string(i));
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{4096, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &small);
  const auto saved = rig.engine->save_cache();
  ::setrlimit(RLIMIT_FSIZE, &before);
  CHECK(saved.error().code() == ErrorCode::io_error);
  CHECK(rig.engine->snapshot_stats().failed == 1);
  EngineRig next({}, cache);
  CHECK(next.engine->snapshot_stats().restored == 1);
}

TEST_CASE("engine snapshot: the file is gone when an invalidation returns, or one from elsewhere was read") {
  const TemporaryFolder folder;
  CacheOptions cache = kept_in(folder.file("snapshot"));
  const auto tier = std::make_shared<ScriptedTier>("shared");
  cache.tiers = {tier};
  cache.bypass = CacheBypass::never;
  EngineRig rig({}, cache);
  EngineRig other({}, [&] {
    CacheOptions none = cache;
    none.snapshot.file.clear();
    return none;
  }());
  const auto there = [&] { return std::filesystem::exists(folder.file("snapshot")); };
  ask(rig, "a");
  REQUIRE(rig.engine->save_cache());
  REQUIRE(there());
  REQUIRE(rig.engine->invalidate_cache({{}, "x", {}}));
  CHECK_FALSE(there());
  rig.settle();
  REQUIRE(rig.engine->save_cache());
  rig.clock->advance(std::chrono::seconds(5));
  ask(rig, "b");
  CHECK(there());  // read, and nothing new in it
  other.clock->advance(std::chrono::seconds(5));
  ask(other, "b");
  REQUIRE(other.engine->invalidate_cache({}));
  other.settle();
  rig.clock->advance(std::chrono::seconds(5));
  ask(rig, "c");
  CHECK_FALSE(there());
  CHECK(ask(rig, "a") == AnswerSource::model);
}

TEST_CASE("engine snapshot: a file that cannot be removed is an error of the invalidation, which holds all the same") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder.file("snapshot/not empty"));
  EngineRig rig({}, kept_in(folder.file("snapshot")));
  ask(rig, "a");
  CHECK(rig.engine->invalidate_cache({}).error().code() == ErrorCode::io_error);
  CHECK(ask(rig, "a") == AnswerSource::model);
}

TEST_CASE("engine snapshot: a smaller budget gets back what was asked for most, not what came last") {
  const TemporaryFolder folder;
  CacheOptions cache = kept_in(folder.file("snapshot"));
  cache.memory.capacity_bytes = 1 << 20;
  cache.memory.shards = 1;
  const auto text = [](int number) { return std::string(static_cast<std::size_t>(number) + 1, 'x'); };
  {
    EngineRig rig({}, cache);
    for (int number = 0; number < 300; ++number) ask(rig, text(number));
    // One in ten is asked for again; a hit more or less is not what decides.
    for (int round = 0; round < 4; ++round) {
      for (int number = 0; number < 300; number += 10) ask(rig, text(number));
    }
  }
  cache.memory.capacity_bytes = 18'000;
  EngineRig rig({}, cache);
  const auto restored = rig.engine->snapshot_stats().restored;
  CHECK(restored >= 30);
  CHECK(restored < 200);
  for (int number = 0; number < 300; number += 10) {
    CAPTURE(number);
    CHECK(rig.engine->try_cached(rig.request(text(number))));
  }
}
