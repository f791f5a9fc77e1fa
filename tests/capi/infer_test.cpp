// The blocking call: who runs its batch, deadlines, and shutdown around it.
#include <atomic>
#include <thread>

#include "stream_model.hpp"

using namespace capi_test;

namespace {

tidegate_status infer(const RequestHandle& request) {
  tidegate_result* result = nullptr;
  const tidegate_status status = tidegate_infer(request.get(), &result, nullptr);
  tidegate_result_release(result);
  return status;
}

}  // namespace

TEST_CASE("infer: without a deadline the batch runs on the calling thread, with one it does not") {
  std::thread::id ran_on;
  HostModel model{[&](tidegate_batch* batch) {
    ran_on = std::this_thread::get_id();
    return answer_all(batch);
  }};
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, model) == TIDEGATE_OK);
  REQUIRE(infer(make_request(runtime, "abc")) == TIDEGATE_OK);
  CHECK(ran_on == std::this_thread::get_id());
  auto options = initialised<tidegate_request_options>();
  options.timeout_ns = 60'000'000'000;
  REQUIRE(infer(make_request(runtime, "abc", &options)) == TIDEGATE_OK);
  CHECK(ran_on != std::this_thread::get_id());
}

TEST_CASE("infer: with a deadline the call returns though the model hangs") {
  Gate gate;
  HostModel model = gated(gate);
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, model) == TIDEGATE_OK);
  auto options = initialised<tidegate_request_options>();
  options.timeout_ns = 1'000'000;
  CHECK(infer(make_request(runtime, "abc", &options)) == TIDEGATE_E_DEADLINE);
  gate.open();
}

TEST_CASE("infer: shutdown keeps its bound while a caller is inside a model that hangs") {
  Gate gate;
  Gate destroyed;
  HostModel model = gated(gate);
  model.destroyed = [&] { destroyed.open(); };
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, model) == TIDEGATE_OK);
  tidegate_status ended = TIDEGATE_OK;
  const RequestHandle request = make_request(runtime, "abc");
  std::thread caller([&] { ended = infer(request); });
  gate.await(1);
  CHECK(tidegate_runtime_shutdown(runtime.get(), 1'000'000, nullptr) == TIDEGATE_E_DEADLINE);
  CHECK(infer(make_request(runtime, "abc")) == TIDEGATE_E_SHUTTING_DOWN);
  // Again, and it waits for nobody's model either.
  CHECK(tidegate_runtime_shutdown(runtime.get(), 1'000'000, nullptr) == TIDEGATE_OK);
  gate.open();
  caller.join();
  CHECK(ended == TIDEGATE_E_SHUTTING_DOWN);
  destroyed.pass();  // the engine has ended on the caller's thread
}

TEST_CASE("infer: callers on many threads end once each while the runtime is shut down under them") {
  for (int round = 0; round < 20; ++round) {
    HostModel model{answer_all};
    const Runtime runtime = make_runtime();
    REQUIRE(add_host(runtime, model, R"({"replica.concurrency": 2})") == TIDEGATE_OK);
    std::atomic<int> answered{0};
    std::atomic<int> other{0};
    std::vector<std::thread> callers;
    for (int n = 0; n < 3; ++n) {
      callers.emplace_back([&] {
        const RequestHandle request = make_request(runtime, "abc");
        for (;;) {
          const tidegate_status status = infer(request);
          if (status == TIDEGATE_OK) {
            ++answered;
            continue;
          }
          if (status != TIDEGATE_E_SHUTTING_DOWN) ++other;
          return;
        }
      });
    }
    while (answered.load() < 50) std::this_thread::yield();
    CHECK(tidegate_runtime_shutdown(runtime.get(), TIDEGATE_FOREVER, nullptr) == TIDEGATE_OK);
    for (std::thread& caller : callers) caller.join();
    CHECK(other.load() == 0);
  }
}
