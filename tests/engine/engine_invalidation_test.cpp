// Answers from before an invalidation are not given after it, whoever stores them and however late.
#include <doctest/doctest.h>

#include <array>
#include <deque>
#include <random>
#include <string>

#include "cache/cache_namespace.hpp"
#include "cache/fake_tiers.hpp"
#include "engine/engine_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;
using std::chrono::hours;
using std::chrono::seconds;

namespace {

/// What the answers are made from: it changes, and then what was answered is wrong.
struct Source {
  float value = 0;
  std::function<void()> computed{};  ///< called when answers are made and not yet stored
  int computations = 0;

  std::function<void(std::span<BatchItem>)> runner() {
    return [this](std::span<BatchItem> batch) {
      for (BatchItem& item : batch) item.output = answer_of(value);
      computations += static_cast<int>(batch.size());
      if (computed) std::exchange(computed, {})();
    };
  }
};

RequestOptions tagged(std::string tag) {
  RequestOptions options;
  options.cache_tag = std::move(tag);
  return options;
}

float ask(EngineRig& rig, const std::string& text, RequestOptions options = {}) {
  Answer answer;
  REQUIRE(rig.engine->infer(rig.request(text, std::move(options)), answer.callback()));
  rig.settle();
  REQUIRE(answer.answered());
  return value_of((*answer.result)->outputs);
}

CacheOptions sharing(std::shared_ptr<CacheTier> tier) {
  CacheOptions cache;
  cache.bypass = CacheBypass::never;
  cache.tiers.push_back(std::move(tier));
  return cache;
}

CacheScope of_tag(std::string tag) { return {{}, std::move(tag), {}}; }

}  // namespace

TEST_CASE("invalidation: a model's answers are computed anew, and its memory is given back at once") {
  Source source;
  EngineRig rig({}, {}, source.runner());
  CHECK(ask(rig, "a") == 0);
  source.value = 1;
  CHECK(ask(rig, "a") == 0);
  CHECK(rig.engine->cache_stats()[0].entries == 1);
  REQUIRE(rig.engine->invalidate_cache({}));
  CHECK(rig.engine->cache_stats()[0].entries == 0);
  CHECK_FALSE(rig.engine->try_cached(rig.request("a")));
  CHECK(ask(rig, "a") == 1);
  CHECK(rig.engine->try_cached(rig.request("a")));
}

TEST_CASE("invalidation: a tag takes what is asked for with it, and nothing else") {
  Source source;
  EngineRig rig({}, {}, source.runner());
  for (const char* tag : {"", "x", "y"}) CHECK(ask(rig, std::string("text ") + tag, tagged(tag)) == 0);
  source.value = 1;
  REQUIRE(rig.engine->invalidate_cache(of_tag("x")));
  CHECK(ask(rig, "text ") == 0);
  CHECK(ask(rig, "text x", tagged("x")) == 1);
  CHECK(ask(rig, "text y", tagged("y")) == 0);
  source.value = 2;
  REQUIRE(rig.engine->invalidate_cache({}));
  for (const char* tag : {"", "x", "y"}) CHECK(ask(rig, std::string("text ") + tag, tagged(tag)) == 2);
}

TEST_CASE("invalidation: a version is a scope of its own; another one is not touched") {
  Source source;
  EngineRig rig({}, {}, source.runner());
  CHECK(ask(rig, "a") == 0);
  source.value = 1;
  Digest version = rig.engine->model_info()->fingerprint;
  ++version[0];
  REQUIRE(rig.engine->invalidate_cache({{}, {}, version}));
  CHECK(ask(rig, "a") == 0);
  --version[0];
  REQUIRE(rig.engine->invalidate_cache({{}, {}, version}));
  CHECK(rig.engine->cache_stats()[0].entries == 0);
  CHECK(ask(rig, "a") == 1);
}

