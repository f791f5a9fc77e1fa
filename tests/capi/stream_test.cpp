// Streams of the C ABI: taking, telling, parking, cancelling, and models of the program that stream.
#include <poll.h>

#include <thread>

#include "stream_model.hpp"

using namespace capi_test;

namespace {

std::size_t records_in(const Queue& cq) {
  tidegate_completion records[8];
  std::size_t count = 0;
  (void)tidegate_cq_drain(cq.get(), records, sizeof records[0], 8, &count);
  for (std::size_t i = 0; i < count; ++i) release(records[i]);
  return count;
}

/// Reads the metric of model "step" from the Prometheus text.
bool metrics_say(const Runtime& runtime, const std::string& line) {
  char* text = nullptr;
  REQUIRE(tidegate_metrics_render(runtime.get(), &text, nullptr, nullptr) == TIDEGATE_OK);
  const bool found = std::string(text).find(line) != std::string::npos;
  tidegate_free(text);
  return found;
}

void await_metric(const Runtime& runtime, const std::string& line) {
  while (!metrics_say(runtime, line)) std::this_thread::yield();
}

constexpr const char* kParkedOne = "tidegate_parked_items{model=\"step\"} 1\n";

}  // namespace

TEST_CASE("streams: chunks in order, then one end with the answer, by waiting and without a queue") {
  StepModel model;
  const Runtime runtime = make_runtime();
  REQUIRE(add_steps(runtime, model) == TIDEGATE_OK);
  const StreamHandle stream = open_stream(runtime, "a 20");
  Given given;
  given.take_all(stream.get());
  CHECK(given.chunks == 20);
  CHECK(given.end == TIDEGATE_OK);
  CHECK(given.answer == 20.0F);
  tidegate_result* item = nullptr;
  CHECK(tidegate_stream_next(stream.get(), &item, nullptr) == TIDEGATE_E_INVALID);
  CHECK(item == nullptr);
  CHECK(tidegate_stream_wait(stream.get(), 0) == TIDEGATE_E_INVALID);
  CHECK(tidegate_stream_cancel(stream.get()) == TIDEGATE_OK);
  CHECK(model.states.load() == 0);
}

TEST_CASE("streams: a queue tells when there is something, once until it has been taken empty") {
  StepModel model;
  const Runtime runtime = make_runtime();
  REQUIRE(add_steps(runtime, model) == TIDEGATE_OK);
  const Queue cq = make_queue(runtime);
  const StreamHandle stream = open_stream(runtime, "a 50", cq.get(), 7);
  Given given;
  int told = 0;
  while (given.ends == 0) {
    const tidegate_completion record = next(cq);
    ++told;
    CHECK(record.kind == TIDEGATE_COMPLETION_STREAM);
    CHECK(record.tag == 7);
    CHECK(record.status == TIDEGATE_OK);
    const bool bare = record.result == nullptr && record.error == nullptr && record.id == 0;
    CHECK(bare);
    CHECK(records_in(cq) == 0);
    (void)given.take(stream.get());
  }
  CHECK(given.chunks == 50);
  CHECK(told >= 1);
  CHECK(told <= 52);
  CHECK(records_in(cq) == 0);
}

TEST_CASE("streams: the queue's descriptor is readable while a stream has something nobody looked into") {
  StepModel model;
  const Runtime runtime = make_runtime();
  REQUIRE(add_steps(runtime, model) == TIDEGATE_OK);
  const Queue cq = make_queue(runtime);
  const StreamHandle stream = open_stream(runtime, "a 3", cq.get(), 1, 1);
  Given given;
  while (given.ends == 0) {
    pollfd waiting{tidegate_cq_fd(cq.get()), POLLIN, 0};
    REQUIRE(poll(&waiting, 1, -1) == 1);
    CHECK(records_in(cq) == 1);
    while (given.take(stream.get()) == TIDEGATE_OK) continue;
  }
  CHECK(given.chunks == 3);
}

