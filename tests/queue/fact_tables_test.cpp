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

// ---- tables ---------------------------------------------------------------------------

namespace {

/// Requests that are held back until the last has come, and the batches they form one after
/// the other in one slot.
struct Held {
  const char* what;
  std::uint32_t limit;
  std::vector<std::uint32_t> high;
  std::vector<std::uint32_t> low;
  std::vector<Rows> batches;
};

std::vector<Rows> run_held(const Setup& setup, const std::vector<std::pair<std::uint32_t, Who>>& sent) {
  SchedulerDriver driver(setup);
  for (const auto& [rows, who] : sent) driver.submit({rows, 1, 0}, kNoDeadline, {}, who);
  driver.set_slots(1);
  for (std::uint32_t i = 0; i < driver.batches.size(); ++i) driver.done(i);
  std::vector<Rows> batches;
  for (std::size_t i = 0; i < driver.batches.size(); ++i) batches.push_back(rows_of(driver, i));
  driver.finish_all();
  return batches;
}

}  // namespace

// Triton's preferred sizes make it wait for them; here a free slot never waits for a size, and
// merging up to the cap is decided by learned times. So of its rows those with all requests held
// until the last are ours, with the cap where it would stop at the preferred size.
TEST_CASE("queue facts: requests held until the last has come") {
  const Held table[] = {
      {"2, then 6", 8, {2, 6}, {}, {{2, 6}}},
      {"3 then 7 exceed eight rows", 8, {3, 7}, {}, {{3}, {7}}},
      {"3, 4 and 1 fill eight rows", 8, {3, 4, 1}, {}, {{3, 4, 1}}},
      {"six of one row", 6, {1, 1, 1, 1, 1, 1}, {}, {{1, 1, 1, 1, 1, 1}}},
      {"twelve of one row, four at most", 4, Rows(12, 1), {}, {Rows(4, 1), Rows(4, 1), Rows(4, 1)}},
      {"seven of one row, six at most", 6, Rows(7, 1), {}, {Rows(6, 1), Rows(1, 1)}},
      {"three of one row", 6, Rows(3, 1), {}, {Rows(3, 1)}},
      // TensorFlow closes a batch at the first misfit and answers {3,5},{3,1,6}: here a misfit is
      // passed over (eight times at most), so the 1 still fills the first batch.
      {"tasks of 3, 5, 3, 1, 6", 10, {3, 5, 3, 1, 6}, {}, {{3, 5, 1}, {3, 6}}},
      {"high 1, 3 with low 3, 3, 3: padded to the most", 10, {1, 3}, {3, 3, 3}, {{1, 3, 3, 3}, {3}}},
      {"an overflowing merge without splitting", 10, {6}, {7}, {{6}, {7}}},
      {"a full merge", 10, {5}, {2, 3}, {{5, 2, 3}}},
  };
  for (const Held& row : table) {
    CAPTURE(row.what);
    std::vector<std::pair<std::uint32_t, Who>> sent;
    for (const std::uint32_t rows : row.low) sent.emplace_back(rows, kLow);
    for (const std::uint32_t rows : row.high) sent.emplace_back(rows, kHigh);
    CHECK(run_held(setup_of(row.limit, 0, 0), sent) == row.batches);
  }
}

TEST_CASE("queue facts 4.13/4: requests of two shapes form batches of their own") {
  constexpr Who kA{Priority::interactive, 0, 1};
  constexpr Who kB{Priority::interactive, 0, 2};
  using Sent = std::vector<std::pair<std::uint32_t, Who>>;
  CHECK(run_held(setup_of(8, 0, 0), Sent{{1, kA}, {3, kA}, {1, kB}}) == std::vector<Rows>{{1, 3}, {1}});
  CHECK(run_held(setup_of(8, 0, 0), Sent{{1, kA}, {1, kB}, {3, kA}, {5, kB}}) == std::vector<Rows>{{1, 3}, {1, 5}});
  SchedulerDriver driver(setup_of(8, 0, 0));
  driver.submit({1, 1, 0}, kNoDeadline, {}, kA);
  driver.submit({1, 1, 0}, kNoDeadline, {}, kB);
  driver.set_slots(1);
  CHECK(driver.core.decisions().back().fullness == Fullness::signature);
  driver.finish_all();
}

TEST_CASE("queue facts: allowed sizes 2, 8 and 16 with high 1, 3 and low 2, 2, 2 run eight rows, none of them filler") {
  Setup setup = setup_of(16, 0, 0);
  setup.batching.allowed_batch_sizes = {2, 8, 16};
  SchedulerDriver driver(setup);
  for (const std::uint32_t rows : {1u, 3u}) driver.submit({rows, 1, 0}, kNoDeadline, {}, kHigh);
  for (int i = 0; i < 3; ++i) driver.submit({2, 1, 0}, kNoDeadline, {}, kLow);
  driver.set_slots(1);
  // TensorFlow's pad-to-next stops low tasks at eight rows. Before times are learned nothing says
  // that the next size costs more, so here all ten run, padded to sixteen.
  CHECK(rows_of(driver, 0) == Rows{1, 3, 2, 2, 2});
  CHECK(driver.core.decisions().back().filler_rows == 6);
  driver.finish_all();
}

