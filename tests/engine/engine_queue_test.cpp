// Classes, tenants, announced requests and explanations, as a program sees them.
#include <doctest/doctest.h>

#include "engine/engine_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;

TEST_CASE("engine: classes and tenants decide who shares the next batch") {
  ModelOptions options;
  options.batching.max_batch_size = 2;
  EngineRig rig(options);
  Answer answers[6];
  const auto send = [&](int i, Priority priority, const char* tenant) {
    Request request = rig.request("text " + std::to_string(i));
    request.options.priority = priority;
    request.options.tenant = tenant;
    REQUIRE(rig.engine->infer(std::move(request), answers[i].callback()));
  };
  send(0, Priority::interactive, "");
  send(1, Priority::batch, "one");
  send(2, Priority::interactive, "one");
  send(3, Priority::interactive, "one");
  send(4, Priority::interactive, "two");
  send(5, Priority::critical, "two");
  const auto step = [&] {
    rig.workers->run_all();
    rig.completions->run_all();
  };
  step();
  CHECK(answers[0].answered());
  rig.settle();
  const auto decisions = rig.engine->explain();
  REQUIRE(decisions);
  REQUIRE(decisions->size() == 4);
  CHECK((*decisions)[1].opened_by == Priority::critical);
  CHECK((*decisions)[1].items == 2);
  CHECK((*decisions)[2].items == 2);
  CHECK((*decisions)[3].opened_by == Priority::batch);
  for (const Answer& answer : answers) CHECK(answer.calls == 1);
}

TEST_CASE("engine: explain tells of every batch why it is as it is and how long it took") {
  ModelOptions options;
  options.batching.max_batch_size = 4;
  EngineRig rig(options);
  Answer answers[8];
  for (int i = 0; i < 8; ++i) {
    REQUIRE(rig.engine->infer(rig.request("text " + std::to_string(i)), answers[i].callback()));
  }
  rig.clock->advance(std::chrono::milliseconds(3));
  rig.settle();
  const auto decisions = rig.engine->explain("fake");
  REQUIRE(decisions);
  REQUIRE(decisions->size() == 3);
  CHECK((*decisions)[0].number == 1);
  CHECK((*decisions)[0].fullness == Fullness::nothing_left);
  CHECK((*decisions)[0].actual == std::chrono::milliseconds(3));
  CHECK((*decisions)[1].items == 4);
  CHECK((*decisions)[1].left == 3);
  CHECK((*decisions)[1].fullness == Fullness::rows);
  CHECK((*decisions)[1].trigger == Trigger::full);
  CHECK((*decisions)[1].oldest_wait == std::chrono::milliseconds(3));
  CHECK((*decisions)[2].trigger == Trigger::idle_slot);
  const std::string text = to_text((*decisions)[1]);
  CHECK(text.find("batch 2: 4 items") == 0);
  CHECK(text.find("stopped by rows") != std::string::npos);
  CHECK(text.find("oldest waited 3.000 ms") != std::string::npos);
  CHECK_FALSE(rig.engine->explain("no such model"));
  // The first batch was formed at once and reached its worker three milliseconds later.
  CHECK((*answers[0].result)->timing.dispatch == std::chrono::milliseconds(3));
  CHECK((*answers[1].result)->timing.queue == std::chrono::milliseconds(3));
  CHECK((*answers[1].result)->timing.dispatch == Duration::zero());
}

TEST_CASE("engine: what is learned shows in the profile and turns into early endings") {
  ModelOptions options;
  options.batching.max_batch_size = 4;
  EngineRig* running = nullptr;
  EngineRig rig(options, {}, [&](std::span<BatchItem> items) {
    running->clock->advance(std::chrono::milliseconds(10));
    for (BatchItem& item : items) item.output = std::vector<Tensor>();
  });
  running = &rig;
  for (int i = 0; i < 40; ++i) {
    Answer answer;
    REQUIRE(rig.engine->infer(rig.request("lesson " + std::to_string(i)), answer.callback()));
    rig.settle();
    REQUIRE(answer.answered());
  }
  const auto profile = rig.engine->latency_profile();
  REQUIRE(profile);
  CHECK(profile->samples == 40);
  RequestOptions hopeless;
  hopeless.deadline = rig.clock->now() + std::chrono::milliseconds(5);
  Answer answer;
  const auto refused = rig.engine->infer(rig.request("late", hopeless), answer.callback());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::overloaded);
  CHECK(answer.calls == 0);
}

TEST_CASE("engine: a replica lingers for an announced request, and for nobody once it is dropped") {
  ModelOptions options;
  options.batching.max_queue_delay = std::chrono::milliseconds(50);
  options.batching.linger = Linger::announced;
  EngineRig rig(options);
  Answer first;
  Answer second;
  Answer third;
  REQUIRE(rig.engine->infer(rig.request("alone"), first.callback()));
  rig.settle();
  CHECK(first.answered());
  auto announcement = rig.engine->announce();
  REQUIRE(announcement);
  CHECK(*announcement != nullptr);
  REQUIRE(rig.engine->infer(rig.request("waits"), second.callback()));
  rig.settle();
  CHECK(second.calls == 0);
  REQUIRE(rig.engine->infer(rig.request("came"), third.callback()));
  announcement->reset();
  rig.settle();
  CHECK(second.answered());
  CHECK((*third.result)->timing.batch_size == 2);
  CHECK_FALSE(rig.engine->announce("no such model"));
}

TEST_CASE("engine: a replica that lingers for nobody in particular needs no announcements") {
  EngineRig rig;
  const auto announcement = rig.engine->announce();
  REQUIRE(announcement);
  CHECK(*announcement == nullptr);
}

TEST_CASE("engine: a tenant beyond its rate is refused with the time to come back") {
  ModelOptions options;
  options.admission.tenant_limits.requests_per_minute = 2;
  EngineRig rig(options);
  const auto send = [&](const char* text, const char* tenant) {
    Request request = rig.request(text);
    request.options.tenant = tenant;
    return rig.engine->infer(std::move(request), [](Result<Response>) {});
  };
  CHECK(send("a", "one"));
  CHECK(send("b", "one"));
  const auto refused = send("c", "one");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::quota_exceeded);
  CHECK(refused.error().retry_after() > std::chrono::seconds(29));
  CHECK(send("d", "two"));
  rig.settle();
  CHECK(send("a", "one"));  // from the cache, which is free
  rig.settle();
}
