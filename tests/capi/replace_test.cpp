// A newer version of a model takes over, by description and by a table of the program's.
#include "stream_model.hpp"

using namespace capi_test;

namespace {

float infer_number(const Runtime& runtime, const std::string& text) {
  tidegate_result* raw = nullptr;
  REQUIRE(tidegate_infer(make_request(runtime, text).get(), &raw, nullptr) == TIDEGATE_OK);
  const ResultHandle result(raw);
  return first_number(raw);
}

HostModel constant(
    float number, std::function<void()> before = [] {}) {
  return {[number, before](tidegate_batch* batch) {
    before();
    const std::int64_t one = 1;
    const auto view = view_of(&number, &one);
    for (std::uint32_t i = 0; i < tidegate_batch_size(batch); ++i) {
      (void)tidegate_batch_answer(batch, i, &view, 1);
    }
    return TIDEGATE_OK;
  }};
}

tidegate_status replace_host(const Runtime& runtime, HostModel& model, const char* name = "host",
                             tidegate_error** err = nullptr) {
  const tidegate_backend table = model.table();
  return tidegate_model_replace_host(runtime.get(), name, TIDEGATE_NUL, nullptr, 0, &table, err);
}

std::string info_of(const Runtime& runtime) {
  tidegate_model* raw = nullptr;
  REQUIRE(tidegate_model_get(runtime.get(), nullptr, 0, &raw, nullptr) == TIDEGATE_OK);
  const Model model(raw);
  char* text = nullptr;
  REQUIRE(tidegate_model_info_json(raw, &text, nullptr, nullptr) == TIDEGATE_OK);
  const std::string info = text;
  tidegate_free(text);
  return info;
}

}  // namespace

TEST_CASE("model: cores are divided by measuring, explained, and refused for a replacement") {
  const Runtime runtime = make_runtime();
  const char* json =
      R"({"name": "s", "kind": "synthetic", "cores": 2, "synthetic": {"base_us": 200}, "slo_us": 50000})";
  REQUIRE(tidegate_model_load(runtime.get(), json, TIDEGATE_NUL, nullptr, nullptr) == TIDEGATE_OK);
  tidegate_model* model = nullptr;
  REQUIRE(tidegate_model_get(runtime.get(), "s", 1, &model, nullptr) == TIDEGATE_OK);
  char* text = nullptr;
  CHECK(tidegate_model_explain_json(model, &text, nullptr, nullptr) == TIDEGATE_OK);
  const std::string explained = text == nullptr ? "" : text;
  tidegate_free(text);
  tidegate_model_release(model);
  CHECK(explained.find("\"shape\"") != std::string::npos);
  CHECK(explained.find("\"slo_ns\":50000000") != std::string::npos);
  CHECK(explained.find("\"arrivals_10s\"") != std::string::npos);
  tidegate_error* err = nullptr;
  CHECK(tidegate_model_replace(runtime.get(), json, TIDEGATE_NUL, &err) == TIDEGATE_E_UNSUPPORTED);
  CHECK(take_text(err).find("cores") != std::string::npos);
}

TEST_CASE("replace: what runs ends on the former version, what comes goes to the new one") {
  Gate gate;
  Gate destroyed;
  HostModel former = constant(1, [&] { gate.pass(); });
  former.destroyed = [&] { destroyed.open(); };
  HostModel later = constant(2);
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, former) == TIDEGATE_OK);
  const Queue cq = make_queue(runtime);
  REQUIRE(submit(runtime, cq, "early", 1) == TIDEGATE_OK);
  gate.await(1);
  REQUIRE(replace_host(runtime, later) == TIDEGATE_OK);
  CHECK(infer_number(runtime, "late") == 2.0F);
  gate.open();
  const tidegate_completion record = next(cq);
  CHECK(record.tag == 1);
  REQUIRE(record.status == TIDEGATE_OK);
  CHECK(first_number(record.result) == 1.0F);
  release(record);
  destroyed.pass();  // the former version has gone
  CHECK(infer_number(runtime, "later still") == 2.0F);
}

TEST_CASE("replace: what waits goes to the new version, unless it is pinned") {
  Gate gate;
  HostModel former = constant(1, [&] { gate.pass(); });
  HostModel later = constant(2);
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, former, R"({"batching.max_batch_size": 1})") == TIDEGATE_OK);
  const Queue cq = make_queue(runtime);
  REQUIRE(submit(runtime, cq, "runs", 1) == TIDEGATE_OK);
  gate.await(1);
  REQUIRE(submit(runtime, cq, "waits", 2) == TIDEGATE_OK);
  auto options = initialised<tidegate_request_options>();
  options.version = TIDEGATE_MODEL_VERSION_PINNED;
  REQUIRE(submit(runtime, cq, "waits", 3, nullptr, &options) == TIDEGATE_OK);
  options.version = 3;
  CHECK(submit(runtime, cq, "text", 4, nullptr, &options) == TIDEGATE_E_INVALID);
  options.version = 0;
  options.reserved = 1;
  CHECK(submit(runtime, cq, "text", 4, nullptr, &options) == TIDEGATE_E_UNSUPPORTED);
  REQUIRE(replace_host(runtime, later) == TIDEGATE_OK);
  gate.open();
  float answers[4] = {};
  for (int n = 0; n < 3; ++n) {
    const tidegate_completion record = next(cq);
    REQUIRE(record.status == TIDEGATE_OK);
    answers[record.tag] = first_number(record.result);
    release(record);
  }
  CHECK(answers[1] == 1.0F);
  CHECK(answers[2] == 2.0F);
  CHECK(answers[3] == 1.0F);
}

