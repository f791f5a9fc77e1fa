#include <doctest/doctest.h>

#include <future>
#include <thread>

#include "engine/engine_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;

TEST_CASE("engine: a request is answered by the model, later and never inside the call") {
  EngineRig rig;
  Answer answer;
  REQUIRE(rig.engine->infer(rig.request("hello"), answer.callback()));
  CHECK(answer.calls == 0);
  rig.settle();
  REQUIRE(answer.calls == 1);
  REQUIRE(answer.answered());
  const Response& response = **answer.result;
  CHECK(response.outputs.at(0).as<float>()[0] == 5);
  CHECK(response.source == AnswerSource::model);
  CHECK(response.timing.batch_size == 1);
  CHECK(response.timing.replica == 0);
}

TEST_CASE("engine: while the replica is busy the queue becomes the next batch") {
  EngineRig rig({.batching = {.max_batch_size = 4}});
  std::vector<Answer> answers(7);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    REQUIRE(rig.engine->infer(rig.request("text " + std::to_string(i)), answers[i].callback()));
  }
  rig.settle();
  REQUIRE(rig.log->batches.size() == 3);
  CHECK(rig.log->batches[0].size() == 1);
  CHECK(rig.log->batches[1].size() == 4);
  CHECK(rig.log->batches[2].size() == 2);
  for (const Answer& answer : answers) CHECK(answer.answered());
}

TEST_CASE("engine: an equal request in flight is computed once") {
  EngineRig rig;
  Answer first, second;
  REQUIRE(rig.engine->infer(rig.request("same"), first.callback()));
  REQUIRE(rig.engine->infer(rig.request("same"), second.callback()));
  rig.settle();
  CHECK(rig.log->batches.size() == 1);
  CHECK((*first.result)->source == AnswerSource::model);
  CHECK((*second.result)->source == AnswerSource::joined);
}

TEST_CASE("engine: an answered request is in memory afterwards") {
  EngineRig rig;
  Answer first, second;
  CHECK_FALSE(rig.engine->try_cached(rig.request("again")));
  REQUIRE(rig.engine->infer(rig.request("again"), first.callback()));
  rig.settle();
  REQUIRE(rig.engine->infer(rig.request("again"), second.callback()));
  CHECK(second.calls == 0);
  rig.settle();
  CHECK(rig.log->batches.size() == 1);
  CHECK((*second.result)->source == AnswerSource::cache);
  CHECK((*second.result)->timing.cache_tier == 0);
  const auto cached = rig.engine->try_cached(rig.request("again"));
  REQUIRE(cached);
  CHECK(cached->outputs.at(0).as<float>()[0] == 5);
}

TEST_CASE("engine: cache modes decide who looks up, joins and stores") {
  EngineRig rig;
  const auto run = [&](CacheMode mode) {
    Answer answer;
    REQUIRE(rig.engine->infer(rig.request("mode", {.cache = mode}), answer.callback()));
    rig.settle();
    return (*answer.result)->source;
  };
  CHECK(run(CacheMode::bypass) == AnswerSource::model);
  CHECK(run(CacheMode::use) == AnswerSource::model);
  CHECK(run(CacheMode::use) == AnswerSource::cache);
  CHECK(run(CacheMode::refresh) == AnswerSource::model);
  CHECK(run(CacheMode::bypass) == AnswerSource::model);
  CHECK(rig.log->batches.size() == 4);
}

TEST_CASE("engine: a refresh computes anew although an equal request is in flight") {
  EngineRig rig;
  Answer first, refresh, later;
  REQUIRE(rig.engine->infer(rig.request("same"), first.callback()));
  REQUIRE(rig.engine->infer(rig.request("same", {.cache = CacheMode::refresh}), refresh.callback()));
  REQUIRE(rig.engine->infer(rig.request("same"), later.callback()));
  rig.settle();
  CHECK(rig.log->batches.size() == 2);
  CHECK((*refresh.result)->source == AnswerSource::model);
  CHECK((*later.result)->source == AnswerSource::joined);
}

