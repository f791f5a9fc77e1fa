// Answers to questions that mean the same, from the request to the response.
#include <doctest/doctest.h>

#include <string>
#include <thread>

#include "cache/cache_namespace.hpp"
#include "cache/fake_tiers.hpp"
#include "engine/engine_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

/// A rig whose model "fake" embeds (any two texts of some length lie near each other), and a second
/// model that always answers `reply`.
struct SimilarRig {
  explicit SimilarRig(SemanticCacheOptions semantic = options(), CacheOptions cache = {}) : rig({}, std::move(cache)) {
    ModelOptions model;
    model.semantic = std::move(semantic);
    std::vector<Replica> replicas;
    auto runner = std::make_unique<FakeRunner>(answered, [this](std::span<BatchItem> batch) {
      for (BatchItem& item : batch) item.output = std::vector<Tensor>{Tensor::vector_of(std::vector<float>{reply})};
    });
    runner->mutable_info().fingerprint[0] = 2;
    replicas.push_back({std::move(runner), {}});
    REQUIRE(rig.engine->add_model("chat", std::move(replicas), model));
  }

  [[nodiscard]] static SemanticCacheOptions options() {
    SemanticCacheOptions semantic;
    semantic.embedder = "fake";
    semantic.false_hit_budget = 0.5;  // after three right trials hits are answered
    semantic.audited_percent = 1;
    return semantic;
  }

  Result<Response> ask(const std::string& text, RequestOptions how = {.cache = CacheMode::similar}) {
    Answer answer;
    const auto accepted = rig.engine->infer(Request{"chat", text, std::move(how)}, answer.callback());
    if (!accepted) return accepted.error();
    while (answer.calls == 0) {
      rig.settle();
      std::this_thread::yield();  // the tier's own thread has the request
    }
    return *std::move(answer.result);
  }

  /// Until what the tier was told has reached it.
  void await_entries(std::uint64_t entries) {
    while (stats().inserted < entries) std::this_thread::yield();
  }
  [[nodiscard]] SemanticCacheStats stats() { return **rig.engine->semantic_stats("chat"); }

  /// Like questions: one that is stored, three that are tried and found right.
  void leave_probation() {
    REQUIRE(ask("how do I reset the password of my account"));
    await_entries(1);
    REQUIRE(ask("how can I reset the password of my account"));
    await_entries(2);
    REQUIRE(ask("how could I reset the password of my account"));
    await_entries(3);
    REQUIRE(ask("how would I reset the password of my account"));
    await_entries(4);
    REQUIRE(stats().state == SemanticCacheStats::State::serving);
  }

  float reply = 7;
  std::shared_ptr<FakeRunner::Log> answered = std::make_shared<FakeRunner::Log>();
  EngineRig rig;
};

}  // namespace

TEST_CASE("engine similar: like questions are tried, then answered, and marked as another question's") {
  SimilarRig rig;
  rig.leave_probation();
  const std::size_t runs = rig.answered->batches.size();
  CHECK(runs == 4);
  const auto answer = rig.ask("how may I reset the password of my account");
  REQUIRE(answer);
  CHECK(answer->source == AnswerSource::similar);
  REQUIRE(answer->similarity);
  CHECK(answer->similarity->cosine > 0.95F);
  CHECK(answer->outputs.at(0).as<float>()[0] == 7);
  CHECK(rig.answered->batches.size() == runs);
  CHECK(rig.stats().hits == 1);
  CHECK(rig.stats().tried == 3);
}

TEST_CASE("engine similar: who does not ask for it, another tenant and another scope get the model's answer") {
  SimilarRig rig;
  rig.leave_probation();
  CHECK(rig.ask("how may I reset the password of my account", {})->source == AnswerSource::model);
  RequestOptions tenant{.cache = CacheMode::similar};
  tenant.tenant = "acme";
  CHECK(rig.ask("how shall I reset the password of my account", tenant)->source == AnswerSource::model);
  RequestOptions within{.cache = CacheMode::similar};
  within.similar_within = "answer in French";
  CHECK(rig.ask("how will I reset the password of my account", within)->source == AnswerSource::model);
  rig.await_entries(6);
  CHECK(rig.stats().hits == 0);
  CHECK(rig.stats().partitions == 3);
}

TEST_CASE("engine similar: a number, a negation or a rare word that differs gets the model's answer") {
  SimilarRig rig;
  rig.leave_probation();
  for (const char* text :
       {"how do I not reset the password of my account", "how do I reset the 2 passwords of my account",
        "how do I reset the picture of my account"}) {
    CAPTURE(text);
    CHECK(rig.ask(text)->source == AnswerSource::model);
  }
  CHECK(rig.stats().guarded == 3);
}

TEST_CASE("engine similar: an exact repeat is a cache hit and needs no embedding") {
  SimilarRig rig;
  REQUIRE(rig.ask("the same question"));
  const std::size_t embedded = rig.rig.log->batches.size();
  const auto again = rig.ask("the same question");
  CHECK(again->source == AnswerSource::cache);
  CHECK_FALSE(again->similarity);
  CHECK(rig.rig.log->batches.size() == embedded);
}

