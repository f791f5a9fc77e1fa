// Who may wait, and what a refused request is told.
#include "queue/admission.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <string>

#include "queue/scheduler_driver.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

Setup held() {
  Setup setup;
  setup.batching = {8, 100, Duration(0)};
  setup.admission = {5, 40, 1000};
  setup.slots = 0;
  return setup;
}

}  // namespace

TEST_CASE("queue 4.13/40: each cap refuses by itself, with its name and numbers") {
  SchedulerDriver driver(held());
  SUBCASE("items") {
    for (int i = 0; i < 5; ++i) CHECK(driver.submit());
    REQUIRE_FALSE(driver.submit());
    CHECK(driver.refusal->observed() == 5);
    CHECK(driver.refusal->limit() == 5);
    CHECK(driver.refusal->message().find("max_queued_items") != std::string::npos);
  }
  SUBCASE("tokens") {
    CHECK(driver.submit({1, 30, 0}));
    CHECK(driver.submit({1, 10, 0}));
    REQUIRE_FALSE(driver.submit({1, 1, 0}));
    CHECK(driver.refusal->observed() == 41);
    CHECK(driver.refusal->limit() == 40);
    CHECK(driver.refusal->message().find("max_queued_tokens") != std::string::npos);
  }
  SUBCASE("bytes") {
    CHECK(driver.submit({1, 1, 999}));
    REQUIRE_FALSE(driver.submit({1, 1, 2}));
    CHECK(driver.refusal->observed() == 1001);
    CHECK(driver.refusal->limit() == 1000);
    CHECK(driver.refusal->message().find("max_queued_bytes") != std::string::npos);
    CHECK(driver.submit({1, 1, 1}));
  }
  CHECK(driver.core.stats().refused_full == 1);
  driver.finish_all();
}

TEST_CASE("queue 4.13/17: a refusal changes nothing but its counter") {
  SchedulerDriver driver(held());
  for (int i = 0; i < 5; ++i) driver.submit({1, 2, 3}, at(5000), static_cast<std::uint8_t>(i));
  SchedulerStats before = driver.core.stats();
  const TimePoint wake = driver.core.next_wake();
  REQUIRE_FALSE(driver.submit({1, 2, 3}, at(1001), 99));
  CHECK(driver.last == Effects{});
  CHECK_FALSE(driver.join(99));
  CHECK(driver.core.next_wake() == wake);
  ++before.refused_full;
  const SchedulerStats& after = driver.core.stats();
  CHECK(after.accepted == before.accepted);
  CHECK(after.refused_full == before.refused_full);
  CHECK(after.queued_items == before.queued_items);
  CHECK(after.queued_tokens == before.queued_tokens);
  CHECK(after.waiters == before.waiters);
  driver.finish_all();
}

TEST_CASE("queue: what runs does not count against the caps, and room returns item by item") {
  Setup setup = held();
  setup.batching.max_batch_size = 2;
  setup.slots = 1;
  SchedulerDriver driver(setup);
  for (int i = 0; i < 6; ++i) CHECK(driver.submit());
  CHECK_FALSE(driver.submit());
  driver.done(0);  // two of five leave for the slot
  CHECK(driver.submit());
  CHECK(driver.submit());
  CHECK_FALSE(driver.submit());
  driver.cancel(5);
  CHECK(driver.submit());
  driver.finish_all();
}

TEST_CASE("queue 4.13/24: a request too large for any batch, or for the empty queue, is refused as such") {
  SchedulerDriver driver(held());
  const auto refused = [&](ItemSize size, std::int64_t observed, std::int64_t limit) {
    REQUIRE_FALSE(driver.submit(size));
    CHECK(driver.refusal->code() == ErrorCode::too_large);
    CHECK(driver.refusal->observed() == observed);
    CHECK(driver.refusal->limit() == limit);
    CHECK(driver.refusal->retry_after() == Duration::zero());  // a retry cannot help
  };
  refused({9, 1, 0}, 9, 8);
  refused({1, 101, 0}, 101, 100);
  refused({1, 41, 0}, 41, 40);
  refused({1, 1, 1001}, 1001, 1000);
  constexpr auto kHuge = std::numeric_limits<std::uint64_t>::max();
  refused({1, kHuge, 0}, std::numeric_limits<std::int64_t>::max(), 100);
  refused({1, 1, kHuge}, std::numeric_limits<std::int64_t>::max(), 256 << 20);  // the cap of a batch is named first
  CHECK(driver.core.stats().refused_too_large == 6);
  CHECK(driver.submit({8, 40, 1000}));
  driver.finish_all();
}

