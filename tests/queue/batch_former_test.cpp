// Which flights run together, and when.
#include <doctest/doctest.h>

#include "queue/scheduler_driver.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

using Batches = std::vector<std::vector<std::uint32_t>>;

Setup with(std::uint32_t size, std::uint64_t tokens, Ticks delay, std::uint32_t slots) {
  Setup setup;
  setup.batching = {size, tokens, Duration(delay)};
  setup.slots = slots;
  return setup;
}

/// Rows of every batch that held requests form, one after the other through one slot.
std::vector<std::vector<std::uint32_t>> batches_of(std::uint32_t max_rows, const std::vector<std::uint32_t>& rows) {
  SchedulerDriver driver(with(max_rows, 1000, 0, 0));
  for (const std::uint32_t n : rows) driver.submit({n, 1, 0});
  driver.set_slots(1);
  driver.finish_all();
  Batches out;
  for (const auto& batch : driver.batches) {
    out.emplace_back();
    for (const std::uint32_t work : batch.works) out.back().push_back(driver.works[work].size.rows);
  }
  return out;
}

}  // namespace

TEST_CASE("queue 4.13/8, 38: with a free slot and no delay a request runs at once, alone") {
  SchedulerDriver driver(with(8, 100, 0, 1));
  driver.submit();
  CHECK(driver.last.started == Batches{{0}});
  CHECK(driver.core.next_wake() == driver.now + std::chrono::minutes(1));  // only the batch is watched
}

TEST_CASE("queue: while all slots are busy the queue itself becomes the next batch") {
  SchedulerDriver driver(with(4, 100, 0, 1));
  for (int i = 0; i < 7; ++i) driver.submit();
  CHECK(driver.batches.size() == 1);
  driver.done(0);
  CHECK(driver.last.started == Batches{{1, 2, 3, 4}});
  driver.done(1);
  CHECK(driver.last.started == Batches{{5, 6}});
  driver.finish_all();
}

TEST_CASE("queue: without a slot nothing runs, and new slots take what waits") {
  SchedulerDriver driver(with(4, 100, 0, 0));
  for (int i = 0; i < 12; ++i) driver.submit();
  CHECK(driver.batches.empty());
  driver.set_slots(2);
  CHECK(driver.last.started == Batches{{0, 1, 2, 3}, {4, 5, 6, 7}});
  driver.done(1);
  CHECK(driver.last.started == Batches{{8, 9, 10, 11}});
  driver.finish_all();
}

TEST_CASE("queue: running batches above a smaller slot count finish, and none starts meanwhile") {
  SchedulerDriver driver(with(1, 100, 0, 3));
  for (int i = 0; i < 5; ++i) driver.submit();
  CHECK(driver.running() == 3);
  driver.set_slots(1);
  driver.done(0);
  driver.done(2);
  CHECK(driver.batches.size() == 3);
  driver.done(1);
  CHECK(driver.batches.size() == 4);
  driver.finish_all();
}

TEST_CASE("queue 4.13/21, 22, 26: rows fill a batch first-fit, in order of arrival, the oldest always in it") {
  CHECK(batches_of(8, {1, 1, 1, 1, 1, 1}) == Batches{{1, 1, 1, 1, 1, 1}});
  CHECK(batches_of(8, {3, 4, 1}) == Batches{{3, 4, 1}});
  CHECK(batches_of(8, {3, 7}) == Batches{{3}, {7}});
  CHECK(batches_of(8, {2, 6}) == Batches{{2, 6}});                       // exact fill
  CHECK(batches_of(8, {2, 7}) == Batches{{2}, {7}});                     // one over
  CHECK(batches_of(10, {3, 5, 3, 1, 6}) == Batches{{3, 5, 1}, {3, 6}});  // 3 is passed over once
  CHECK(batches_of(4, std::vector<std::uint32_t>(12, 1)) == Batches(3, std::vector<std::uint32_t>(4, 1)));
}

TEST_CASE("queue: tokens fill a batch as rows do") {
  SchedulerDriver driver(with(100, 10, 0, 0));
  for (const std::uint64_t tokens : {6, 5, 4, 5, 10}) driver.submit({1, tokens, 0});
  driver.set_slots(1);
  CHECK(driver.last.started == Batches{{0, 2}});
  driver.done(0);
  CHECK(driver.last.started == Batches{{1, 3}});
  driver.done(1);
  CHECK(driver.last.started == Batches{{4}});
  driver.finish_all();
}

TEST_CASE("queue 4.13/25: a size of zero rows and tokens counts as one") {
  SchedulerDriver driver(with(2, 100, 0, 0));
  const auto accept = [&](std::uintptr_t n) {
    Submission submission;
    submission.waiter = submission.work = reinterpret_cast<void*>(n);
    submission.size = {0, 0, 0};
    return driver.core.submit(driver.now, submission).has_value();
  };
  for (std::uintptr_t n = 1; n <= 3; ++n) CHECK(accept(n));
  CHECK(driver.core.stats().queued_tokens == 3);
  driver.core.set_slots(driver.now, 1);
  CHECK(driver.core.take_commands().run.at(0).works.size() == 2);
}