TEST_CASE("engine similar: what was invalidated answers no like question either") {
  SimilarRig rig;
  rig.leave_probation();
  rig.reply = 8;
  CHECK(rig.ask("how may I reset the password of my account")->outputs.at(0).as<float>()[0] == 7);
  REQUIRE(rig.rig.engine->invalidate_cache({"chat", {}, {}}));
  const auto answer = rig.ask("how shall I reset the password of my account");
  CHECK(answer->source == AnswerSource::model);
  CHECK(answer->outputs.at(0).as<float>()[0] == 8);
}

TEST_CASE("engine similar: what was invalidated is remembered for as long as the tier's answers live") {
  const auto tier = std::make_shared<ScriptedTier>("shared");
  CacheOptions cache;
  cache.tiers = {tier};
  SemanticCacheOptions semantic = SimilarRig::options();
  semantic.time_to_live = std::chrono::hours(24 * 30);
  SimilarRig rig(semantic, cache);
  REQUIRE(rig.rig.engine->invalidate_cache({"chat", {}, {}}));
  rig.rig.settle();
  const auto table = tier->stored(CacheNamespace("chat", {rig.rig.clock, {}, {}, {}, nullptr, {}}).key());
  REQUIRE(table);
  CHECK(table->time_to_live > std::chrono::hours(24 * 30));
}

TEST_CASE("engine similar: trials that differ keep the tier from ever answering") {
  SimilarRig rig;
  for (int i = 0; i < 12; ++i) {
    rig.reply = static_cast<float>(i);
    const char* const forms[] = {"how do I reset it now please", "how can I reset it now please"};
    RequestOptions how{.cache = CacheMode::similar};
    const auto answer = rig.ask(forms[i % 2] + std::string(static_cast<std::size_t>(i / 2) % 3, '!'), how);
    REQUIRE(answer);
    if (answer->source == AnswerSource::cache) continue;
    CHECK(answer->source == AnswerSource::model);
    rig.await_entries(1);
  }
  CHECK(rig.stats().hits == 0);
}

TEST_CASE(
    "engine similar: if the embedder fails, is overloaded or hangs past the deadline, the model answers or the "
    "deadline ends it") {
  SemanticCacheOptions semantic = SimilarRig::options();
  SimilarRig rig(semantic);
  const auto malformed = rig.ask(std::string("how do I do that"));
  CHECK(malformed->source == AnswerSource::model);
  Answer late;
  RequestOptions how{.cache = CacheMode::similar};
  how.deadline = rig.rig.clock->now() + std::chrono::milliseconds(10);
  REQUIRE(rig.rig.engine->infer(Request{"chat", "a question whose embedding never comes", how}, late.callback()));
  rig.rig.clock->advance(std::chrono::milliseconds(10));
  while (late.calls == 0) {
    rig.rig.settle();
    std::this_thread::yield();
  }
  CHECK(late.has(ErrorCode::deadline_exceeded));
}

TEST_CASE("engine similar: an engine that ends with requests on their way ends each of them") {
  Answer answers[20];
  {
    SimilarRig rig;
    for (int i = 0; i < 20; ++i) {
      RequestOptions how{.cache = CacheMode::similar};
      REQUIRE(rig.rig.engine->infer(Request{"chat", "question " + std::to_string(i), how}, answers[i].callback()));
      if (i % 3 == 0) rig.rig.workers->run_all();
    }
    rig.rig.engine.reset();
    rig.rig.settle();
  }
  for (const Answer& answer : answers) CHECK(answer.calls == 1);
}

TEST_CASE("engine similar: embedders, models that may not have the tier, and options out of range are refused") {
  EngineRig rig;
  const auto add = [&](const std::string& kind, SemanticCacheOptions semantic) {
    auto runner = std::make_unique<FakeRunner>();
    runner->mutable_info().kind = kind;
    std::vector<Replica> replicas;
    replicas.push_back({std::move(runner), {}});
    ModelOptions model;
    model.semantic = std::move(semantic);
    const auto added = rig.engine->add_model("chat", std::move(replicas), model);
    REQUIRE_FALSE(added);
    return added.error();
  };
  SemanticCacheOptions semantic = SimilarRig::options();
  CHECK(add("encoder", semantic).code() == ErrorCode::invalid_argument);
  semantic.embedder = "nobody";
  CHECK(add("fake", semantic).code() == ErrorCode::not_found);
  semantic = SimilarRig::options();
  semantic.threshold = 0.4F;
  CHECK(add("fake", semantic).message().find("threshold") != std::string_view::npos);
  semantic = SimilarRig::options();
  semantic.false_hit_budget = 0;
  CHECK(add("fake", semantic).message().find("false_hit_budget") != std::string_view::npos);
  semantic = SimilarRig::options();
  semantic.capacity_bytes = 10;
  CHECK(add("fake", semantic).message().find("capacity_bytes") != std::string_view::npos);
}