TEST_CASE("queue facts: three wait, sizes 1, 2, 4, 8, rows cost alike: two run, and the third as soon as it can") {
  Setup setup = setup_of(8, 0, 1);
  setup.batching.allowed_batch_sizes = {1, 2, 4, 8};
  SchedulerDriver driver(setup);
  const auto finish = [&] {
    const auto batch = static_cast<std::uint32_t>(driver.batches.size() - 1);
    const auto rows = static_cast<std::uint32_t>(driver.batches[batch].works.size());
    const std::uint32_t computed = rows <= 2 ? rows : rows <= 4 ? 4 : 8;
    // Two at a time take less per row than one, more bring nothing.
    driver.now += Duration(1'000'000 * (computed == 1 ? 3 : 2 * computed));
    driver.done(batch);
  };
  for (std::uint32_t i = 0; i < 100; ++i) {
    for (std::uint32_t n = 0; n <= i * 5 % 8; ++n) driver.submit();
    while (driver.running() > 0) finish();
  }
  driver.submit();
  const std::size_t first = driver.batches.size();
  for (int i = 0; i < 3; ++i) driver.submit();
  while (driver.running() > 0) finish();
  // Not after two thirds of a time-out: the slot is free, so it runs at once.
  std::size_t rows = 0;
  for (std::size_t i = first; i < driver.batches.size(); ++i) rows += driver.batches[i].works.size();
  CHECK(rows == 3);
  CHECK(driver.batches[first].works.size() <= 2);
  driver.finish_all();
}

TEST_CASE("queue facts: a model whose queue is full and blocked leaves another's untouched") {
  Setup setup = setup_of(2, 0, 0);
  setup.admission.max_queued_items = 4;
  SchedulerDriver full(setup);
  while (full.submit()) continue;
  SchedulerDriver other(setup_of(2, 0, 1));
  CHECK(other.submit());
  CHECK(other.batches.size() == 1);
  other.finish_all();
  full.finish_all();
}

TEST_CASE("queue facts: tasks of one row run by class, then in order of arrival") {
  // TensorFlow's rank queues. Its just-in-time scheduler, which has bound the next batch before the
  // running one ends, would run one low task before a high one that came later: nothing is bound early here.
  SchedulerDriver driver(setup_of(1, 0, 0));
  for (const Who& who : {kLow, kLow, kHigh, kHigh, kLow}) driver.submit({1, 1, 0}, kNoDeadline, {}, who);
  driver.set_slots(1);
  for (std::uint32_t i = 0; i < driver.batches.size(); ++i) driver.done(i);
  std::vector<std::uint32_t> order;
  for (const auto& batch : driver.batches) order.push_back(batch.works.at(0));
  CHECK(order == std::vector<std::uint32_t>{2, 3, 0, 1, 4});
  driver.finish_all();
}

TEST_CASE("queue facts: without allowed sizes nothing is padded") {
  SchedulerDriver driver(setup_of(16, 0, 0));
  for (const std::uint32_t rows : {1u, 3u}) driver.submit({rows, 1, 0}, kNoDeadline, {}, kHigh);
  for (int i = 0; i < 3; ++i) driver.submit({2, 1, 0}, kNoDeadline, {}, kLow);
  driver.set_slots(1);
  CHECK(rows_of(driver, 0) == Rows{1, 3, 2, 2, 2});
  CHECK(driver.core.decisions().back().filler_rows == 0);
  driver.finish_all();
}

// Rows of the two suites that are not ours, and why:
// - A task cut in two because a batch has room for a part of it ({3,5,2},{1,1,6,1}; {6,4},{3}): an item
//   that fits into a batch is never cut, one that does not runs in parts of its own (split_test.cpp).
// - Isolation of classes ({1,3} then {3,3}): classes share batches, for a low item in a place that
//   would stay empty delays nobody (the merges above).
// - Preferred sizes that are waited for: see the table of requests held until the last has come.
// - Twelve of one row on two instances of different speed, answered in order: engine_order_test.cpp.
// - One queue's single task before another's second batch, weights of a scarce slot: slot_arbiter_test.cpp.
// - A destructor that returns after the last pending task: engine_lifetime_test.cpp.
// - Sequences: theirs are clients' correlated requests; ours are items with steps (stream_test.cpp).
// - Allowed sizes unsorted or above the most: option_limits_test.cpp.