TEST_CASE("streams: taking before the record is drained makes no second record") {
  StepModel model;
  const Runtime runtime = make_runtime();
  REQUIRE(add_steps(runtime, model) == TIDEGATE_OK);
  const Queue cq = make_queue(runtime);
  const StreamHandle stream = open_stream(runtime, "a 300", cq.get(), 1, 2);
  Given given;
  given.take_all(stream.get());
  CHECK(given.chunks == 300);
  CHECK(records_in(cq) == 1);
}

TEST_CASE("streams: a consumer that takes nothing parks his stream and nobody else's") {
  StepModel model;
  const Runtime runtime = make_runtime();
  REQUIRE(add_steps(runtime, model) == TIDEGATE_OK);
  const StreamHandle silent = open_stream(runtime, "silent 1000", nullptr, 0, 3);
  const StreamHandle busy = open_stream(runtime, "busy 40");
  Given from_busy;
  from_busy.take_all(busy.get());
  CHECK(from_busy.chunks == 40);
  await_metric(runtime, kParkedOne);
  CHECK(model.steps.load() == 43);
  const StreamHandle later = open_stream(runtime, "later 5");
  Given from_later;
  from_later.take_all(later.get());
  CHECK(from_later.chunks == 5);
  Given from_silent;
  from_silent.take_all(silent.get());
  CHECK(from_silent.chunks == 1000);
}

TEST_CASE("streams: what waits is bounded in bytes too, by the stream or by the model") {
  StepModel model;
  model.width = 256;  // 1 KiB a chunk
  const Runtime runtime = make_runtime();
  REQUIRE(add_steps(runtime, model, R"({"batching.stream_buffer_bytes": 3000})") == TIDEGATE_OK);
  {
    const StreamHandle stream = open_stream(runtime, "a 100", nullptr, 0, 64);
    await_metric(runtime, kParkedOne);
    CHECK(model.steps.load() == 3);
  }
  {
    const StreamHandle stream = open_stream(runtime, "a 100", nullptr, 0, 64, 5 * 1024);
    await_metric(runtime, "tidegate_kept_items{model=\"step\"} 1\n");
    await_metric(runtime, kParkedOne);
    CHECK(model.steps.load() == 3 + 5);
    Given given;
    given.take_all(stream.get());
    CHECK(given.chunks == 100);
  }
}

TEST_CASE("streams: an item outlives its stream and its runtime") {
  StepModel model;
  tidegate_result* kept = nullptr;
  {
    const Runtime runtime = make_runtime();
    REQUIRE(add_steps(runtime, model) == TIDEGATE_OK);
    const StreamHandle stream = open_stream(runtime, "a 2");
    REQUIRE(tidegate_stream_wait(stream.get(), TIDEGATE_FOREVER) == TIDEGATE_OK);
    REQUIRE(tidegate_stream_next(stream.get(), &kept, nullptr) == TIDEGATE_OK);
  }
  const ResultHandle item(kept);
  CHECK(first_number(kept) == 0.0F);
}

TEST_CASE("streams: cancel ends one, chunks that wait stay, and its state is released") {
  StepModel model;
  const Runtime runtime = make_runtime();
  REQUIRE(add_steps(runtime, model) == TIDEGATE_OK);
  const StreamHandle stream = open_stream(runtime, "a 1000", nullptr, 0, 4);
  await_metric(runtime, kParkedOne);
  REQUIRE(tidegate_stream_cancel(stream.get()) == TIDEGATE_OK);
  REQUIRE(tidegate_stream_cancel(stream.get()) == TIDEGATE_OK);
  Given given;
  given.take_all(stream.get());
  CHECK(given.chunks == 4);
  CHECK(given.end == TIDEGATE_E_CANCELLED);
  CHECK(given.why != "");
  while (model.states.load() != 0) std::this_thread::yield();
}

