// Classes and tenants of requests, through the C ABI.
#include <algorithm>
#include <string>
#include <vector>

#include "c_api.hpp"

using namespace capi_test;

namespace {

/// A host model that notes the order of its items and runs them one by one, held back at a gate.
struct OneByOne {
  Gate gate;
  std::vector<std::string> order;
  HostModel host;

  OneByOne() {
    host.run = [this](tidegate_batch* batch) {
      gate.pass();
      for (std::uint32_t i = 0; i < tidegate_batch_size(batch); ++i) {
        std::size_t length = 0;
        const char* const text = tidegate_batch_text(batch, i, &length);
        order.emplace_back(text, length);
      }
      return answer_all(batch);
    };
  }
};

tidegate_request_options options_of(tidegate_priority priority, const char* tenant) {
  auto options = initialised<tidegate_request_options>();
  options.priority = priority;
  options.tenant = tenant;
  options.tenant_length = tenant == nullptr ? 0 : TIDEGATE_NUL;
  return options;
}

}  // namespace

TEST_CASE("classes: priority and tenant of a request decide when it runs, and its timing says what it waited for") {
  OneByOne model;
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, model.host, R"({"batching.max_batch_size": 1, "admission.tenants": [
    {"name": "heavy", "weight_percent": 300}]})") == TIDEGATE_OK);
  const Queue cq = make_queue(runtime);
  std::uint64_t tag = 0;
  const auto send = [&](const char* text, tidegate_priority priority, const char* tenant) {
    const auto options = options_of(priority, tenant);
    REQUIRE(submit(runtime, cq, text, ++tag, nullptr, &options) == TIDEGATE_OK);
  };
  send("first", 0, nullptr);
  model.gate.await(1);
  send("later", TIDEGATE_PRIORITY_BATCH, nullptr);
  for (int i = 0; i < 4; ++i) send("light", TIDEGATE_PRIORITY_INTERACTIVE, "light");
  for (int i = 0; i < 4; ++i) send("heavy", 0, "heavy");
  send("now", TIDEGATE_PRIORITY_CRITICAL, nullptr);
  model.gate.open();
  for (std::uint64_t i = 0; i < tag; ++i) {
    const tidegate_completion record = next(cq);
    CHECK(record.status == TIDEGATE_OK);
    auto timing = initialised<tidegate_timing>();
    REQUIRE(tidegate_result_timing(record.result, &timing, nullptr) == TIDEGATE_OK);
    CHECK(timing.dispatch_ns >= 0);
    CHECK(timing.queue_ns + timing.dispatch_ns + timing.run_ns <= timing.total_ns);
    release(record);
  }
  REQUIRE(model.order.size() == 11);
  CHECK(model.order[1] == "now");
  const auto count = [&](std::size_t end, const char* text) {
    return std::count(model.order.begin(), model.order.begin() + static_cast<std::ptrdiff_t>(end), text);
  };
  // Of the first six after it, the tenant of three times the weight has at least half.
  CHECK(count(8, "heavy") == 4);
  CHECK(count(8, "light") >= 1);
}

TEST_CASE("classes: a listed tenant has the limits of its entry, the others those of all") {
  const Runtime runtime = make_runtime(R"({"models": [{"name": "m", "kind": "synthetic",
    "admission": {"requests_per_minute": 1, "tenants": [{"name": "paying", "requests_per_minute": 3}]}}]})");
  const Queue cq = make_queue(runtime);
  const auto accepted = [&](const char* tenant) {
    const auto options = options_of(0, tenant);
    std::uint64_t count = 0;
    while (submit(runtime, cq, std::string(tenant) + std::to_string(count), count, nullptr, &options) == TIDEGATE_OK) {
      ++count;
    }
    CHECK(submit(runtime, cq, "one more", 99, nullptr, &options) == TIDEGATE_E_QUOTA);
    return count;
  };
  CHECK(accepted("paying") == 3);
  CHECK(accepted("anyone") == 1);
  CHECK(accepted("else") == 1);
  for (int i = 0; i < 5; ++i) release(next(cq));
}