TEST_CASE("queue: sums of sizes near the largest number do not wrap") {
  constexpr auto kHuge = std::numeric_limits<std::uint64_t>::max();
  Setup setup;
  setup.batching = {8, kHuge, Duration(0)};
  setup.batching.max_batch_bytes = kHuge;
  setup.admission = {10, kHuge, kHuge};
  setup.slots = 0;
  SchedulerDriver driver(setup);
  CHECK(driver.submit({1, kHuge - 1, kHuge - 1}));
  CHECK_FALSE(driver.submit({1, 2, 0}));
  CHECK_FALSE(driver.submit({1, 1, 2}));
  CHECK(driver.submit({1, 1, 1}));
  driver.set_slots(1);
  CHECK(driver.last.started == std::vector<std::vector<std::uint32_t>>{{0, 3}});
  driver.finish_all();
}

TEST_CASE("queue 4.13/45: retry_after grows with the backlog and the batch time, and shrinks with slots") {
  const BatchingOptions batching{10, 1000, Duration(0)};
  Admission admission(batching, {});
  Slab<Flight> flights;
  FlightQueue queue;
  Tenant tenant;
  for (TenantLine& line : tenant.lines) line.tenant = &tenant;
  std::uint64_t arrivals = 0;
  const auto wait = [&](std::uint32_t n) {
    while (queue.items() < n) {
      Flight& flight = flights.acquire();
      flight.size = {1, 1, 0};
      flight.tenant = &tenant;
      flight.sequence = ++arrivals;
      queue.push_back(flight);
    }
  };
  wait(10);
  CHECK(admission.retry_after(queue, 1) == Admission::kAssumedBatch);
  admission.record_batch(std::chrono::milliseconds(8));
  CHECK(admission.retry_after(queue, 1) == std::chrono::milliseconds(8));
  wait(100);
  CHECK(admission.retry_after(queue, 1) == std::chrono::milliseconds(80));
  CHECK(admission.retry_after(queue, 4) == std::chrono::milliseconds(24));  // ten batches, three rounds
  CHECK(admission.retry_after(queue, 0) == std::chrono::milliseconds(80));
  admission.record_batch(std::chrono::milliseconds(16));
  CHECK(admission.retry_after(queue, 1) == std::chrono::milliseconds(90));  // 8 + (16 - 8) / 8 = 9 ms a batch
  for (int i = 0; i < 200; ++i) admission.record_batch(std::chrono::hours(1));
  CHECK(admission.retry_after(queue, 1) == Admission::kLongestRetry);
  for (int i = 0; i < 400; ++i) admission.record_batch(Duration(-5));
  CHECK(admission.retry_after(queue, 1) == Admission::kShortestRetry);
}

TEST_CASE("queue: the retry_after of a refusal comes from the batches that have run") {
  Setup setup;
  setup.batching = {1, 100, Duration(0)};
  setup.admission.max_queued_items = 3;
  SchedulerDriver driver(setup);
  for (int i = 0; i < 4; ++i) driver.submit();
  CHECK_FALSE(driver.submit());
  CHECK(driver.refusal->code() == ErrorCode::queue_full);
  CHECK(driver.refusal->retry_after() == 3 * Admission::kAssumedBatch);
  driver.advance(2'000'000);
  driver.done(0);
  driver.submit();
  CHECK_FALSE(driver.submit());
  CHECK(driver.refusal->retry_after() == std::chrono::milliseconds(6));
  driver.finish_all();
}

TEST_CASE("queue: a queue that is full by any of its caps has its free replica wait for nobody") {
  Setup setup;
  setup.batching = {8, 1000, Duration(5000)};
  setup.admission = {3, 40, 900};
  SchedulerDriver driver(setup);
  ItemSize last{1, 1, 1};
  SUBCASE("items") {
    CHECK(driver.submit());
    CHECK(driver.submit());
  }
  SUBCASE("tokens") {
    CHECK(driver.submit({1, 30, 1}));
    last.tokens = 10;
  }
  SUBCASE("bytes") {
    CHECK(driver.submit({1, 1, 800}));
    last.bytes = 100;
  }
  CHECK(driver.batches.empty());
  CHECK(driver.core.next_wake() == driver.now + Duration(5000));
  CHECK(driver.submit(last));
  REQUIRE(driver.batches.size() == 1);
  CHECK(driver.core.decisions().back().trigger == Trigger::full);
  driver.finish_all();
}