TEST_CASE("streams: release ends a stream, and no record of it is handed out afterwards") {
  StepModel model;
  const Runtime runtime = make_runtime();
  REQUIRE(add_steps(runtime, model) == TIDEGATE_OK);
  const Queue cq = make_queue(runtime);
  for (int round = 0; round < 20; ++round) {
    StreamHandle stream = open_stream(runtime, "a 1000", cq.get(), 3);
    if (round % 2 == 0) REQUIRE(tidegate_cq_wait(cq.get(), TIDEGATE_FOREVER) == TIDEGATE_OK);
    stream.reset();
    CHECK(records_in(cq) == 0);
  }
  while (model.states.load() != 0) std::this_thread::yield();
  CHECK(records_in(cq) == 0);
}

TEST_CASE("streams: a deadline ends one whose consumer has fallen silent") {
  StepModel model;
  const Runtime runtime = make_runtime();
  REQUIRE(add_steps(runtime, model) == TIDEGATE_OK);
  auto options = initialised<tidegate_request_options>();
  options.timeout_ns = 1'000'000'000;
  const RequestHandle request = make_request(runtime, "a 1000", &options);
  tidegate_stream* raw = nullptr;
  REQUIRE(tidegate_stream_open(request.get(), nullptr, nullptr, 0, &raw, nullptr) == TIDEGATE_OK);
  const StreamHandle stream(raw);
  await_metric(runtime, "tidegate_requests_in_flight{model=\"step\"} 0\n");
  Given given;
  given.take_all(stream.get());
  CHECK(given.chunks == 8);  // what the buffer holds
  CHECK(given.end == TIDEGATE_E_DEADLINE);
}

TEST_CASE("streams: shutdown ends the open ones, which stay readable") {
  StepModel model;
  Gate destroyed;
  model.destroyed = [&] { destroyed.open(); };
  Runtime runtime = make_runtime();
  REQUIRE(add_steps(runtime, model) == TIDEGATE_OK);
  Queue cq = make_queue(runtime);
  StreamHandle told = open_stream(runtime, "a 1000", cq.get(), 5, 2);
  StreamHandle polled = open_stream(runtime, "b 1000", nullptr, 0, 3);
  CHECK(tidegate_runtime_shutdown(runtime.get(), 1'000'000, nullptr) == TIDEGATE_E_DEADLINE);
  CHECK(records_in(cq) == 1);
  Given from_told;
  Given from_polled;
  from_told.take_all(told.get());
  from_polled.take_all(polled.get());
  CHECK(from_told.end == TIDEGATE_E_SHUTTING_DOWN);
  CHECK(from_polled.end == TIDEGATE_E_SHUTTING_DOWN);
  CHECK(from_told.chunks <= 2);
  RequestHandle request = make_request(runtime, "c 1");
  tidegate_stream* refused = nullptr;
  CHECK(tidegate_stream_open(request.get(), nullptr, nullptr, 0, &refused, nullptr) == TIDEGATE_E_SHUTTING_DOWN);
  CHECK(refused == nullptr);
  // A step that the bound has cut off may still be under way.
  request.reset();
  polled.reset();
  told.reset();
  cq.reset();
  runtime.reset();
  destroyed.pass();
}

TEST_CASE("streams: closing a queue cancels its streams and refuses new ones") {
  StepModel model;
  const Runtime runtime = make_runtime();
  REQUIRE(add_steps(runtime, model) == TIDEGATE_OK);
  const Queue cq = make_queue(runtime);
  const StreamHandle bound = open_stream(runtime, "a 1000", cq.get(), 5, 2);
  const StreamHandle free = open_stream(runtime, "b 10");
  REQUIRE(tidegate_cq_close(cq.get()) == TIDEGATE_OK);
  Given from_bound;
  Given from_free;
  from_bound.take_all(bound.get());
  from_free.take_all(free.get());
  CHECK(from_bound.end == TIDEGATE_E_CANCELLED);
  CHECK(from_free.end == TIDEGATE_OK);
  const RequestHandle request = make_request(runtime, "c 1");
  tidegate_stream* refused = nullptr;
  CHECK(tidegate_stream_open(request.get(), nullptr, cq.get(), 0, &refused, nullptr) == TIDEGATE_E_SHUTTING_DOWN);
}