TEST_CASE("replace: under load every request is answered once, by one of the two") {
  HostModel versions[] = {constant(0), constant(1), constant(2), constant(3)};
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, versions[0], R"({"batching.max_batch_size": 4})") == TIDEGATE_OK);
  const Queue cq = make_queue(runtime);
  std::uint64_t sent = 0;
  float newest = 0;
  for (int version = 1; version < 4; ++version) {
    for (int n = 0; n < 200; ++n) REQUIRE(submit(runtime, cq, "x", sent++) == TIDEGATE_OK);
    REQUIRE(replace_host(runtime, versions[version]) == TIDEGATE_OK);
  }
  for (int n = 0; n < 200; ++n) REQUIRE(submit(runtime, cq, "x", sent++) == TIDEGATE_OK);
  std::vector<int> seen(sent);
  for (std::uint64_t n = 0; n < sent; ++n) {
    const tidegate_completion record = next(cq);
    ++seen[record.tag];
    REQUIRE(record.status == TIDEGATE_OK);
    newest = std::max(newest, first_number(record.result));
    // Never a version older than the one that served when it was sent.
    CHECK(first_number(record.result) >= static_cast<float>(record.tag / 200));
    release(record);
  }
  CHECK(newest == 3.0F);
  for (const int times : seen) CHECK(times == 1);
}

TEST_CASE("replace: a failure keeps the former version and leaves the program its table") {
  int destroyed = 0;
  HostModel former = constant(1);
  HostModel later = constant(2);
  later.destroyed = [&] { ++destroyed; };
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, former) == TIDEGATE_OK);
  tidegate_error* err = nullptr;
  CHECK(replace_host(runtime, later, "nobody", &err) == TIDEGATE_E_NOT_FOUND);
  CHECK(take_text(err).find("nobody") != std::string::npos);
  auto table = later.table();
  table.run_batch = nullptr;
  CHECK(tidegate_model_replace_host(runtime.get(), "host", 4, nullptr, 0, &table, nullptr) == TIDEGATE_E_INVALID);
  table = later.table();
  CHECK(tidegate_model_replace_host(runtime.get(), "host", 4, R"({"replica.concurrency": 0})", TIDEGATE_NUL, &table,
                                    nullptr) == TIDEGATE_E_INVALID);
  const auto replace = [&](const char* json) {
    return tidegate_model_replace(runtime.get(), json, TIDEGATE_NUL, nullptr);
  };
  CHECK(replace(R"({"name": "nobody", "kind": "synthetic"})") == TIDEGATE_E_NOT_FOUND);
  CHECK(replace(R"({"name": "host", "kind": "synthetic", "synthetic.dimension": 0})") == TIDEGATE_E_INVALID);
  CHECK(replace(R"({"name": "host", "kind": "encoder", "folder": "/nowhere/at/all"})") == TIDEGATE_E_NOT_FOUND);
  CHECK(replace("{") == TIDEGATE_E_INVALID);
  CHECK(replace(nullptr) == TIDEGATE_E_INVALID);
  CHECK(infer_number(runtime, "text") == 1.0F);
  CHECK(destroyed == 0);
}

TEST_CASE("replace: a description replaces a model, and handles of it name the new version") {
  const Runtime runtime = make_runtime(R"({"models": [{"name": "s", "kind": "synthetic", "synthetic.dimension": 3}]})");
  tidegate_model* raw = nullptr;
  REQUIRE(tidegate_model_get(runtime.get(), "s", 1, &raw, nullptr) == TIDEGATE_OK);
  const Model model(raw);
  const std::string before = info_of(runtime);
  const std::string json = R"({"name": "s", "kind": "synthetic", "synthetic.dimension": 5})";
  REQUIRE(tidegate_model_replace(runtime.get(), json.data(), json.size(), nullptr) == TIDEGATE_OK);
  CHECK(info_of(runtime) != before);
  tidegate_request* raw_request = nullptr;
  REQUIRE(tidegate_request_create(runtime.get(), raw, &raw_request, nullptr) == TIDEGATE_OK);
  const RequestHandle request(raw_request);
  REQUIRE(tidegate_request_set_text(raw_request, "hello", 5, nullptr) == TIDEGATE_OK);
  tidegate_result* raw_result = nullptr;
  REQUIRE(tidegate_infer(raw_request, &raw_result, nullptr) == TIDEGATE_OK);
  const ResultHandle result(raw_result);
  auto view = initialised<tidegate_tensor_view>();
  REQUIRE(tidegate_result_output(raw_result, 0, &view, nullptr) == TIDEGATE_OK);
  CHECK(view.shape[0] == 5);
  REQUIRE(tidegate_runtime_shutdown(runtime.get(), TIDEGATE_FOREVER, nullptr) == TIDEGATE_OK);
  CHECK(tidegate_model_replace(runtime.get(), json.data(), json.size(), nullptr) == TIDEGATE_E_SHUTTING_DOWN);
}

TEST_CASE("replace: an open stream goes on in the version that has its state") {
  StepModel former;
  StepModel later;
  later.answer_offset = 1000;
  const Runtime runtime = make_runtime();
  REQUIRE(add_steps(runtime, former) == TIDEGATE_OK);
  const StreamHandle stream = open_stream(runtime, "a 100", nullptr, 0, 2);
  REQUIRE(tidegate_stream_wait(stream.get(), TIDEGATE_FOREVER) == TIDEGATE_OK);
  const tidegate_backend table = later.table();
  REQUIRE(tidegate_model_replace_host(runtime.get(), "step", 4, nullptr, 0, &table, nullptr) == TIDEGATE_OK);
  CHECK(infer_number(runtime, "b 1") == 1000.0F);
  Given given;
  given.take_all(stream.get());
  CHECK(given.chunks == 100);
  CHECK(given.answer == 100.0F);
}