TEST_CASE("queue 4.13/27: an item is overtaken in at most eight batches") {
  // 6 of 10 tokens go to every batch's oldest; the 5 never fits beside it, the 4s do.
  SchedulerDriver driver(with(100, 10, 0, 0));
  for (int i = 0; i < 12; ++i) driver.submit({1, 6, 0});  // works 0..11
  driver.submit({1, 5, 0});                               // work 12
  for (int i = 0; i < 12; ++i) driver.submit({1, 4, 0});  // works 13..24
  driver.set_slots(1);
  for (std::uint32_t i = 0; i < 8; ++i) {
    CHECK(driver.last.started == Batches{{i, 13 + i}});
    driver.done(i);
  }
  for (std::uint32_t i = 8; i < 12; ++i) {
    CHECK(driver.last.started == Batches{{i}});
    driver.done(i);
  }
  CHECK(driver.last.started == Batches{{12, 21}});
  driver.finish_all();
}

TEST_CASE("queue 4.13/9: a free slot waits for company until the oldest has waited the delay, not a moment longer") {
  SchedulerDriver driver(with(4, 100, 10, 1));
  driver.submit();
  CHECK(driver.batches.empty());
  CHECK(driver.core.next_wake() == driver.now + Duration(10));
  driver.advance(4);
  driver.submit();  // does not put the end off
  CHECK(driver.core.next_wake() == driver.now + Duration(6));
  driver.advance(5);
  CHECK(driver.batches.empty());
  driver.advance(1);
  CHECK(driver.last.started == Batches{{0, 1}});
  driver.finish_all();
}

TEST_CASE("queue: a delay ends at once when the batch is full or overflows") {
  SUBCASE("exactly full") {
    SchedulerDriver driver(with(4, 100, 10, 1));
    driver.submit({3, 1, 0});
    driver.submit({1, 1, 0});
    CHECK(driver.last.started == Batches{{0, 1}});
  }
  SUBCASE("the second does not fit: the first runs, the second waits its own delay") {
    SchedulerDriver driver(with(4, 100, 10, 2));
    driver.submit({2, 1, 0});
    driver.advance(3);
    driver.submit({3, 1, 0});
    CHECK(driver.last.started == Batches{{0}});
    CHECK(driver.core.next_wake() == driver.now + Duration(10));
    driver.advance(10);
    CHECK(driver.last.started == Batches{{1}});
  }
  SUBCASE("tokens are full") {
    SchedulerDriver driver(with(4, 9, 10, 1));
    driver.submit({1, 9, 0});
    CHECK(driver.last.started == Batches{{0}});
  }
  SUBCASE("the queue takes no more") {
    Setup setup = with(4, 100, 10, 1);
    setup.admission.max_queued_items = 2;
    SchedulerDriver driver(setup);
    driver.submit();
    driver.submit();
    CHECK(driver.last.started == Batches{{0, 1}});
  }
}

TEST_CASE("queue: time spent waiting for a slot counts towards the delay") {
  SchedulerDriver driver(with(4, 100, 10, 1));
  for (int i = 0; i < 4; ++i) driver.submit();
  CHECK(driver.running() == 1);
  driver.submit();
  driver.advance(7);
  driver.done(0);
  CHECK(driver.running() == 0);
  CHECK(driver.core.next_wake() == driver.now + Duration(3));
  driver.submit();
  driver.advance(3);
  CHECK(driver.last.started == Batches{{4, 5}});
  driver.finish_all();
}

TEST_CASE("queue 4.13/33: who is left over by a full batch keeps the start of his delay") {
  SchedulerDriver driver(with(2, 100, 10, 1));
  driver.submit();
  driver.submit();
  REQUIRE(driver.running() == 1);
  driver.submit();
  driver.advance(2);
  driver.submit();
  driver.advance(3);
  driver.submit();
  const TimePoint arrival = driver.now;
  driver.advance(3);
  driver.done(0);
  CHECK(driver.last.started == Batches{{2, 3}});
  driver.advance(1);
  driver.done(1);
  CHECK(driver.running() == 0);
  CHECK(driver.core.next_wake() == arrival + Duration(10));
  driver.advance(6);
  CHECK(driver.last.started == Batches{{4}});
  driver.finish_all();
}

TEST_CASE("queue: when the oldest leaves, the delay counts from the next oldest") {
  SchedulerDriver driver(with(4, 100, 10, 1));
  driver.submit();
  driver.advance(6);
  driver.submit();
  CHECK(driver.cancel(0));
  CHECK(driver.core.next_wake() == driver.now + Duration(10));
  CHECK(driver.cancel(1));
  CHECK(driver.core.next_wake() == kNoDeadline);
}

TEST_CASE("queue: an endless delay is no overflow") {
  Setup setup = with(2, 100, 0, 1);
  setup.batching.max_queue_delay = Duration::max();
  SchedulerCore core(setup.batching, setup.admission, setup.slots);
  int record = 0;
  CHECK(core.submit(at(1000), {&record, &record}).has_value());
  CHECK(core.next_wake() == kNoDeadline);
  CHECK(core.submit(at(1001), {&record, &record}).has_value());
  CHECK(core.take_commands().run.size() == 1);
}
