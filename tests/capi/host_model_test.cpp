// Models supplied by the program: answers, failures, exceptions, ownership.
#include <cstring>
#include <stdexcept>

#include "c_api.hpp"

using namespace capi_test;

namespace {

/// One text through the only model; the error's text lands in `message`.
tidegate_status infer_text(const Runtime& runtime, const std::string& text, float* value, std::string* message) {
  tidegate_request* raw = nullptr;
  REQUIRE(tidegate_request_create(runtime.get(), nullptr, &raw, nullptr) == TIDEGATE_OK);
  const RequestHandle request(raw);
  REQUIRE(tidegate_request_set_text(raw, text.data(), text.size(), nullptr) == TIDEGATE_OK);
  tidegate_result* result = nullptr;
  tidegate_error* err = nullptr;
  const tidegate_status status = tidegate_infer(raw, &result, &err);
  const ResultHandle owned(result);
  if (status == TIDEGATE_OK && value != nullptr) *value = first_number(result);
  *message = take_text(err);
  return status;
}

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("host model: answers each item, with NUL bytes in texts intact") {
  HostModel model{answer_all};
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, model) == TIDEGATE_OK);
  float value = 0;
  std::string message;
  CHECK(infer_text(runtime, std::string("a\0b", 3), &value, &message) == TIDEGATE_OK);
  CHECK(value == 3.0F);
}

TEST_CASE("host model: a failing, silent or throwing function fails its items and nothing else") {
  int step = 0;
  HostModel model{[&](tidegate_batch* batch) -> tidegate_status {
    switch (step) {
      case 0: return TIDEGATE_E_UNAVAILABLE;
      case 1: return TIDEGATE_OK;
      case 2: throw std::runtime_error("the model is on fire");
      case 3: throw 7;
      case 4: return tidegate_batch_fail(batch, 0, TIDEGATE_E_BACKEND, "too long", TIDEGATE_NUL);
      case 5: return tidegate_batch_fail(batch, 0, -4711, "own code", 8);
      case 6: answer_length(batch, 0); return TIDEGATE_E_IO;
      default: return answer_all(batch);
    }
  }};
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, model, R"({"batching": {"max_batch_size": 1}})") == TIDEGATE_OK);
  std::string message;
  CHECK(infer_text(runtime, "a", nullptr, &message) == TIDEGATE_E_HOST);
  CHECK(holds(message, "unavailable"));
  step = 1;
  CHECK(infer_text(runtime, "a", nullptr, &message) == TIDEGATE_E_ABANDONED);
  step = 2;
  CHECK(infer_text(runtime, "a", nullptr, &message) == TIDEGATE_E_HOST);
  CHECK(holds(message, "the model is on fire"));
  step = 3;
  CHECK(infer_text(runtime, "a", nullptr, &message) == TIDEGATE_E_HOST);
  step = 4;
  CHECK(infer_text(runtime, "a", nullptr, &message) == TIDEGATE_E_BACKEND);
  CHECK(holds(message, "too long"));
  step = 5;
  CHECK(infer_text(runtime, "a", nullptr, &message) == TIDEGATE_E_HOST);
  CHECK(holds(message, "own code"));
  step = 6;
  float value = 0;
  CHECK(infer_text(runtime, "abc", &value, &message) == TIDEGATE_OK);
  step = 7;
  CHECK(infer_text(runtime, "abcd", &value, &message) == TIDEGATE_OK);
  CHECK(value == 4.0F);
}

TEST_CASE("host model: wrong use of a batch is a status, not a crash") {
  tidegate_batch* kept = nullptr;
  HostModel model{[&](tidegate_batch* batch) -> tidegate_status {
    kept = batch;
    CHECK(tidegate_batch_size(batch) == 1);
    CHECK(tidegate_batch_text(batch, 1, nullptr) == nullptr);
    auto view = initialised<tidegate_tensor_view>();
    CHECK(tidegate_batch_tensor(batch, 0, 0, &view) == TIDEGATE_E_NOT_FOUND);
    CHECK(tidegate_batch_tensor(batch, 1, 0, &view) == TIDEGATE_E_INVALID);
    CHECK(tidegate_batch_answer(batch, 1, &view, 1) == TIDEGATE_E_INVALID);
    CHECK(tidegate_batch_answer(batch, 0, nullptr, 1) == TIDEGATE_E_INVALID);
    CHECK(tidegate_batch_answer(batch, 0, &view, 0) == TIDEGATE_E_INVALID);
    CHECK(tidegate_batch_answer(batch, 0, &view, 1) == TIDEGATE_E_INVALID);
    CHECK(tidegate_batch_fail(batch, 0, TIDEGATE_OK, "", 0) == TIDEGATE_E_INVALID);
    CHECK(tidegate_batch_fail(batch, 0, TIDEGATE_E_HOST, nullptr, 3) == TIDEGATE_E_INVALID);
    return answer_all(batch);
  }};
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, model) == TIDEGATE_OK);
  std::string message;
  float value = 0;
  CHECK(infer_text(runtime, "xy", &value, &message) == TIDEGATE_OK);
  CHECK(value == 2.0F);
  CHECK(kept != nullptr);
  CHECK(tidegate_batch_size(nullptr) == 0);
  CHECK(tidegate_batch_text(nullptr, 0, nullptr) == nullptr);
  CHECK(tidegate_batch_answer(nullptr, 0, nullptr, 0) == TIDEGATE_E_INVALID);
}

TEST_CASE("host model: destroy runs once if the model was taken and never if it was refused") {
  Gate destroyed;
  int refused = 0;
  HostModel model{answer_all, [&] { destroyed.open(); }};
  HostModel twin{answer_all, [&] { ++refused; }};
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, model) == TIDEGATE_OK);
  tidegate_error* err = nullptr;
  CHECK(add_host(runtime, twin, nullptr, &err) == TIDEGATE_E_EXISTS);
  tidegate_error_release(err);
  CHECK(add_host(runtime, twin, R"({"bathing.max_batch_size": 3})", &err) == TIDEGATE_E_INVALID);
  CHECK(holds(take_text(err), "'batching.max_batch_size'"));
  tidegate_backend table = twin.table();
  tidegate_model* handle = nullptr;
  const auto with = [&](const tidegate_backend* given) {
    return tidegate_model_register(runtime.get(), "twin", 4, nullptr, 0, given, &handle, nullptr);
  };
  CHECK(with(nullptr) == TIDEGATE_E_INVALID);
  table.reserved = 1;
  CHECK(with(&table) == TIDEGATE_E_UNSUPPORTED);
  table.reserved = 0;
  table.run_batch = nullptr;
  CHECK(with(&table) == TIDEGATE_E_INVALID);
  CHECK(handle == nullptr);
  CHECK(tidegate_runtime_shutdown(runtime.get(), TIDEGATE_FOREVER, nullptr) == TIDEGATE_OK);
  destroyed.pass();
  CHECK(add_host(runtime, twin) == TIDEGATE_E_SHUTTING_DOWN);
  CHECK(refused == 0);
}

TEST_CASE("host model: with a fingerprint equal texts are answered from memory") {
  int runs = 0;
  HostModel model{[&](tidegate_batch* batch) {
    ++runs;
    return answer_all(batch);
  }};
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, model, R"({"fingerprint": "length v1"})") == TIDEGATE_OK);
  std::string message;
  float value = 0;
  for (int n = 0; n < 3; ++n) REQUIRE(infer_text(runtime, "same", &value, &message) == TIDEGATE_OK);
  CHECK(runs == 1);
}