TEST_CASE("streams: handles may be released in any order") {
  StepModel model;
  Runtime runtime = make_runtime();
  REQUIRE(add_steps(runtime, model) == TIDEGATE_OK);
  Gate destroyed;
  model.destroyed = [&] { destroyed.open(); };
  Queue cq = make_queue(runtime);
  StreamHandle stream = open_stream(runtime, "a 1000", cq.get(), 1);
  cq.reset();
  tidegate_runtime_release(runtime.release());
  Given given;
  given.take_all(stream.get());
  CHECK(given.end == TIDEGATE_E_CANCELLED);
  stream.reset();
  destroyed.pass();
  CHECK(model.states.load() == 0);
}

TEST_CASE("streams: the synthetic model streams by its keys, and a model of one piece is refused") {
  const Runtime runtime =
      make_runtime(R"({"models": [{"name": "s", "kind": "synthetic", "synthetic": {"steps": 6, "dimension": 3}}]})");
  const StreamHandle stream = open_stream(runtime, "some words");
  int chunks = 0;
  for (;;) {
    REQUIRE(tidegate_stream_wait(stream.get(), TIDEGATE_FOREVER) == TIDEGATE_OK);
    tidegate_result* raw = nullptr;
    const tidegate_status status = tidegate_stream_next(stream.get(), &raw, nullptr);
    const ResultHandle item(raw);
    if (status == TIDEGATE_DONE) break;
    REQUIRE(status == TIDEGATE_OK);
    ++chunks;
  }
  CHECK(chunks == 6);
  const Runtime plain = make_runtime(R"({"models": [{"name": "s", "kind": "synthetic"}]})");
  const RequestHandle request = make_request(plain, "some words");
  tidegate_stream* refused = nullptr;
  CHECK(tidegate_stream_open(request.get(), nullptr, nullptr, 0, &refused, nullptr) == TIDEGATE_E_UNSUPPORTED);
}

TEST_CASE("streams: options out of range are refused, and a null pointer is the defaults") {
  StepModel model;
  const Runtime runtime = make_runtime();
  REQUIRE(add_steps(runtime, model) == TIDEGATE_OK);
  const RequestHandle request = make_request(runtime, "a 2");
  auto options = initialised<tidegate_stream_options>();
  tidegate_stream* stream = nullptr;
  const auto open = [&] { return tidegate_stream_open(request.get(), &options, nullptr, 0, &stream, nullptr); };
  options.buffer_chunks = 4097;
  CHECK(open() == TIDEGATE_E_INVALID);
  options.buffer_chunks = 1;
  options.buffer_bytes = UINT64_MAX;
  CHECK(open() == TIDEGATE_E_INVALID);
  options.buffer_bytes = 0;
  options.struct_size = 0;
  CHECK(open() == TIDEGATE_E_INVALID);
  struct {
    tidegate_stream_options known;
    std::uint64_t unknown;
  } longer{};
  longer.known.struct_size = sizeof longer;
  longer.unknown = 1;
  CHECK(tidegate_stream_open(request.get(), &longer.known, nullptr, 0, &stream, nullptr) == TIDEGATE_E_UNSUPPORTED);
  CHECK(stream == nullptr);
  REQUIRE(tidegate_stream_open(request.get(), nullptr, nullptr, 0, &stream, nullptr) == TIDEGATE_OK);
  const StreamHandle owned(stream);
  Given given;
  given.take_all(stream);
  CHECK(given.chunks == 2);
}

TEST_CASE("host model: an iterative one answers infer with all its chunks, and its failures end its items alone") {
  StepModel model;
  const Runtime runtime = make_runtime();
  REQUIRE(add_steps(runtime, model) == TIDEGATE_OK);
  const RequestHandle request = make_request(runtime, "a 3");
  tidegate_result* raw = nullptr;
  REQUIRE(tidegate_infer(request.get(), &raw, nullptr) == TIDEGATE_OK);
  const ResultHandle result(raw);
  CHECK(tidegate_result_output_count(raw) == 4);
  model.before_step = [](const std::string& text) {
    if (text[0] == 'x') throw std::runtime_error("this step is on fire");
  };
  const StreamHandle bad = open_stream(runtime, "x 5");
  Given from_bad;
  from_bad.take_all(bad.get());
  CHECK(from_bad.end == TIDEGATE_E_HOST);
  CHECK(from_bad.why.find("on fire") != std::string::npos);
  const StreamHandle good = open_stream(runtime, "a 5");
  Given from_good;
  from_good.take_all(good.get());
  CHECK(from_good.chunks == 5);
  CHECK(model.states.load() == 0);
}

