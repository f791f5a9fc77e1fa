// Streams through the whole engine, on hand-driven threads and time.
#include <doctest/doctest.h>

#include "engine/stream_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;
using namespace std::chrono_literals;

TEST_CASE("engine streams: chunks arrive in order, then one end, and never inside a call") {
  StreamRig rig;
  Stream stream = rig.open("a 5");
  Taken taken;
  pull(stream, taken);
  CHECK(taken.chunks == 0);
  rig.workers->run_one();
  CHECK(taken.chunks == 0);  // decided, but completions run elsewhere
  rig.completions->run_all();
  CHECK(taken.chunks == 1);
  rig.settle();
  CHECK(taken.chunks == 5);
  REQUIRE(taken.answered());
  const Response& end = **taken.end;
  CHECK(end.outputs.at(0).as<float>()[0] == 5);
  CHECK(end.source == AnswerSource::model);
  CHECK(end.timing.replica == 0);
  CHECK(rig.alive->load() == 0);
  CHECK(stream.next([](StreamEvent) { FAIL("nothing follows the end"); }).error().code() ==
        ErrorCode::invalid_argument);
  CHECK_FALSE(stream.try_next());
  CHECK(std::get<Result<Response>>(stream.wait_next()).error().code() == ErrorCode::invalid_argument);
  CHECK(rig.engine->metrics().value("tidegate_chunks_total") == 5);
}

TEST_CASE("engine streams: two callbacks cannot wait at a time, and an event that waits is given later too") {
  StreamRig rig;
  Stream stream = rig.open("a 2");
  Taken taken;
  REQUIRE(stream.next([&](StreamEvent event) { taken.add(std::move(event)); }));
  CHECK(stream.next([](StreamEvent) { FAIL("refused"); }).error().code() == ErrorCode::busy);
  CHECK(std::get<Result<Response>>(stream.wait_next()).error().code() == ErrorCode::busy);
  rig.settle();
  CHECK(taken.chunks == 1);
  REQUIRE(stream.next([&](StreamEvent event) { taken.add(std::move(event)); }));
  CHECK(taken.chunks == 1);  // not inside the call, though the chunk was there
  rig.settle();
  CHECK(taken.chunks == 2);
  taken.take_from(stream);
  CHECK(taken.answered());
}

TEST_CASE("engine streams: a full buffer parks its stream, the others go on, and taking a chunk unparks it") {
  int steps_of_a = 0;
  StreamRig rig([&](std::span<BatchItem> batch) {
    for (const BatchItem& item : batch) steps_of_a += StepRunner::name_of(item) == "a" ? 1 : 0;
  });
  Stream silent = rig.open("a 9", {}, {.buffer_chunks = 3});
  Stream other = rig.open("b 20");
  Taken from_silent, from_other;
  pull(other, from_other);
  rig.settle();
  CHECK(from_other.answered());
  CHECK(from_other.chunks == 20);
  CHECK(steps_of_a == 3);
  CHECK(rig.gauge("tidegate_parked_items") == 1);
  rig.clock->advance(std::chrono::minutes(1));  // the watch over the last batch rings once
  CHECK(rig.clock->pending_alarms() == 0);      // nothing wakes for it
  from_silent.add(*silent.try_next());
  rig.settle();
  CHECK(steps_of_a == 4);
  CHECK(rig.gauge("tidegate_parked_items") == 1);
  while (!from_silent.end) {
    from_silent.take_from(silent);
    rig.settle();
  }
  CHECK(from_silent.answered());
  CHECK(from_silent.chunks == 9);
  CHECK(rig.gauge("tidegate_kept_items") == 0);
}

TEST_CASE("engine streams: infer of an iterative model answers all chunks at once, and from the cache thereafter") {
  StreamRig rig;
  Answer first, joined, second;
  REQUIRE(rig.engine->infer({"step", std::string("a 3"), {}}, first.callback()));
  rig.workers->run_one();
  REQUIRE(rig.engine->infer({"step", std::string("a 3"), {}}, joined.callback()));
  rig.settle();
  for (const Answer* one : {&first, &joined}) {
    REQUIRE(one->answered());
    const auto& outputs = one->result->value().outputs;
    REQUIRE(outputs.size() == 4);
    for (int i = 0; i < 4; ++i) CHECK(outputs[i].as<float>()[0] == static_cast<float>(i));
  }
  CHECK(joined.result->value().source == AnswerSource::joined);
  REQUIRE(rig.engine->infer({"step", std::string("a 3"), {}}, second.callback()));
  rig.settle();
  CHECK(second.result->value().source == AnswerSource::cache);
  CHECK(second.result->value().outputs.size() == 4);
}

