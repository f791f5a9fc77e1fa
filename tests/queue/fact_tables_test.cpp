// What the batchers of Triton and TensorFlow Serving promise of their schedulers, where the
// promise is one of ours too: rows, classes, time-outs and bounds.
#include <doctest/doctest.h>

#include "queue/scheduler_driver.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

using Rows = std::vector<std::uint32_t>;

Setup setup_of(std::uint32_t rows, Ticks delay, std::uint32_t slots) {
  Setup setup;
  setup.batching = {rows, 1'000'000, Duration(delay)};
  setup.slots = slots;
  return setup;
}

constexpr Who kHigh{Priority::interactive, 0};
constexpr Who kLow{Priority::batch, 0};

Rows rows_of(const SchedulerDriver& driver, std::size_t batch) {
  Rows rows;
  for (const std::uint32_t work : driver.batches.at(batch).works) rows.push_back(driver.works[work].size.rows);
  return rows;
}

}  // namespace

TEST_CASE("queue facts: with a free thread and no delay a task runs at once, the clock standing still") {
  SchedulerDriver driver(setup_of(10, 0, 1));
  driver.submit({3, 1, 0});
  CHECK(rows_of(driver, 0) == Rows{3});
}

TEST_CASE("queue facts: a lone task waits the whole delay, and what overflows the batch closes it at once") {
  SchedulerDriver driver(setup_of(4, 10, 2));
  driver.submit({1, 1, 0});
  driver.advance(9);
  CHECK(driver.batches.empty());
  driver.advance(1);
  CHECK(rows_of(driver, 0) == Rows{1});
  driver.submit({2, 1, 0});
  CHECK(driver.batches.size() == 1);
  driver.submit({3, 1, 0});
  CHECK(rows_of(driver, 1) == Rows{2});
  driver.finish_all();
}

TEST_CASE("queue facts: rows that come later join, and the wait counts from the first") {
  SchedulerDriver driver(setup_of(8, 10'000, 1));
  driver.submit({1, 1, 0});
  driver.advance(2000);
  driver.submit({3, 1, 0});
  driver.advance(7999);
  CHECK(driver.batches.empty());
  driver.advance(1);
  CHECK(rows_of(driver, 0) == Rows{1, 3});
}

TEST_CASE("queue facts: high rows first, and as many low ones as still fit") {
  SchedulerDriver driver(setup_of(10, 0, 0));
  driver.submit({1, 1, 0}, kNoDeadline, {}, kHigh);
  driver.submit({3, 1, 0}, kNoDeadline, {}, kHigh);
  for (int i = 0; i < 3; ++i) driver.submit({3, 1, 0}, kNoDeadline, {}, kLow);
  driver.set_slots(1);
  CHECK(rows_of(driver, 0) == Rows{1, 3, 3, 3});
  driver.done(0);
  CHECK(rows_of(driver, 1) == Rows{3});
}

TEST_CASE("queue facts: high and low merge, timed from the earlier of them") {
  SchedulerDriver driver(setup_of(10, 10, 1));
  driver.submit({3, 1, 0}, kNoDeadline, {}, kHigh);
  driver.advance(5);
  driver.submit({2, 1, 0}, kNoDeadline, {}, kLow);
  driver.advance(4);
  CHECK(driver.batches.empty());
  driver.advance(1);
  CHECK(rows_of(driver, 0) == Rows{3, 2});
}

TEST_CASE("queue facts: a full merge runs at once with the high rows in front") {
  SchedulerDriver driver(setup_of(10, 10, 1));
  driver.submit({2, 1, 0}, kNoDeadline, {}, kLow);
  driver.submit({3, 1, 0}, kNoDeadline, {}, kLow);
  CHECK(driver.batches.empty());
  driver.submit({5, 1, 0}, kNoDeadline, {}, kHigh);
  CHECK(rows_of(driver, 0) == Rows{5, 2, 3});
}

TEST_CASE("queue facts: an overflowing merge runs the high rows and leaves the low ones") {
  SchedulerDriver driver(setup_of(10, 10, 1));
  driver.submit({7, 1, 0}, kNoDeadline, {}, kLow);
  driver.submit({6, 1, 0}, kNoDeadline, {}, kHigh);
  CHECK(rows_of(driver, 0) == Rows{6});
  driver.done(0);
  driver.advance(10);
  CHECK(rows_of(driver, 1) == Rows{7});
}

TEST_CASE("queue facts: a high task overtakes the low ones that wait, not the one that runs") {
  SchedulerDriver driver(setup_of(1, 0, 1));
  for (int i = 0; i < 3; ++i) driver.submit({}, kNoDeadline, {}, kLow);
  driver.submit({}, kNoDeadline, {}, kHigh);
  for (std::uint32_t i = 0; i < 3; ++i) driver.done(i);
  std::vector<std::uint32_t> order;
  for (const auto& batch : driver.batches) order.push_back(batch.works.front());
  CHECK(order == std::vector<std::uint32_t>{0, 3, 1, 2});
}

TEST_CASE("queue facts: a queue full of low tasks makes room for high ones and refuses low ones") {
  Setup setup = setup_of(1, 0, 0);
  setup.admission.max_queued_items = 2;
  SchedulerDriver driver(setup);
  driver.submit({}, kNoDeadline, {}, kLow);
  driver.submit({}, kNoDeadline, {}, kLow);
  CHECK(driver.submit({}, kNoDeadline, {}, kHigh));
  CHECK(driver.submit({}, kNoDeadline, {}, kHigh));
  CHECK_FALSE(driver.submit({}, kNoDeadline, {}, kLow));
  CHECK(driver.requests[0].outcome == Outcome::preempted);
  CHECK(driver.requests[1].outcome == Outcome::preempted);
  CHECK_FALSE(driver.requests[2].outcome);
  CHECK_FALSE(driver.requests[3].outcome);
  driver.finish_all();
}

TEST_CASE("queue facts: the capacity left falls by one with each task, and a refusal changes no count") {
  for (const std::uint32_t capacity : {2u, 4u, 10u}) {
    Setup setup = setup_of(2, 0, 0);
    setup.admission.max_queued_items = capacity;
    SchedulerDriver driver(setup);
    for (std::uint32_t i = 0; i < capacity; ++i) CHECK(driver.submit());
    const SchedulerStats before = driver.core.stats();
    CHECK_FALSE(driver.submit());
    CHECK(driver.core.stats().queued_items == before.queued_items);
    CHECK(driver.core.stats().accepted == before.accepted);
    CHECK(driver.core.stats().waiters == before.waiters);
    driver.finish_all();
  }
}

TEST_CASE("queue facts 4.13/36: a time-out is answered while the only slot is busy") {
  SchedulerDriver driver(setup_of(8, 0, 1));
  driver.submit();
  driver.submit({}, driver.now + Duration(5));
  CHECK(driver.core.next_wake() == driver.now + Duration(5));
  driver.advance(5);
  CHECK(driver.requests[1].outcome == Outcome::deadline_exceeded);
  CHECK(driver.running() == 1);
  driver.finish_all();
}