TEST_CASE("engine: a model that is not deterministic is never cached or joined") {
  EngineRig rig;
  auto runner = std::make_unique<FakeRunner>(rig.log);
  runner->mutable_info().deterministic = false;
  std::vector<Replica> set;
  set.push_back({std::move(runner), {}});
  REQUIRE(rig.engine->add_model("dice", std::move(set)));
  Answer answers[2];
  for (Answer& answer : answers) REQUIRE(rig.engine->infer({"dice", "roll", {}}, answer.callback()));
  rig.settle();
  CHECK_FALSE(rig.engine->try_cached({"dice", "roll", {}}));
  CHECK(rig.log->batches.size() == 2);
}

TEST_CASE("engine: a deadline ends a request at its moment, also while the replica is busy") {
  EngineRig rig;
  Answer busy, late;
  REQUIRE(rig.engine->infer(rig.request("first"), busy.callback()));
  const Deadline deadline = rig.clock->now() + std::chrono::milliseconds(10);
  REQUIRE(rig.engine->infer(rig.request("second", {.deadline = deadline}), late.callback()));
  rig.clock->advance(std::chrono::milliseconds(9));
  rig.completions->run_all();
  CHECK(late.calls == 0);
  rig.clock->advance(std::chrono::milliseconds(1));
  rig.completions->run_all();
  CHECK(late.has(ErrorCode::deadline_exceeded));
  rig.settle();
  CHECK(busy.answered());
  CHECK(late.calls == 1);
  CHECK(rig.log->batches.size() == 1);
}

TEST_CASE("engine: cancel completes a waiting or running request once, and nobody else") {
  EngineRig rig;
  Answer running, waiting, other;
  const auto running_id = rig.engine->infer(rig.request("run"), running.callback());
  const auto waiting_id = rig.engine->infer(rig.request("wait"), waiting.callback());
  REQUIRE(rig.engine->infer(rig.request("other"), other.callback()));
  CHECK(rig.engine->cancel(*waiting_id));
  CHECK(rig.engine->cancel(*running_id));
  CHECK_FALSE(rig.engine->cancel(*waiting_id));
  rig.settle();
  CHECK(running.has(ErrorCode::cancelled));
  CHECK(waiting.has(ErrorCode::cancelled));
  CHECK(other.answered());
  CHECK_FALSE(rig.engine->cancel(*running_id));
  CHECK_FALSE(rig.engine->cancel(RequestId{0x7FFFFFFFFFFFFFFF}));
  CHECK(running.calls + waiting.calls + other.calls == 3);
}

TEST_CASE("engine: a full queue refuses with the numbers and changes nothing") {
  EngineRig rig({.batching = {}, .admission = {.max_queued_items = 2}});
  Answer running, first, second, refused;
  REQUIRE(rig.engine->infer(rig.request("a"), running.callback()));
  REQUIRE(rig.engine->infer(rig.request("b"), first.callback()));
  REQUIRE(rig.engine->infer(rig.request("c"), second.callback()));
  const auto result = rig.engine->infer(rig.request("d"), refused.callback());
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == ErrorCode::queue_full);
  CHECK(result.error().limit() == 2);
  CHECK(result.error().retry_after() > Duration::zero());
  rig.settle();
  CHECK(refused.calls == 0);
  CHECK(first.answered());
  CHECK(second.answered());
  const auto metrics = rig.engine->metrics();
  CHECK(metrics.value("tidegate_refused_total", {{"reason", "queue_full"}}) == 1);
  CHECK(metrics.value("tidegate_requests_total", {{"outcome", "answered"}}) == 3);
}

TEST_CASE("engine: batches go to the least loaded replica") {
  EngineRig rig({.batching = {.max_batch_size = 1}}, {}, {}, 3);
  std::vector<Answer> answers(9);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    REQUIRE(rig.engine->infer(rig.request("r" + std::to_string(i)), answers[i].callback()));
  }
  CHECK(rig.workers->size() == 3);
  rig.settle();
  std::vector<int> by_replica(3);
  for (const Answer& answer : answers) ++by_replica.at(static_cast<std::size_t>((*answer.result)->timing.replica));
  CHECK(by_replica == std::vector<int>{3, 3, 3});
}