TEST_CASE(
    "invalidation: a newer version of a model has keys of its own; when the former comes back, so do its answers") {
  EngineRig rig;
  const auto replicas = [&](std::uint8_t version, float value) {
    auto runner = std::make_unique<FakeRunner>(rig.log, [value](std::span<BatchItem> batch) {
      for (BatchItem& item : batch) item.output = answer_of(value);
    });
    runner->mutable_info().fingerprint[0] = version;
    std::vector<Replica> set;
    set.push_back({std::move(runner), {}});
    return set;
  };
  REQUIRE(rig.engine->replace_model("fake", replicas(2, 2)));
  CHECK(ask(rig, "a") == 2);
  REQUIRE(rig.engine->replace_model("fake", replicas(3, 3)));
  CHECK(ask(rig, "a") == 3);
  REQUIRE(rig.engine->replace_model("fake", replicas(2, 20)));
  CHECK(ask(rig, "a") == 2);
  Digest version{};
  version[0] = 2;
  REQUIRE(rig.engine->invalidate_cache({"fake", {}, version}));
  CHECK(ask(rig, "a") == 20);
}

TEST_CASE("invalidation: what it cannot name is refused and changes nothing") {
  Source source;
  EngineRig rig({}, {}, source.runner());
  CHECK(ask(rig, "a") == 0);
  source.value = 1;
  CHECK(rig.engine->invalidate_cache({"other", {}, {}}).error().code() == ErrorCode::not_found);
  CHECK(rig.engine->invalidate_cache({{}, "x", Digest{}}).error().code() == ErrorCode::invalid_argument);
  CHECK(ask(rig, "a") == 0);
}

TEST_CASE("invalidation: of two models that share the memory only one is touched") {
  Source source;
  EngineRig rig({}, {}, source.runner());
  std::vector<Replica> set;
  auto runner = std::make_unique<FakeRunner>(rig.log, source.runner());
  runner->mutable_info().fingerprint[0] = 9;
  set.push_back({std::move(runner), {}});
  REQUIRE(rig.engine->add_model("other", std::move(set)));
  const auto answer_from = [&](const char* model) {
    Answer answer;
    REQUIRE(rig.engine->infer({model, "a", {}}, answer.callback()));
    rig.settle();
    return value_of((*answer.result)->outputs);
  };
  CHECK(answer_from("fake") == 0);
  CHECK(answer_from("other") == 0);
  source.value = 1;
  REQUIRE(rig.engine->invalidate_cache({"other", {}, {}}));
  CHECK(answer_from("fake") == 0);
  CHECK(answer_from("other") == 1);
}

TEST_CASE("invalidation: a remembered error goes with the answers") {
  bool refuses = true;
  EngineRig rig({}, {}, [&](std::span<BatchItem> batch) {
    FakeRunner::answer(batch);
    if (refuses) batch[0].output = Error(ErrorCode::invalid_argument, "no");
  });
  Answer answer;
  REQUIRE(rig.engine->infer(rig.request("a"), answer.callback()));
  rig.settle();
  CHECK(answer.has(ErrorCode::invalid_argument));
  refuses = false;
  Answer again;
  CHECK_FALSE(rig.engine->infer(rig.request("a"), again.callback()));
  REQUIRE(rig.engine->invalidate_cache({}));
  ask(rig, "a");
}

TEST_CASE("invalidation: an equal request that comes after it joins no computation from before") {
  Source source;
  EngineRig rig({}, {}, source.runner());
  Answer before, after;
  REQUIRE(rig.engine->infer(rig.request("a"), before.callback()));
  source.computed = [&] {
    source.value = 1;
    REQUIRE(rig.engine->invalidate_cache({}));
    REQUIRE(rig.engine->infer(rig.request("a"), after.callback()));
  };
  rig.settle();
  REQUIRE(before.answered());
  REQUIRE(after.answered());
  CHECK(value_of((*before.result)->outputs) == 0);
  CHECK(value_of((*after.result)->outputs) == 1);
  CHECK(ask(rig, "a") == 1);
}

TEST_CASE("invalidation: a stale answer under a tag is renewed under that tag") {
  CacheOptions cache;
  cache.time_to_live_jitter_percent = 0;
  cache.fresh_for = seconds(10);
  Source source;
  EngineRig rig({}, cache, source.runner());
  REQUIRE(rig.engine->invalidate_cache(of_tag("x")));
  CHECK(ask(rig, "a", tagged("x")) == 0);
  rig.clock->advance(seconds(11));
  source.value = 1;
  CHECK(ask(rig, "a", tagged("x")) == 0);
  CHECK(ask(rig, "a", tagged("x")) == 1);
  CHECK(source.computations == 2);
}

