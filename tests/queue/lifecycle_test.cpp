// Cancel, ids, drain, failure of what remains, and what the driver may do twice.
#include <doctest/doctest.h>

#include <utility>

#include "queue/slots_setup.hpp"

using namespace tidegate;
using namespace tidegate::test;

TEST_CASE("queue 4.13/48: cancel works while queued and while running, once, and never after the end") {
  SchedulerDriver driver(with_slots(1));
  driver.submit();
  driver.submit();
  CHECK(driver.cancel(1));
  CHECK(driver.last.retired == std::vector<std::uint32_t>{1});
  CHECK_FALSE(driver.cancel(1));
  CHECK(driver.cancel(0));
  CHECK(driver.last.retired.empty());  // it runs
  CHECK_FALSE(driver.cancel(0));
  driver.done(0);
  CHECK(driver.last.ended.empty());
  CHECK_FALSE(driver.cancel(0));
  driver.finish_all();
}

TEST_CASE("queue: an id of the past never touches a later request in the same place") {
  SchedulerDriver driver(with_slots(1));
  for (std::uint32_t i = 0; i < 500; ++i) {
    driver.submit();
    if (i > 0) {
      CHECK_FALSE(driver.cancel(i - 1));
      CHECK(driver.requests[i].id != driver.requests[i - 1].id);
    }
    driver.done(i);
  }
  CHECK(driver.core.stats().answered == 500);
  CHECK_FALSE(driver.core.cancel(driver.now, WaiterId{0}));
  CHECK_FALSE(driver.core.cancel(driver.now, WaiterId{~0ULL}));
}

TEST_CASE("queue: a batch is done once; unknown and repeated ids change nothing") {
  SchedulerDriver driver(with_slots(1));
  driver.submit();
  driver.submit();
  driver.core.batch_done(driver.now, BatchId{12345});
  driver.core.batch_done(driver.now, BatchId{0});
  CHECK(driver.core.take_commands().empty());
  driver.done(0);
  CHECK(driver.last.started.size() == 1);
  driver.done(0);
  CHECK(driver.last == Effects{});
  CHECK(driver.core.stats().running_batches == 1);
  driver.finish_all();
}

TEST_CASE("queue: batches may finish in any order") {
  Setup setup = with_slots(3);
  setup.batching.max_batch_size = 1;
  SchedulerDriver driver(setup);
  for (int i = 0; i < 3; ++i) driver.submit();
  for (const std::uint32_t batch : {2u, 0u, 1u}) {
    driver.done(batch);
    CHECK(driver.last.ended.at(0).request == batch);
  }
  driver.finish_all();
}

TEST_CASE("queue 4.13/67, 68: drain refuses newcomers, ends the delay and lets the work finish") {
  Setup setup = with_slots(1);
  setup.batching = {2, 100, Duration(50)};
  SchedulerDriver driver(setup);
  driver.submit({}, kNoDeadline, 1);
  CHECK(driver.batches.empty());
  driver.begin_drain();
  CHECK(driver.last.started.size() == 1);
  CHECK_FALSE(driver.submit({}, kNoDeadline, 1));
  CHECK(driver.refusal->code() == ErrorCode::shutting_down);
  CHECK_FALSE(driver.submit({99, 1, 0}));
  CHECK(driver.refusal->code() == ErrorCode::shutting_down);
  CHECK_FALSE(driver.join(1));
  driver.begin_drain();
  CHECK(driver.last == Effects{});
  CHECK(driver.core.stats().refused_draining == 2);
  driver.finish_all();
  CHECK(driver.outcome(0) == Outcome::answered);
}

TEST_CASE("queue 4.13/67: draining an empty queue is complete at once") {
  SchedulerDriver driver(with_slots(0));
  driver.begin_drain();
  driver.finish_all();
}

TEST_CASE("queue 4.13/67: failing what remains ends every waiter; running batches stay until they are done") {
  Setup setup = with_slots(1);
  setup.batching.max_batch_size = 2;
  SchedulerDriver driver(setup);
  for (std::uint8_t i = 0; i < 5; ++i) driver.submit({}, at(1000 + 10 * (i + 1)), i);
  driver.join(0);
  driver.join(4);
  driver.advance(20);  // the running 0 and the queued 1 are due
  driver.fail_remaining();
  CHECK(driver.outcome(0) == Outcome::deadline_exceeded);
  CHECK(driver.outcome(1) == Outcome::deadline_exceeded);
  for (const std::uint32_t request : {2u, 3u, 4u, 5u, 6u}) CHECK(driver.outcome(request) == Outcome::shutting_down);
  CHECK(driver.last.retired.size() == 3);  // 2, 3 and 4; 0 still runs, 1 went before
  CHECK(driver.core.stats().waiters == 0);
  CHECK(driver.core.stats().running_batches == 1);
  CHECK(driver.core.next_wake() >= at(60'000'000'000));  // only the batch is watched
  driver.fail_remaining();
  CHECK(driver.last == Effects{});
  driver.done(0);
  CHECK(driver.core.stats().wasted_items == 1);
  driver.finish_all();
}

TEST_CASE("queue: commands left untaken over several events keep their order and lose nothing") {
  SchedulerCore core({}, {}, 1);
  int waiters[3];
  int works[3];
  for (int i = 0; i < 3; ++i) REQUIRE(core.submit(at(1000 + i), {&waiters[i], &works[i]}).has_value());
  core.fail_remaining(at(1010));
  const Commands commands = core.take_commands();
  CHECK(commands.complete.size() == 3);
  REQUIRE(commands.run.size() == 1);
  CHECK(commands.run[0].works == std::vector<void*>{&works[0]});
  CHECK(commands.retire.size() == 2);
  CHECK(core.take_commands().empty());
  core.batch_done(at(1011), commands.run[0].id);
  CHECK(core.take_commands().retire.at(0).work == &works[0]);
}

TEST_CASE("queue 4.13/69: a core may be moved and destroyed with work in it") {
  SchedulerCore first({}, {}, 1);
  int record = 0;
  REQUIRE(first.submit(at(1000), {&record, &record}).has_value());
  SchedulerCore second = std::move(first);
  CHECK(second.stats().running_batches == 1);
  second = SchedulerCore({}, {}, 0);
  CHECK(second.stats().accepted == 0);
}

TEST_CASE("queue 4.13/19: equal event streams give equal batches") {
  const auto batches_of = [] {
    Setup setup = with_slots(2);
    setup.batching = {4, 20, Duration(3)};
    SchedulerDriver driver(setup);
    for (std::uint32_t i = 0; i < 200; ++i) {
      driver.submit({1 + i % 3, 1 + i * 7 % 11, 0}, kNoDeadline, static_cast<std::uint8_t>(i % 17));
      driver.advance(i % 2);
      if (i % 3 == 0 && i / 3 < driver.batches.size()) driver.done(i / 3);
    }
    std::vector<std::vector<std::uint32_t>> out;
    for (const auto& batch : driver.batches) out.push_back(batch.works);
    return out;
  };
  CHECK(batches_of() == batches_of());
}
