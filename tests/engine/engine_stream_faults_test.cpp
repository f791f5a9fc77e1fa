// Streams whose model, consumer or executor fails in the middle.
#include <doctest/doctest.h>

#include <stdexcept>

#include "engine/stream_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;
using namespace std::chrono_literals;

TEST_CASE("engine stream faults 4.13/57: a step that throws ends its streams after their chunks, and nobody else") {
  bool throws = true;
  StreamRig rig([&](std::span<BatchItem> batch) {
    if (throws && StepRunner::taken_by(batch[0]) == 2) throw std::runtime_error("out of paper");
  });
  Stream first = rig.open("a 9");
  Stream second = rig.open("b 9");
  rig.settle();
  Taken taken[2];
  taken[0].take_from(first);
  taken[1].take_from(second);
  CHECK(taken[0].chunks == 2);
  CHECK(taken[0].ended_with(ErrorCode::backend_failed));
  // The second has taken part in the failed step, its second one.
  CHECK(taken[1].chunks == 1);
  CHECK(taken[1].ended_with(ErrorCode::backend_failed));
  CHECK(rig.alive->load() == 0);
  throws = false;
  Stream third = rig.open("c 4");
  rig.settle();
  Taken good;
  good.take_from(third);
  CHECK(good.chunks == 4);
  CHECK(good.answered());
}

TEST_CASE("engine stream faults 4.13/61: where steps are repeatable, one bad item among good ones fails alone") {
  auto runner = std::make_unique<StepRunner>([](std::span<BatchItem> batch) {
    for (const BatchItem& item : batch) {
      if (StepRunner::name_of(item) == "bad" && StepRunner::taken_by(item) == 1) throw std::runtime_error("poison");
    }
  });
  runner->mutable_info().repeatable_steps = true;
  EngineRig rig;
  std::vector<Replica> set;
  set.push_back({std::move(runner), {}});
  REQUIRE(rig.engine->add_model("repeats", std::move(set)));
  std::vector<Stream> streams;
  for (int i = 0; i < 8; ++i) {
    auto stream = rig.engine->stream({"repeats", std::string(i == 5 ? "bad 4" : "good 4"), {}});
    REQUIRE(stream);
    streams.push_back(*std::move(stream));
  }
  rig.settle();
  for (std::size_t i = 0; i < streams.size(); ++i) {
    Taken taken;
    taken.take_from(streams[i]);
    CHECK(taken.chunks == (i == 5 ? 1 : 4));
    CHECK(taken.answered() == (i != 5));
  }
}

TEST_CASE("engine stream faults 4.13/59: an item's own error ends it alone, and what it emitted then is dropped") {
  StreamRig rig([](std::span<BatchItem> batch) {
    for (BatchItem& item : batch) {
      if (StepRunner::name_of(item) != "bad" || StepRunner::taken_by(item) < 2) continue;
      item.emitted = {Tensor::vector_of(std::vector<float>{7})};
      item.output = Error(ErrorCode::backend_failed, "not this one");
    }
  });
  Stream bad = rig.open("bad 9");
  Stream good = rig.open("good 9", {}, {.buffer_chunks = 20});
  rig.settle();
  Taken from_bad, from_good;
  from_bad.take_from(bad);
  from_good.take_from(good);
  CHECK(from_bad.chunks == 2);
  CHECK(from_bad.ended_with(ErrorCode::backend_failed));
  CHECK(from_good.chunks == 9);
  CHECK(from_good.answered());
}

TEST_CASE("engine stream faults 4.13/58: a next step no batch can hold, a forgotten item and a step too many") {
  StreamRig rig([](std::span<BatchItem> batch) {
    for (BatchItem& item : batch) {
      if (StepRunner::name_of(item) == "huge") {
        item.step = StepEnd::proceeds;
        item.next_size = {1, 1ULL << 40, 0};
      }
      if (StepRunner::name_of(item) == "empty") {  // a step of nothing counts as one of one
        item.step = StepRunner::taken_by(item) == 0 && item.state == nullptr ? StepEnd::proceeds : StepEnd::done;
        item.next_size = {0, 0, 0};
        if (item.step == StepEnd::done) item.output = std::vector<Tensor>();
        item.state = std::make_shared<StepRunner::State>();
      }
    }
  });
  Stream huge = rig.open("huge 2");
  Stream empty = rig.open("empty 2");
  rig.settle();
  Taken from_huge, from_empty;
  from_huge.take_from(huge);
  from_empty.take_from(empty);
  CHECK(from_huge.ended_with(ErrorCode::too_large));
  CHECK(from_empty.answered());

  EngineRig single({}, {}, [](std::span<BatchItem> batch) { batch[0].step = StepEnd::proceeds; });
  Answer answer;
  REQUIRE(single.engine->infer(single.request("x"), answer.callback()));
  single.settle();
  REQUIRE(answer.has(ErrorCode::backend_failed));
  CHECK(answer.result->error().message().find("iterative") != std::string_view::npos);
}

