// Completion queues, requests and their ends, through the C ABI.
#include <poll.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "c_api.hpp"

using namespace capi_test;

namespace {

constexpr const char* kSynthetic = R"({"models": [{"name": "s", "kind": "synthetic", "synthetic.dimension": 4}]})";

bool is_readable(const Queue& cq) {
  pollfd waiting{tidegate_cq_fd(cq.get()), POLLIN, 0};
  return ::poll(&waiting, 1, 0) == 1;
}

}  // namespace

TEST_CASE("completion: the descriptor follows the records of real requests") {
  Gate gate;
  HostModel model = gated(gate);
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, model) == TIDEGATE_OK);
  const Queue cq = make_queue(runtime);
  for (std::uint64_t tag = 1; tag <= 3; ++tag) REQUIRE(submit(runtime, cq, "text", tag) == TIDEGATE_OK);
  gate.await(1);
  CHECK_FALSE(is_readable(cq));
  CHECK(tidegate_cq_wait(cq.get(), 0) == TIDEGATE_EMPTY);
  CHECK(tidegate_cq_wakeup(cq.get()) == TIDEGATE_OK);
  CHECK(is_readable(cq));
  CHECK(tidegate_cq_wait(cq.get(), TIDEGATE_FOREVER) == TIDEGATE_EMPTY);
  CHECK_FALSE(is_readable(cq));
  gate.open();
  for (int n = 0; n < 3; ++n) {
    const tidegate_completion record = next(cq);
    CHECK(record.status == TIDEGATE_OK);
    CHECK(first_number(record.result) == 4.0F);
    release(record);
  }
  CHECK_FALSE(is_readable(cq));
  CHECK(tidegate_runtime_shutdown(runtime.get(), TIDEGATE_FOREVER, nullptr) == TIDEGATE_OK);
}

TEST_CASE("completion: a drain honours the host's record size and clears what it does not fill") {
  const Runtime runtime = make_runtime(kSynthetic);
  const Queue cq = make_queue(runtime);
  REQUIRE(submit(runtime, cq, "a", 1) == TIDEGATE_OK);
  REQUIRE(tidegate_cq_wait(cq.get(), TIDEGATE_FOREVER) == TIDEGATE_OK);
  struct Wide {
    tidegate_completion known;
    std::uint64_t later[2];
  };
  Wide records[2];
  std::memset(records, 0xff, sizeof records);
  std::size_t count = 9;
  CHECK(tidegate_cq_drain(cq.get(), &records[0].known, sizeof(tidegate_completion) - 8, 2, &count) ==
        TIDEGATE_E_INVALID);
  CHECK(count == 0);
  CHECK(tidegate_cq_drain(cq.get(), &records[0].known, sizeof(Wide), 2, &count) == TIDEGATE_OK);
  CHECK(count == 1);
  CHECK(records[0].known.tag == 1);
  CHECK(records[0].later[1] == 0);
  CHECK(records[1].later[0] == UINT64_MAX);
  release(records[0].known);
}

TEST_CASE("completion: deadline, cancel, double cancel and drain each end a request once") {
  Gate gate;
  HostModel model = gated(gate);
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, model, R"({"batching.max_batch_size": 1})") == TIDEGATE_OK);
  const Queue cq = make_queue(runtime);
  std::uint64_t id = 0;
  REQUIRE(submit(runtime, cq, "runs", 1) == TIDEGATE_OK);
  gate.await(1);
  auto options = initialised<tidegate_request_options>();
  options.timeout_ns = 200'000'000;
  REQUIRE(submit(runtime, cq, "late", 2, nullptr, &options) == TIDEGATE_OK);
  const tidegate_completion late = next(cq);
  CHECK(late.tag == 2);
  CHECK(late.status == TIDEGATE_E_DEADLINE);
  CHECK(late.result == nullptr);
  CHECK(tidegate_error_code(late.error) == TIDEGATE_E_DEADLINE);
  release(late);
  REQUIRE(submit(runtime, cq, "cancelled", 3, &id) == TIDEGATE_OK);
  CHECK(tidegate_cancel(runtime.get(), id) == TIDEGATE_OK);
  const tidegate_completion cancelled = next(cq);
  CHECK(cancelled.tag == 3);
  CHECK(cancelled.id == id);
  CHECK(cancelled.status == TIDEGATE_E_CANCELLED);
  release(cancelled);
  CHECK(tidegate_cancel(runtime.get(), id) == TIDEGATE_E_NOT_FOUND);
  CHECK(tidegate_cancel(runtime.get(), 0) == TIDEGATE_E_NOT_FOUND);
  CHECK(tidegate_cancel(runtime.get(), UINT64_MAX) == TIDEGATE_E_NOT_FOUND);
  REQUIRE(submit(runtime, cq, "drained", 4) == TIDEGATE_OK);
  tidegate_error* err = nullptr;
  CHECK(tidegate_runtime_drain(runtime.get(), 0, &err) == TIDEGATE_E_DEADLINE);
  CHECK(tidegate_error_detail(err, "observed", nullptr) != nullptr);
  tidegate_error_release(err);
  int ended = 0;
  for (; ended < 2; ++ended) {
    const tidegate_completion record = next(cq);
    CHECK(record.status == TIDEGATE_E_SHUTTING_DOWN);
    release(record);
  }
  CHECK(submit(runtime, cq, "after", 5) == TIDEGATE_E_SHUTTING_DOWN);
  gate.open();
  CHECK(tidegate_runtime_shutdown(runtime.get(), TIDEGATE_FOREVER, nullptr) >= TIDEGATE_E_DEADLINE);
  tidegate_completion record{};
  std::size_t count = 0;
  CHECK(tidegate_cq_drain(cq.get(), &record, sizeof record, 1, &count) == TIDEGATE_EMPTY);
}

