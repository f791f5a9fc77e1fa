// Every allocation a call makes on its thread fails in turn: the call answers
// NO_MEMORY, hands out nothing, and works the next time. JSON calls are left out: the
// JSON library allocates in destructors and so ends the program when memory is gone.
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
