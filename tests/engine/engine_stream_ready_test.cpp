// When a stream has something, without taking it; and its bound in bytes.
#include <doctest/doctest.h>

#include "engine/stream_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;
using namespace std::chrono_literals;

TEST_CASE("engine streams: a consumer is told once that something is there, on the completion executor") {
  StreamRig rig;
  Stream stream = rig.open("a 3");
  int told = 0;
  REQUIRE(*stream.when_ready([&] { ++told; }) == false);
  CHECK(stream.when_ready([] { FAIL("refused"); }).error().code() == ErrorCode::busy);
  CHECK(stream.next([](StreamEvent) { FAIL("refused"); }).error().code() == ErrorCode::busy);
  rig.workers->run_one();
  CHECK(told == 0);
  rig.settle();
  CHECK(told == 1);
  Taken taken;
  CHECK(*stream.when_ready([] { FAIL("there is something already"); }) == true);
  taken.take_from(stream);
  CHECK(taken.chunks == 3);
  CHECK(taken.answered());
  CHECK(stream.when_ready([] {}).error().code() == ErrorCode::invalid_argument);
  CHECK_FALSE(stream.wait_ready(1h));  // after the end nothing comes, and nobody waits for it
}

TEST_CASE("engine streams: who was quicker than the word that something is there is told of the next") {
  StreamRig rig;
  Stream stream = rig.open("a 2");
  int told = 0;
  REQUIRE(*stream.when_ready([&] { ++told; }) == false);
  rig.workers->run_one();
  Taken taken;
  taken.add(*stream.try_next());
  rig.completions->run_all();
  CHECK(told == 0);
  rig.workers->run_one();
  rig.completions->run_all();
  CHECK(told == 1);
  taken.take_from(stream);
  CHECK(taken.answered());
}

TEST_CASE("engine streams: a callback that waits is told the end of a cancelled stream, and dropped with a taken one") {
  StreamRig rig;
  int told = 0;
  {
    Stream cancelled = rig.open("a 9");
    REQUIRE(*cancelled.when_ready([&] { ++told; }) == false);
    cancelled.cancel();
    rig.settle();
    CHECK(told == 1);
  }
  const auto alive = std::make_shared<int>(0);
  Stream taken = rig.open("b 1");
  REQUIRE(*taken.when_ready([alive] {}) == false);
  CHECK(alive.use_count() == 2);
  rig.workers->run_all();
  CHECK(taken.try_next());
  rig.completions->run_all();
  CHECK(taken.try_next());
  CHECK(alive.use_count() == 1);
}

TEST_CASE("engine streams: what throws when it is told counts as a callback that threw") {
  StreamRig rig;
  Stream stream = rig.open("a 1");
  REQUIRE(*stream.when_ready([] { throw std::runtime_error("told"); }) == false);
  rig.settle();
  Taken taken;
  taken.take_from(stream);
  CHECK(taken.answered());
  CHECK(rig.engine->metrics().value("tidegate_callback_exceptions_total", {{"model", "step"}}) == 1);
}

TEST_CASE("engine streams: a wait for something ends with it, or with its bound") {
  auto engine = *Engine::create();
  std::vector<Replica> set;
  set.push_back({std::make_unique<StepRunner>(), {}});
  REQUIRE(engine.add_model("step", std::move(set)));
  auto stream = *engine.stream({"", std::string("a 30"), {}}, {.buffer_chunks = 1});
  Taken taken;
  while (!taken.end) {
    REQUIRE(stream.wait_ready(Duration::max()));
    taken.take_from(stream);
  }
  CHECK(taken.chunks == 30);
  StreamRig rig;
  {
    Stream silent = rig.open("a 1");
    CHECK_FALSE(silent.wait_ready(0ns));
    CHECK_FALSE(silent.wait_ready(1ms));
  }
  rig.settle();
}

TEST_CASE("engine streams: chunks that wait are bounded in bytes, and room made for half of one parks on") {
  int steps = 0;
  ModelOptions model;
  model.batching.stream_buffer_bytes = 3 * sizeof(float);  // StepRunner emits one number a step
  StreamRig rig([&](std::span<BatchItem> batch) { steps += static_cast<int>(batch.size()); }, model);
  Stream stream = rig.open("a 9", {}, {.buffer_chunks = 100});
  rig.settle();
  CHECK(steps == 3);
  CHECK(rig.gauge("tidegate_parked_items") == 1);
  Stream narrow = rig.open("b 9", {}, {.buffer_chunks = 100, .buffer_bytes = 1});
  rig.settle();
  CHECK(steps == 4);
  Taken taken;
  taken.add(*stream.try_next());
  rig.settle();
  CHECK(steps == 5);
  CHECK(rig.gauge("tidegate_parked_items") == 2);
  while (!taken.end) {
    taken.take_from(stream);
    rig.settle();
  }
  CHECK(taken.chunks == 9);
  const auto refused = rig.engine->stream({"step", std::string("a 1"), {}}, {.buffer_bytes = std::uint64_t{1} << 51});
  CHECK(refused.error().message().find("buffer_bytes") != std::string_view::npos);
  narrow.cancel();
  rig.settle();
}

TEST_CASE("engine streams: a stream over its bytes is parked until it is below them, not at the first taken chunk") {
  int steps = 0;
  StreamRig rig([&](std::span<BatchItem> batch) {
    for (BatchItem& item : batch) {
      const std::vector<float> numbers(steps++ == 1 ? 10 : 1);  // the second chunk is large
      item.emitted = {Tensor::vector_of(numbers)};
      item.step = steps < 4 ? StepEnd::proceeds : StepEnd::done;
      item.output = std::vector<Tensor>{};
    }
  });
  Stream stream = rig.open("a 4", {}, {.buffer_chunks = 100, .buffer_bytes = 2 * sizeof(float)});
  rig.settle();
  CHECK(steps == 2);
  CHECK(stream.try_next());
  rig.settle();
  CHECK(steps == 2);
  CHECK(rig.gauge("tidegate_parked_items") == 1);
  CHECK(stream.try_next());
  rig.settle();
  CHECK(steps == 4);
}