TEST_CASE("engine: models are named, the only one needs no name") {
  EngineRig rig;
  Answer answer;
  CHECK(rig.engine->infer({"nobody", "x", {}}, answer.callback()).error().code() == ErrorCode::not_found);
  std::vector<Replica> set;
  set.push_back({std::make_unique<FakeRunner>(rig.log), {}});
  CHECK(rig.engine->add_model("fake", std::move(set)).error().code() == ErrorCode::already_exists);
  std::vector<Replica> second;
  second.push_back({std::make_unique<FakeRunner>(rig.log), {}});
  REQUIRE(rig.engine->add_model("two", std::move(second)));
  CHECK(rig.engine->infer({"", "x", {}}, answer.callback()).error().code() == ErrorCode::not_found);
  CHECK(rig.engine->infer({"two", "x", {}}, answer.callback()));
  CHECK(rig.engine->model_info("two")->kind == "fake");
  CHECK_FALSE(rig.engine->model_info());
  rig.settle();
  CHECK(answer.answered());
}

TEST_CASE("engine: real threads answer futures from many callers") {
  auto engine = *Engine::create();
  std::vector<Replica> set;
  for (int i = 0; i < 2; ++i) set.push_back({std::make_unique<FakeRunner>(), {}});
  REQUIRE(engine.add_model("fake", std::move(set)));
  std::vector<std::thread> callers;
  std::atomic<int> right = 0;
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([&engine, &right, t] {
      for (int i = 0; i < 500; ++i) {
        const std::string text(static_cast<std::size_t>(1 + (i * 7 + t) % 90), 'x');
        auto result = engine.infer_future({"", text, {}}).get();
        if (result && result->outputs.at(0).as<float>()[0] == static_cast<float>(text.size())) ++right;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(right == 2000);
  CHECK(engine.metrics().value("tidegate_requests_total", {{"outcome", "answered"}}) == 2000);
}

TEST_CASE("engine: an answer names the variant that computed it, one from the cache names none") {
  EngineRig rig;
  std::vector<Replica> replicas;
  for (const char* own : {"", "cheap"}) {
    auto runner = std::make_unique<FakeRunner>();
    runner->mutable_info().variant = "f32";
    replicas.push_back({std::move(runner), {.variant = own}});
  }
  ModelOptions alone;
  alone.batching.max_batch_size = 1;
  REQUIRE(rig.engine->add_model("two", std::move(replicas), alone));
  Answer first, second, hit;
  REQUIRE(rig.engine->infer({"two", "a", {}}, first.callback()));
  REQUIRE(rig.engine->infer({"two", "b", {}}, second.callback()));
  rig.settle();
  CHECK((*first.result)->variant == "f32");
  CHECK((*second.result)->variant == "cheap");
  REQUIRE(rig.engine->infer({"two", "a", {}}, hit.callback()));
  rig.settle();
  CHECK((*hit.result)->source == AnswerSource::cache);
  CHECK((*hit.result)->variant.empty());
}

TEST_CASE("engine 4.13/24: a model whose longest text would break a cap is refused, with the cap and the number") {
  EngineRig rig;
  for (const bool in_queue : {false, true}) {
    std::vector<Replica> replicas;
    auto runner = std::make_unique<FakeRunner>();
    runner->mutable_info().max_tokens = 256;
    replicas.push_back({std::move(runner), {}});
    ModelOptions options;
    (in_queue ? options.admission.max_queued_tokens : options.batching.max_batch_tokens) = 255;
    const auto added = rig.engine->add_model("long", std::move(replicas), options);
    REQUIRE_FALSE(added);
    CHECK(added.error().code() == ErrorCode::invalid_argument);
    const std::string_view cap = in_queue ? "admission.max_queued_tokens is 255" : "batching.max_batch_tokens is 255";
    CHECK(added.error().message().find(cap) != std::string_view::npos);
    CHECK(added.error().message().find("256 tokens") != std::string_view::npos);
  }
}