TEST_CASE("completion: closing a queue cancels its requests only and refuses new ones") {
  Gate gate;
  HostModel model = gated(gate);
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, model, R"({"batching.max_batch_size": 1})") == TIDEGATE_OK);
  const Queue closed = make_queue(runtime);
  const Queue other = make_queue(runtime);
  REQUIRE(submit(runtime, other, "runs", 1) == TIDEGATE_OK);
  gate.await(1);
  REQUIRE(submit(runtime, closed, "waits", 2) == TIDEGATE_OK);
  REQUIRE(submit(runtime, other, "waits too", 3) == TIDEGATE_OK);
  CHECK(tidegate_cq_close(closed.get()) == TIDEGATE_OK);
  CHECK(tidegate_cq_close(closed.get()) == TIDEGATE_OK);
  const tidegate_completion record = next(closed);
  CHECK(record.tag == 2);
  CHECK(record.status == TIDEGATE_E_CANCELLED);
  release(record);
  CHECK(submit(runtime, closed, "refused", 4) == TIDEGATE_E_SHUTTING_DOWN);
  gate.open();
  for (int n = 0; n < 2; ++n) {
    const tidegate_completion answered = next(other);
    CHECK(answered.status == TIDEGATE_OK);
    release(answered);
  }
}

TEST_CASE("completion: a full queue refuses with numbers and moves nothing") {
  Gate gate;
  HostModel model = gated(gate);
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, model, R"({"batching.max_batch_size": 1, "admission.max_queued_items": 1})") ==
          TIDEGATE_OK);
  const Queue cq = make_queue(runtime);
  REQUIRE(submit(runtime, cq, "runs", 1) == TIDEGATE_OK);
  gate.await(1);
  REQUIRE(submit(runtime, cq, "waits", 2) == TIDEGATE_OK);
  tidegate_error* err = nullptr;
  std::uint64_t id = 77;
  auto* result = reinterpret_cast<tidegate_result*>(&id);
  CHECK(tidegate_submit_text(runtime.get(), nullptr, "x", 1, nullptr, cq.get(), 3, &id, &result, &err) ==
        TIDEGATE_E_QUEUE_FULL);
  CHECK(id == 0);
  CHECK(result == nullptr);
  CHECK(std::string(tidegate_error_detail(err, "retryable", nullptr)) == "1");
  tidegate_error_release(err);
  gate.open();
  for (int n = 0; n < 2; ++n) release(next(cq));
}

TEST_CASE("completion: an answer in memory is handed back inline, and only if asked for") {
  const Runtime runtime = make_runtime(kSynthetic);
  const Queue cq = make_queue(runtime);
  REQUIRE(submit(runtime, cq, "same", 1) == TIDEGATE_OK);
  release(next(cq));
  auto options = initialised<tidegate_request_options>();
  options.flags = TIDEGATE_MAY_COMPLETE_INLINE;
  tidegate_result* result = nullptr;
  const auto inline_submit = [&](const char* text, tidegate_result** where) {
    return tidegate_submit_text(runtime.get(), nullptr, text, TIDEGATE_NUL, &options, cq.get(), 2, nullptr, where,
                                nullptr);
  };
  CHECK(inline_submit("same", nullptr) == TIDEGATE_E_INVALID);
  REQUIRE(inline_submit("same", &result) == TIDEGATE_DONE);
  auto timing = initialised<tidegate_timing>();
  CHECK(tidegate_result_timing(result, &timing, nullptr) == TIDEGATE_OK);
  CHECK(timing.source == TIDEGATE_SOURCE_CACHE);
  CHECK(timing.cache_tier == 0);
  tidegate_result_release(result);
  CHECK_FALSE(is_readable(cq));
  CHECK(inline_submit("other", &result) == TIDEGATE_OK);
  CHECK(result == nullptr);
  release(next(cq));
  options.cache = TIDEGATE_CACHE_BYPASS;
  CHECK(inline_submit("same", &result) == TIDEGATE_OK);
  const tidegate_completion computed = next(cq);
  CHECK(tidegate_result_timing(computed.result, &timing, nullptr) == TIDEGATE_OK);
  CHECK(timing.source == TIDEGATE_SOURCE_MODEL);
  release(computed);
}