TEST_CASE("engine streams: a caller that waits gets the whole answer of an iterative model") {
  auto engine = *Engine::create();
  std::vector<Replica> set;
  set.push_back({std::make_unique<StepRunner>(), {}});
  REQUIRE(engine.add_model("step", std::move(set)));
  const auto answer = engine.infer_and_wait({"", std::string("a 30"), {}});
  REQUIRE(answer);
  CHECK(answer->outputs.size() == 31);
}

TEST_CASE("engine streams: what cannot stream is refused, and nothing is left of it") {
  StreamRig rig;
  const auto single = rig.engine->stream({"fake", std::string("text"), {}});
  CHECK(single.error().code() == ErrorCode::unsupported);
  CHECK(rig.engine->stream({"none", std::string("text"), {}}).error().code() == ErrorCode::not_found);
  CHECK(rig.engine->stream({"step", std::vector<Tensor>(), {}}).error().code() == ErrorCode::invalid_argument);
  for (const std::uint32_t chunks : {0U, 4097U}) {
    const auto refused = rig.engine->stream({"step", std::string("a 1"), {}}, {.buffer_chunks = chunks});
    CHECK(refused.error().code() == ErrorCode::invalid_argument);
    CHECK(refused.error().message().find("buffer_chunks") != std::string_view::npos);
  }
  CHECK(rig.gauge("tidegate_requests_in_flight") == 0);
}

TEST_CASE("engine streams: each step of a stream runs on the replica that has its state") {
  StreamRig rig({}, {}, 3);
  std::vector<Stream> streams;
  std::vector<Taken> taken(12);
  for (std::size_t i = 0; i < taken.size(); ++i) streams.push_back(rig.open("a 7"));
  for (std::size_t i = 0; i < taken.size(); ++i) pull(streams[i], taken[i]);
  // Workers finish out of order.
  while (rig.workers->run_at(rig.workers->size() - 1)) rig.completions->run_all();
  rig.settle();
  for (const Taken& one : taken) {
    CHECK(one.answered());
    CHECK(one.chunks == 7);
  }
}

TEST_CASE("engine streams: cancel ends a stream between two steps, and its state is gone") {
  StreamRig rig;
  Stream stream = rig.open("a 9", {}, {.buffer_chunks = 2});
  rig.settle();
  CHECK(rig.alive->load() == 1);
  stream.cancel();
  rig.settle();
  CHECK(rig.alive->load() == 0);
  Taken taken;
  taken.take_from(stream);
  CHECK(taken.chunks == 2);  // what was there stays readable
  CHECK(taken.ended_with(ErrorCode::cancelled));
}

TEST_CASE("engine streams: a consumer that goes away cancels, and its waiting callback is told the end") {
  StreamRig rig;
  Taken taken;
  {
    Stream stream = rig.open("a 9");
    REQUIRE(stream.next([&](StreamEvent event) { taken.add(std::move(event)); }));
    rig.workers->run_one();  // the next step is under way, a chunk is on its way to the callback
  }
  rig.settle();
  CHECK(taken.ended_with(ErrorCode::cancelled));
  CHECK(rig.alive->load() == 0);
  CHECK(rig.gauge("tidegate_requests_in_flight") == 0);
  CHECK(rig.gauge("tidegate_kept_items") == 0);
  { Stream stream = rig.open("b 3", {}, {.buffer_chunks = 1}); }
  rig.settle();
  CHECK(rig.alive->load() == 0);
}

TEST_CASE("engine streams: a deadline in the middle ends the stream after the chunks that came before it") {
  StreamRig rig;
  Stream stream = rig.open("a 9", {.deadline = rig.clock->now() + 10ms});
  rig.workers->run_one();
  rig.clock->advance(10ms);
  rig.completions->run_all();
  Taken taken;
  taken.take_from(stream);
  CHECK(taken.chunks == 1);
  CHECK(taken.ended_with(ErrorCode::deadline_exceeded));
  rig.settle();
  CHECK_FALSE(stream.try_next());
  CHECK(rig.alive->load() == 0);
}

TEST_CASE("engine streams: a callback that throws is counted, and the stream goes on") {
  StreamRig rig;
  Stream stream = rig.open("a 2");
  REQUIRE(stream.next([](StreamEvent) { throw 42; }));
  rig.settle();
  CHECK(rig.engine->metrics().value("tidegate_callback_exceptions_total", {{"model", "step"}}) == 1);
  CHECK(std::get<Chunk>(*stream.try_next()).index == 1);
  CHECK(std::get<Result<Response>>(*stream.try_next()));
}