TEST_CASE("host model: steps are refused to a model that is not iterative, and wrong ones to one that is") {
  HostModel single{[](tidegate_batch* batch) {
    int state = 0;
    const float number = 1;
    const std::int64_t one = 1;
    const auto view = view_of(&number, &one);
    CHECK(tidegate_batch_state(batch, 0) == nullptr);
    CHECK(tidegate_batch_emit(batch, 0, &view, 1) == TIDEGATE_E_UNSUPPORTED);
    CHECK(tidegate_batch_proceed(batch, 0, &state, nullptr) == TIDEGATE_E_UNSUPPORTED);
    CHECK(tidegate_batch_answer(batch, 0, nullptr, 0) == TIDEGATE_E_INVALID);
    return answer_all(batch);
  }};
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, single) == TIDEGATE_OK);
  tidegate_result* raw = nullptr;
  REQUIRE(tidegate_infer(make_request(runtime, "abc").get(), &raw, nullptr) == TIDEGATE_OK);
  tidegate_result_release(raw);
  HostModel stepping{[](tidegate_batch* batch) -> tidegate_status {
    auto size = initialised<tidegate_step_size>();
    auto view = initialised<tidegate_tensor_view>();
    size.struct_size = 1;
    CHECK(tidegate_batch_proceed(batch, 0, nullptr, &size) == TIDEGATE_E_INVALID);
    CHECK(tidegate_batch_proceed(batch, 9, nullptr, nullptr) == TIDEGATE_E_INVALID);
    CHECK(tidegate_batch_emit(batch, 0, nullptr, 1) == TIDEGATE_E_INVALID);
    CHECK(tidegate_batch_emit(batch, 0, &view, 0) == TIDEGATE_E_INVALID);
    CHECK(tidegate_batch_emit(batch, 0, &view, 1) == TIDEGATE_E_INVALID);
    CHECK(tidegate_batch_emit(nullptr, 0, &view, 1) == TIDEGATE_E_INVALID);
    CHECK(tidegate_batch_state(batch, 9) == nullptr);
    CHECK(tidegate_batch_state(nullptr, 0) == nullptr);
    return tidegate_batch_answer(batch, 0, nullptr, 0);
  }};
  auto table = stepping.table();
  table.iterative = 1;
  const Runtime other = make_runtime();
  REQUIRE(tidegate_model_register(other.get(), "m", 1, nullptr, 0, &table, nullptr, nullptr) == TIDEGATE_OK);
  REQUIRE(tidegate_infer(make_request(other, "abc").get(), &raw, nullptr) == TIDEGATE_OK);
  CHECK(tidegate_result_output_count(raw) == 0);
  tidegate_result_release(raw);
  table.reserved2 = 1;
  CHECK(tidegate_model_register(other.get(), "n", 1, nullptr, 0, &table, nullptr, nullptr) == TIDEGATE_E_UNSUPPORTED);
}

TEST_CASE("queue 4.13/72: a table of the first size, without steps, still serves") {
  HostModel model{answer_all};
  auto table = model.table();
  table.struct_size = offsetof(tidegate_backend, iterative);
  table.iterative = 1;  // beyond its end: not read
  const Runtime runtime = make_runtime();
  REQUIRE(tidegate_model_register(runtime.get(), "m", 1, nullptr, 0, &table, nullptr, nullptr) == TIDEGATE_OK);
  tidegate_stream* stream = nullptr;
  CHECK(tidegate_stream_open(make_request(runtime, "abc").get(), nullptr, nullptr, 0, &stream, nullptr) ==
        TIDEGATE_E_UNSUPPORTED);
}