TEST_CASE("completion: handles may be released in any order with requests in flight") {
  Gate gate;
  HostModel model = gated(gate);
  Gate destroyed;
  model.destroyed = [&] { destroyed.open(); };
  Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, model) == TIDEGATE_OK);
  tidegate_model* handle = nullptr;
  REQUIRE(tidegate_model_get(runtime.get(), "host", 4, &handle, nullptr) == TIDEGATE_OK);
  Queue cq = make_queue(runtime);
  REQUIRE(submit(runtime, cq, "text", 1) == TIDEGATE_OK);
  gate.await(1);
  tidegate_runtime_release(runtime.release());
  CHECK(tidegate_model_retain(handle) == handle);
  tidegate_model_release(handle);
  tidegate_request* request = nullptr;
  cq.reset();
  char* text = nullptr;
  CHECK(tidegate_model_info_json(handle, &text, nullptr, nullptr) == TIDEGATE_OK);
  CHECK(std::string(text).find("\"name\":\"host\"") != std::string::npos);
  tidegate_free(text);
  CHECK(tidegate_request_create(nullptr, handle, &request, nullptr) == TIDEGATE_E_INVALID);
  tidegate_model_release(handle);
  gate.open();
  // The engine ends in the background and takes the model with it.
  destroyed.pass();
}

TEST_CASE("completion: tensors go in and come out, and gaps and wrong sizes are refused") {
  HostModel model{[](tidegate_batch* batch) {
    for (std::uint32_t i = 0; i < tidegate_batch_size(batch); ++i) {
      auto view = initialised<tidegate_tensor_view>();
      REQUIRE(tidegate_batch_text(batch, i, nullptr) == nullptr);
      REQUIRE(tidegate_batch_tensor(batch, i, 0, &view) == TIDEGATE_OK);
      CHECK(tidegate_batch_tensor(batch, i, 9, &view) == TIDEGATE_E_NOT_FOUND);
      REQUIRE(tidegate_batch_tensor(batch, i, 1, &view) == TIDEGATE_OK);
      const tidegate_tensor_view both[2] = {view, view};
      REQUIRE(tidegate_batch_answer(batch, i, both, 2) == TIDEGATE_OK);
    }
    return tidegate_status{TIDEGATE_OK};
  }};
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, model) == TIDEGATE_OK);
  tidegate_request* raw = nullptr;
  REQUIRE(tidegate_request_create(runtime.get(), nullptr, &raw, nullptr) == TIDEGATE_OK);
  const RequestHandle request(raw);
  const std::int32_t numbers[6] = {1, 2, 3, 4, 5, 6};
  const std::int64_t shape[2] = {2, 3};
  auto view = initialised<tidegate_tensor_view>();
  view.dtype = TIDEGATE_DTYPE_I32;
  view.rank = 2;
  view.shape = shape;
  view.data = numbers;
  view.bytes = sizeof numbers;
  tidegate_result* result = nullptr;
  REQUIRE(tidegate_request_set_tensor(raw, 1, &view, nullptr) == TIDEGATE_OK);
  CHECK(tidegate_infer(raw, &result, nullptr) == TIDEGATE_E_INVALID);
  CHECK(tidegate_request_set_tensor(raw, 64, &view, nullptr) == TIDEGATE_E_INVALID);
  view.bytes = 20;
  CHECK(tidegate_request_set_tensor(raw, 0, &view, nullptr) == TIDEGATE_E_INVALID);
  view.bytes = sizeof numbers;
  view.rank = 17;
  CHECK(tidegate_request_set_tensor(raw, 0, &view, nullptr) == TIDEGATE_E_INVALID);
  view.rank = 2;
  view.dtype = 99;
  CHECK(tidegate_request_set_tensor(raw, 0, &view, nullptr) == TIDEGATE_E_INVALID);
  view.dtype = TIDEGATE_DTYPE_I32;
  view.shape = nullptr;
  CHECK(tidegate_request_set_tensor(raw, 0, &view, nullptr) == TIDEGATE_E_INVALID);
  view.shape = shape;
  REQUIRE(tidegate_request_set_tensor(raw, 0, &view, nullptr) == TIDEGATE_OK);
  tidegate_error* err = nullptr;
  const tidegate_status status = tidegate_infer(raw, &result, &err);
  INFO(take_text(err));
  REQUIRE(status == TIDEGATE_OK);
  const ResultHandle owned(result);
  CHECK(tidegate_result_output_count(result) == 2);
  auto out = initialised<tidegate_tensor_view>();
  REQUIRE(tidegate_result_output(result, 1, &out, nullptr) == TIDEGATE_OK);
  CHECK(out.rank == 2);
  CHECK(out.shape[1] == 3);
  CHECK(std::memcmp(out.data, numbers, sizeof numbers) == 0);
}