TEST_CASE("invalidation: however submitting, computing, storing and invalidating interleave, nothing old is given") {
  // Requests of three tags, one of which is none, through two engines over one tier.
  const std::array<std::string, 3> tags{"", "x", "y"};
  int cached = 0;
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    std::mt19937_64 random(seed);
    std::array<float, 3> sources{};
    std::function<void()> late;
    const auto run = [&](std::span<BatchItem> batch) {
      for (BatchItem& item : batch) {
        const char which = std::get<std::string>(item.input->input).back();
        item.output = answer_of(sources.at(static_cast<std::size_t>(which - '0')));
      }
      if (late) std::exchange(late, {})();
    };
    const auto tier = std::make_shared<ScriptedTier>("shared");
    EngineRig one({}, sharing(tier), run);
    EngineRig other({}, sharing(tier), run);
    std::deque<std::pair<float, Answer>> asked;
    const auto submit = [&](EngineRig& rig) {
      const std::size_t tag = random() % tags.size();
      const std::string text = std::to_string(random() % 2) + std::to_string(tag);
      auto& [least, answer] = asked.emplace_back(sources.at(tag), Answer());
      REQUIRE(rig.engine->infer(rig.request(text, tagged(tags.at(tag))), answer.callback()));
    };
    const auto invalidate = [&] {
      const std::size_t tag = random() % tags.size();
      for (std::size_t i = 0; i < tags.size(); ++i) {
        if (tag == 0 || tag == i) ++sources.at(i);
      }
      // In both: what the other engine learns by itself is another test's.
      for (EngineRig* rig : {&one, &other}) REQUIRE(rig->engine->invalidate_cache(of_tag(tags.at(tag))));
    };
    for (int step = 0; step < 400; ++step) {
      EngineRig& rig = random() % 2 == 0 ? one : other;
      switch (random() % 24) {
        case 0: invalidate(); break;
        case 1: late = invalidate; break;
        case 2:
        case 3:
        case 4: rig.workers->run_one(); break;
        case 5:
        case 6:
        case 7: rig.completions->run_one(); break;
        case 8: rig.clock->advance(seconds(random() % 6)); break;
        default: submit(rig);
      }
    }
    late = {};
    one.settle();
    other.settle();
    for (const auto& [least, answer] : asked) {
      REQUIRE(answer.answered());
      CHECK(value_of((*answer.result)->outputs) >= least);
      cached += (*answer.result)->source == AnswerSource::cache ? 1 : 0;
    }
  }
  CHECK(cached > 1000);
}

TEST_CASE("invalidation: another engine over the same tier follows within five seconds of requests") {
  const auto tier = std::make_shared<ScriptedTier>("shared");
  Source source;
  EngineRig one({}, sharing(tier), source.runner());
  EngineRig other({}, sharing(tier), source.runner());
  CHECK(ask(one, "a") == 0);
  CHECK(ask(other, "a") == 0);
  CHECK(source.computations == 1);
  source.value = 1;
  other.clock->advance(seconds(5));
  CHECK(ask(other, "b") == 1);  // reads the table; nothing is invalidated yet
  REQUIRE(one.engine->invalidate_cache({}));
  one.settle();
  CHECK(ask(other, "a") == 0);  // from its memory, and it does not know
  other.clock->advance(seconds(5) - std::chrono::nanoseconds(1));
  CHECK(ask(other, "a") == 0);
  other.clock->advance(std::chrono::nanoseconds(1));
  ask(other, "c");
  CHECK(ask(other, "a") == 1);
  CHECK(ask(one, "a") == 1);
}

TEST_CASE("invalidation: without requests no tier is asked") {
  const auto tier = std::make_shared<ScriptedTier>("shared");
  EngineRig rig({}, sharing(tier));
  const int before = tier->lookups();
  rig.clock->advance(hours(1));
  rig.settle();
  CHECK(tier->lookups() == before);
}