TEST_CASE("classes: completions of one ordering key arrive in the order of the submits, and timing names the variant") {
  Gate gate;
  HostModel model = gated(gate);
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, model, R"({"batching.max_batch_size": 1, "batching.ordering": "per_key",
    "replica.concurrency": 2, "replica.variant": "third edition"})") == TIDEGATE_OK);
  const Queue cq = make_queue(runtime);
  auto options = options_of(0, nullptr);
  options.ordering_key = "session 7 and more";
  options.ordering_key_length = 9;
  for (std::uint64_t tag = 1; tag <= 20; ++tag) {
    REQUIRE(submit(runtime, cq, "text", tag, nullptr, &options) == TIDEGATE_OK);
  }
  gate.open();
  for (std::uint64_t tag = 1; tag <= 20; ++tag) {
    const tidegate_completion record = next(cq);
    CHECK(record.tag == tag);
    auto timing = initialised<tidegate_timing>();
    REQUIRE(tidegate_result_timing(record.result, &timing, nullptr) == TIDEGATE_OK);
    CHECK(std::string(timing.variant, timing.variant_length) == "third edition");
    CHECK(timing.parts == 1);
    release(record);
  }
  options.priority = TIDEGATE_PRIORITY_CRITICAL;
  CHECK(submit(runtime, cq, "text", 21, nullptr, &options) == TIDEGATE_E_INVALID);
  options = options_of(0, nullptr);
  const std::string longer(257, 'k');
  options.ordering_key = longer.c_str();
  options.ordering_key_length = TIDEGATE_NUL;
  CHECK(submit(runtime, cq, "text", 22, nullptr, &options) == TIDEGATE_E_INVALID);
}

TEST_CASE("announce: a free replica waits for a request that is on its way") {
  std::vector<std::uint32_t> batches;
  HostModel model{[&](tidegate_batch* batch) {
    batches.push_back(tidegate_batch_size(batch));
    return answer_all(batch);
  }};
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, model, R"({"batching.linger": "announced", "batching.max_queue_delay_us": 60000000})") ==
          TIDEGATE_OK);
  const Queue cq = make_queue(runtime);
  const auto take = [&] {
    const tidegate_completion record = next(cq);
    CHECK(record.status == TIDEGATE_OK);
    release(record);
  };
  REQUIRE(submit(runtime, cq, "alone", 1) == TIDEGATE_OK);
  take();
  tidegate_announcement* coming = nullptr;
  REQUIRE(tidegate_announce(runtime.get(), nullptr, &coming, nullptr) == TIDEGATE_OK);
  REQUIRE(coming != nullptr);
  REQUIRE(submit(runtime, cq, "waits", 2) == TIDEGATE_OK);
  REQUIRE(submit(runtime, cq, "came", 3) == TIDEGATE_OK);
  tidegate_announcement_release(coming);
  take();
  take();
  CHECK(batches == std::vector<std::uint32_t>{1, 2});

  // One that is forgotten keeps the model beyond the runtime's end, and harms nothing.
  tidegate_announcement* forgotten = nullptr;
  REQUIRE(tidegate_announce(runtime.get(), nullptr, &forgotten, nullptr) == TIDEGATE_OK);
  CHECK(tidegate_runtime_shutdown(runtime.get(), TIDEGATE_FOREVER, nullptr) == TIDEGATE_OK);
  tidegate_announcement* late = nullptr;
  CHECK(tidegate_announce(runtime.get(), nullptr, &late, nullptr) == TIDEGATE_E_SHUTTING_DOWN);
  CHECK(late == nullptr);
  tidegate_announcement_release(forgotten);
  CHECK(tidegate_announce(nullptr, nullptr, &late, nullptr) == TIDEGATE_E_INVALID);
  CHECK(tidegate_announce(runtime.get(), nullptr, nullptr, nullptr) == TIDEGATE_E_INVALID);
  tidegate_announcement_release(nullptr);
}