TEST_CASE("engine stream faults: a drain lets streams finish, ends parked ones at its bound, and both stay readable") {
  std::optional<StreamRig> rig;
  rig.emplace();
  Stream finishes = rig->open("a 3");
  Stream parked = rig->open("b 9", {}, {.buffer_chunks = 2});
  rig->settle();
  const DrainReport report = rig->engine->drain(Duration::zero());
  CHECK(report.failed == 1);
  rig->settle();
  CHECK(rig->engine->stream({"step", std::string("c 1"), {}}).error().code() == ErrorCode::shutting_down);
  rig.reset();
  Taken from_finished, from_parked;
  from_finished.take_from(finishes);
  from_parked.take_from(parked);
  CHECK(from_finished.chunks == 3);
  CHECK(from_finished.answered());
  CHECK(from_parked.chunks == 2);
  CHECK(from_parked.ended_with(ErrorCode::shutting_down));
}

TEST_CASE("engine stream faults 4.13/64: a stuck step ends its streams, and those of the other replica go on") {
  ModelOptions options;
  options.batching.stuck_after = 1s;
  StreamRig rig({}, options, 2);
  Stream stuck = rig.open("a 9");
  Stream goes_on = rig.open("b 3");
  Taken from_stuck, from_other;
  for (int i = 0; i < 3; ++i) rig.workers->run_at(1);  // the first replica's step waits
  rig.clock->advance(1s);
  rig.completions->run_all();
  from_other.take_from(goes_on);
  CHECK(from_other.chunks == 3);
  CHECK(from_other.answered());
  from_stuck.take_from(stuck);
  CHECK(from_stuck.chunks == 0);
  CHECK(from_stuck.ended_with(ErrorCode::stuck));
  rig.settle();
  CHECK(rig.alive->load() == 0);
  CHECK(rig.gauge("tidegate_stuck_batches") == 0);
}

TEST_CASE("engine stream faults: an executor that refuses a callback refuses the call, one that drops it says so") {
  struct Fickle final : Executor {
    enum class Mood { takes, throws, drops } mood = Mood::takes;
    ManualExecutor inner;
    void post(UniqueFunction<void()> task) override {
      if (mood == Mood::throws) throw 42;
      if (mood == Mood::takes) inner.post(std::move(task));
    }
  };
  auto fickle = std::make_shared<Fickle>();
  auto workers = std::make_shared<ManualExecutor>();
  EngineOptions options;
  options.completions = fickle;
  options.workers = workers;
  options.drain_timeout = Duration::zero();
  std::optional<Engine> engine;
  engine.emplace(*Engine::create(std::move(options)));
  std::vector<Replica> set;
  set.push_back({std::make_unique<StepRunner>(), {}});
  REQUIRE(engine->add_model("step", std::move(set)));
  Stream stream = *engine->stream({"", std::string("a 3"), {}});
  workers->run_one();
  const auto never = [](StreamEvent) { FAIL("the call was refused"); };
  fickle->mood = Fickle::Mood::throws;
  CHECK(stream.next(never).error().code() == ErrorCode::host_failed);
  fickle->mood = Fickle::Mood::drops;
  CHECK(stream.next(never).error().code() == ErrorCode::shutting_down);
  fickle->mood = Fickle::Mood::takes;
  Taken taken;
  pull(stream, taken);
  while (workers->run_all() + fickle->inner.run_all() > 0) {
  }
  CHECK(taken.chunks == 3);
  CHECK(taken.answered());

  // An end that is dropped is an end all the same.
  Stream dropped = *engine->stream({"", std::string("a 1"), {}});
  fickle->mood = Fickle::Mood::drops;
  workers->run_all();
  engine.reset();
  Taken last;
  last.take_from(dropped);
  CHECK(last.chunks == 1);
  CHECK(last.ended_with(ErrorCode::abandoned));
}
