// Every allocation a call makes on its thread fails in turn: the call answers
// NO_MEMORY, hands out nothing, and works the next time.
#include <cstdlib>
#include <limits>
#include <new>

#include "c_api.hpp"

namespace {

/// Allocations this thread may still make; counts down while armed.
thread_local long allowed = std::numeric_limits<long>::max();

void* allocate(std::size_t size) {
  if (allowed != std::numeric_limits<long>::max() && allowed-- <= 0) {
    allowed = 0;
    throw std::bad_alloc();
  }
  if (void* const block = std::malloc(size == 0 ? 1 : size)) return block;
  throw std::bad_alloc();
}

using namespace capi_test;

/// Fails the first, second, ... allocation of `call` until it succeeds; answers how
/// often it failed.
template <class Call>
long fail_each(Call&& call) {
  for (long n = 0; n < 10'000; ++n) {
    tidegate_error* err = nullptr;
    allowed = n;
    const tidegate_status status = call(&err);
    allowed = std::numeric_limits<long>::max();
    const ErrorHandle owned(err);
    if (status >= 0) return n;
    REQUIRE(status == TIDEGATE_E_NO_MEMORY);
    REQUIRE(tidegate_error_code(err) == TIDEGATE_E_NO_MEMORY);
    REQUIRE(std::string(tidegate_error_message(err, nullptr)) == "out of memory");
  }
  FAIL("the call never succeeded");
  return -1;
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size); }
void* operator new[](std::size_t size) { return allocate(size); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return allocate(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void operator delete(void* block) noexcept { std::free(block); }
void operator delete[](void* block) noexcept { std::free(block); }
void operator delete(void* block, std::size_t) noexcept { std::free(block); }
void operator delete[](void* block, std::size_t) noexcept { std::free(block); }

TEST_CASE("memory: handles are made whole or not at all") {
  const Runtime runtime = make_runtime(R"({"models": [{"name": "s", "kind": "synthetic"}]})");
  tidegate_config* config = nullptr;
  tidegate_cq* cq = nullptr;
  tidegate_request* request = nullptr;
  tidegate_model* model = nullptr;
  CHECK(fail_each([&](tidegate_error** err) { return tidegate_config_create(&config, err); }) > 0);
  const Config owned_config(config);
  CHECK(fail_each([&](tidegate_error** err) { return tidegate_cq_create(runtime.get(), &cq, err); }) > 0);
  CHECK(fail_each([&](tidegate_error** err) { return tidegate_model_get(runtime.get(), "s", 1, &model, err); }) > 0);
  CHECK(fail_each([&](tidegate_error** err) { return tidegate_request_create(runtime.get(), model, &request, err); }) >
        0);
  const Queue owned_queue(cq);
  const Model owned_model(model);
  const RequestHandle owned_request(request);
  const std::string text(1'000, 'x');
  CHECK(fail_each([&](tidegate_error** err) {
          return tidegate_request_set_text(request, text.data(), text.size(), err);
        }) > 0);
  tidegate_result* result = nullptr;
  REQUIRE(tidegate_infer(request, &result, nullptr) == TIDEGATE_OK);
  tidegate_result_release(result);
}

TEST_CASE("memory: calls that read or write JSON fail cleanly") {
  // Nested, so that what was read before memory ran out has to be taken down again.
  const std::string json = R"({"cache": {"memory": {"capacity_bytes": 4096, "shards": 2}},
    "models": [{"name": "a model whose name is no short string", "kind": "synthetic", "synthetic": {"dimension": 3}},
               {"name": "s", "kind": "synthetic"}]})";
  const Config config = make_config("{}");
  CHECK(fail_each([&](tidegate_error** err) {
          return tidegate_config_merge_json(config.get(), json.data(), json.size(), err);
        }) > 10);
  char* text = nullptr;
  std::size_t length = 0;
  const auto take = [&text] {
    const std::string taken(text);
    tidegate_free(text);
    return taken;
  };
  CHECK(fail_each([&](tidegate_error** err) { return tidegate_config_dump_json(config.get(), &text, &length, err); }) >
        10);
  CHECK(take().find("no short string") != std::string::npos);
  const Runtime runtime = make_runtime(json);
  const auto stats = [&](tidegate_error** err) {
    return tidegate_runtime_stats_json(runtime.get(), &text, &length, err);
  };
  CHECK(fail_each(stats) > 10);
  CHECK(take().find("in_flight") != std::string::npos);
  const auto render = [&](tidegate_error** err) { return tidegate_metrics_render(runtime.get(), &text, &length, err); };
  CHECK(fail_each(render) > 10);
  CHECK(take().find("tidegate_queue_items") != std::string::npos);
  tidegate_model* model = nullptr;
  REQUIRE(tidegate_model_get(runtime.get(), "s", 1, &model, nullptr) == TIDEGATE_OK);
  const Model owned(model);
  CHECK(fail_each([&](tidegate_error** err) { return tidegate_model_info_json(model, &text, &length, err); }) > 1);
  CHECK(take().find("synthetic") != std::string::npos);
  CHECK(fail_each([&](tidegate_error** err) { return tidegate_model_explain_json(model, &text, &length, err); }) > 1);
  CHECK(take().find("\"decisions\":[") != std::string::npos);
}

TEST_CASE("memory: JSON that is refused is refused cleanly as well") {
  const Config config = make_config("{}");
  for (const std::string json :
       {R"({"models": [[[[1, {"a": [2, 3]}]]], {"name": )", R"({"cache": {"memory": {"capacity_bytes": "text"}}})",
        R"({"drain_timeout_ms": 1, "drain_timeout_ms": 2})", R"({"no such key, and a long one": [1, [2, {}]]})"}) {
    CAPTURE(json);
    tidegate_status status = TIDEGATE_E_NO_MEMORY;
    for (long n = 0; status == TIDEGATE_E_NO_MEMORY && n < 10'000; ++n) {
      allowed = n;
      status = tidegate_config_merge_json(config.get(), json.data(), json.size(), nullptr);
      allowed = std::numeric_limits<long>::max();
    }
    CHECK(status == TIDEGATE_E_INVALID);
  }
}

TEST_CASE("memory: the schema is not there until there is memory for it") {
  const char* schema = nullptr;
  std::size_t length = 0;
  long failures = -1;
  for (long n = 0; schema == nullptr && n < 10'000; ++n) {
    ++failures;
    allowed = n;
    schema = tidegate_config_schema_json(&length);
    allowed = std::numeric_limits<long>::max();
  }
  REQUIRE(schema != nullptr);
  CHECK(failures > 10);
  CHECK(std::string(schema).size() == length);
}