TEST_CASE("invalidation: an engine that starts knows what was invalidated before, from the tier") {
  const auto tier = std::make_shared<ScriptedTier>("shared");
  Source source;
  {
    EngineRig rig({}, sharing(tier), source.runner());
    CHECK(ask(rig, "a", tagged("x")) == 0);
    source.value = 1;
    REQUIRE(rig.engine->invalidate_cache(of_tag("x")));
    rig.settle();
  }
  EngineRig rig({}, sharing(tier), source.runner());
  CHECK(ask(rig, "a", tagged("x")) == 1);
  CHECK(ask(rig, "a") == 0);
}

TEST_CASE("invalidation: a tier that cannot tell what was invalidated answers nobody until it can") {
  Source source;
  const auto store = std::make_shared<ScriptedTier>("store");
  EngineRig old({}, sharing(store), source.runner());
  CHECK(ask(old, "a") == 0);
  CHECK(ask(old, "b") == 0);
  source.value = 1;
  REQUIRE(old.engine->invalidate_cache({}));
  old.settle();
  bool tells = false;
  const auto halting = std::make_shared<ScriptedTier>(
      "halting", [&](std::span<const CacheKey> keys, Deadline deadline, CacheTier::Lookup done) {
        const bool is_table = keys.front() == CacheNamespace("fake", {old.clock, {}, {}, {}, nullptr}).key();
        if (is_table && !tells) return done({});
        store->get_many(keys, deadline, std::move(done));
      });
  EngineRig late({}, sharing(halting), source.runner());
  CHECK(ask(late, "a") == 1);
  CHECK(source.computations == 3);
  tells = true;
  late.clock->advance(CacheNamespace::kRetryInterval);
  CHECK(ask(old, "b") == 1);
  CHECK(ask(late, "b") == 1);
  CHECK(source.computations == 4);  // from the tier, which has told
}

TEST_CASE("invalidation: a table that a tier has lost, or that another process has overwritten, is stored again") {
  const auto tier = std::make_shared<ScriptedTier>("shared");
  Source source;
  EngineRig rig({}, sharing(tier), source.runner());
  CHECK(ask(rig, "a") == 0);
  REQUIRE(rig.engine->invalidate_cache(of_tag("x")));
  rig.settle();
  const CacheKey table = CacheNamespace("fake", {rig.clock, {}, {}, {}, nullptr}).key();
  REQUIRE(tier->stored(table));
  tier->erase_many(std::span(&table, 1));
  rig.clock->advance(seconds(5));
  ask(rig, "b");
  CHECK(tier->stored(table));
}

TEST_CASE("invalidation: waits for the tiers as long as it may, and says when one did not take it") {
  const auto tier = std::make_shared<ScriptedTier>("shared");
  EngineOptions options;
  options.cache = sharing(tier);
  Engine engine = *Engine::create(options);
  std::vector<Replica> set;
  set.push_back({std::make_unique<FakeRunner>(), {}});
  REQUIRE(engine.add_model("fake", std::move(set)));
  CHECK(engine.invalidate_cache({}, seconds(20)));
  const auto deaf = std::make_shared<ScriptedTier>(
      "deaf", [](std::span<const CacheKey>, Deadline, CacheTier::Lookup done) { done({}); });
  options.cache = sharing(deaf);
  Engine other = *Engine::create(options);
  std::vector<Replica> others;
  others.push_back({std::make_unique<FakeRunner>(), {}});
  REQUIRE(other.add_model("fake", std::move(others)));
  CHECK(other.invalidate_cache({}, std::chrono::milliseconds(20)).error().code() == ErrorCode::unavailable);
}

TEST_CASE("invalidation: tiers that throw or answer nonsense leave it in force here") {
  const auto nonsense =
      std::make_shared<ScriptedTier>("nonsense", [](std::span<const CacheKey> keys, Deadline, CacheTier::Lookup done) {
        done({stored_answer(keys.front(), 7)});
        throw std::runtime_error("a tier of the program's");
      });
  Source source;
  CacheOptions cache = sharing(nonsense);
  cache.lookup_budget = Duration::zero();
  EngineRig rig({}, cache, source.runner());
  CHECK(ask(rig, "a") == 0);
  source.value = 1;
  REQUIRE(rig.engine->invalidate_cache({}));
  rig.settle();
  CHECK(ask(rig, "a") == 1);
}
