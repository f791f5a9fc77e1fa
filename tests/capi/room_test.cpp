// Room in a full queue, through the C ABI: what is left, and calls that wait for it.
#include <thread>

#include "c_api.hpp"
#include "support/eventually.hpp"

using namespace capi_test;
using tidegate::test::eventually;

namespace {

/// The first batch stands at a gate; of further requests one waits, and then the queue is full.
struct FullQueue {
  FullQueue() {
    model.run = [this](tidegate_batch* batch) {
      gate.pass();
      return answer_all(batch);
    };
  }
  Gate gate;
  HostModel model;
};

constexpr const char* kOne = R"({"batching.max_batch_size": 1, "admission.max_queued_items": 1})";

tidegate_queue_room room_of(const Runtime& runtime) {
  auto room = initialised<tidegate_queue_room>();
  CHECK(tidegate_capacity(runtime.get(), nullptr, &room, nullptr) == TIDEGATE_OK);
  return room;
}

tidegate_request_options waiting(std::int64_t admit_timeout_ns) {
  auto options = initialised<tidegate_request_options>();
  options.admit_timeout_ns = admit_timeout_ns;
  return options;
}

}  // namespace

TEST_CASE("room: capacity counts down, and a submit that may wait is let in when there is room") {
  FullQueue host;
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, host.model, kOne) == TIDEGATE_OK);
  const Queue cq = make_queue(runtime);
  CHECK(room_of(runtime).items == 1);
  CHECK(room_of(runtime).retry_after_ns == 0);
  REQUIRE(submit(runtime, cq, "runs", 1) == TIDEGATE_OK);
  host.gate.await(1);
  REQUIRE(submit(runtime, cq, "waits", 2) == TIDEGATE_OK);
  CHECK(room_of(runtime).items == 0);
  CHECK(room_of(runtime).retry_after_ns > 0);
  CHECK(submit(runtime, cq, "refused", 3) == TIDEGATE_E_QUEUE_FULL);
  const auto briefly = waiting(1);
  CHECK(submit(runtime, cq, "refused later", 4, nullptr, &briefly) == TIDEGATE_E_QUEUE_FULL);

  tidegate_status status = TIDEGATE_E_INTERNAL;
  std::thread caller([&] {
    const auto forever = waiting(TIDEGATE_FOREVER);
    status = submit(runtime, cq, "let in", 5, nullptr, &forever);
  });
  CHECK(eventually([&] { return room_of(runtime).waiting == 1; }));
  host.gate.open();
  caller.join();
  CHECK(status == TIDEGATE_OK);
  for (int i = 0; i < 3; ++i) {
    const tidegate_completion record = next(cq);
    CHECK(record.status == TIDEGATE_OK);
    release(record);
  }
}

TEST_CASE("room: a shutdown ends submits that wait, and wrong arguments are refused") {
  FullQueue host;
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, host.model, kOne) == TIDEGATE_OK);
  const Queue cq = make_queue(runtime);
  const auto wrong = waiting(-1);
  CHECK(submit(runtime, cq, "x", 1, nullptr, &wrong) == TIDEGATE_E_INVALID);
  auto room = initialised<tidegate_queue_room>();
  CHECK(tidegate_capacity(nullptr, nullptr, &room, nullptr) == TIDEGATE_E_INVALID);
  CHECK(tidegate_capacity(runtime.get(), nullptr, nullptr, nullptr) == TIDEGATE_E_INVALID);

  REQUIRE(submit(runtime, cq, "runs", 1) == TIDEGATE_OK);
  host.gate.await(1);
  REQUIRE(submit(runtime, cq, "waits", 2) == TIDEGATE_OK);
  tidegate_status status = TIDEGATE_E_INTERNAL;
  std::thread caller([&] {
    const auto forever = waiting(TIDEGATE_FOREVER);
    status = submit(runtime, cq, "never", 3, nullptr, &forever);
  });
  CHECK(eventually([&] { return room_of(runtime).waiting == 1; }));
  std::thread shutdown([&] { (void)tidegate_runtime_shutdown(runtime.get(), TIDEGATE_FOREVER, nullptr); });
  caller.join();
  CHECK(status == TIDEGATE_E_SHUTTING_DOWN);
  host.gate.open();
  shutdown.join();
  CHECK(tidegate_capacity(runtime.get(), nullptr, &room, nullptr) == TIDEGATE_E_SHUTTING_DOWN);
  for (int i = 0; i < 2; ++i) {
    const tidegate_completion record = next(cq);
    CHECK(record.status == TIDEGATE_OK);
    release(record);
  }
}

TEST_CASE("room: caps of all models come from the runtime's configuration") {
  FullQueue host;
  const Runtime runtime = make_runtime(R"({"queue.max_queued_items": 1})");
  REQUIRE(add_host(runtime, host.model, R"({"batching.max_batch_size": 1})") == TIDEGATE_OK);
  const Queue cq = make_queue(runtime);
  REQUIRE(submit(runtime, cq, "runs", 1) == TIDEGATE_OK);
  host.gate.await(1);
  REQUIRE(submit(runtime, cq, "waits", 2) == TIDEGATE_OK);
  CHECK(room_of(runtime).items == 0);
  CHECK(submit(runtime, cq, "refused", 3) == TIDEGATE_E_QUEUE_FULL);
  host.gate.open();
  for (int i = 0; i < 2; ++i) release(next(cq));
}
