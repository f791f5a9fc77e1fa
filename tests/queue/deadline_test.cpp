// Deadlines: due means due, in whatever state the request is.
#include <doctest/doctest.h>

#include <limits>

#include "queue/deadline_heap.hpp"
#include "queue/slots_setup.hpp"

using namespace tidegate;
using namespace tidegate::test;

TEST_CASE("queue 4.13/34: a deadline that has passed at submit ends the request by command, and it never runs") {
  SchedulerDriver driver(with_slots(1));
  for (const Deadline deadline : {at(999), at(1000), TimePoint::min(), at(0)}) {
    CHECK(driver.submit({}, deadline));
    CHECK(driver.last.ended.at(0).outcome == Outcome::deadline_exceeded);
    CHECK(driver.last.retired.size() == 1);
  }
  CHECK(driver.batches.empty());
  CHECK(driver.core.stats().accepted == 4);
  CHECK(driver.submit({}, at(1001)));
  CHECK(driver.batches.size() == 1);
  driver.finish_all();
}

TEST_CASE("queue: a deadline is met until just before its moment") {
  SchedulerDriver driver(with_slots(0));
  driver.submit({}, at(1010));
  CHECK(driver.core.next_wake() == at(1010));
  driver.advance(9);
  CHECK_FALSE(driver.outcome(0));
  driver.advance(1);
  CHECK(driver.outcome(0) == Outcome::deadline_exceeded);
}

TEST_CASE("queue 4.13/36: expiry fires while every slot is busy") {
  SchedulerDriver driver(with_slots(1));
  driver.submit();
  driver.submit({}, at(1005));
  driver.submit({}, at(1007));
  driver.advance(6);
  CHECK(driver.outcome(1) == Outcome::deadline_exceeded);
  CHECK(driver.last.retired == std::vector<std::uint32_t>{1});
  driver.done(0);
  CHECK(driver.last.started == std::vector<std::vector<std::uint32_t>>{{2}});
  driver.finish_all();
}

TEST_CASE("queue: a deadline that passes while its batch runs ends the request; the answer is discarded") {
  SchedulerDriver driver(with_slots(1));
  driver.submit({}, at(1005));
  SUBCASE("by the alarm") {
    driver.advance(5);
    CHECK(driver.outcome(0) == Outcome::deadline_exceeded);
    CHECK(driver.last.retired.empty());
    driver.done(0);
  }
  SUBCASE("the batch is done late and the alarm later still") {
    driver.now = at(1006);
    driver.done(0);
    CHECK(driver.outcome(0) == Outcome::deadline_exceeded);
  }
  CHECK(driver.core.stats().wasted_items == 1);
  driver.finish_all();
}

TEST_CASE("queue 4.13/10: what is due when a slot frees is ended, not started") {
  SchedulerDriver driver(with_slots(1));
  driver.submit();
  driver.submit({}, at(1003));
  driver.submit();
  driver.now = at(1003);
  driver.done(0);
  CHECK(driver.outcome(1) == Outcome::deadline_exceeded);
  CHECK(driver.last.started == std::vector<std::vector<std::uint32_t>>{{2}});
  driver.finish_all();
}

TEST_CASE("queue 4.13/34: no deadline never passes, not even at the end of time") {
  SchedulerCore core({}, {}, 0);
  int record = 0;
  REQUIRE(core.submit(at(1000), {&record, &record}).has_value());
  CHECK(core.next_wake() == kNoDeadline);
  core.set_slots(TimePoint::max(), 1);
  core.advance(TimePoint::max());
  const Commands commands = core.take_commands();
  CHECK(commands.complete.empty());
  core.batch_done(TimePoint::max(), commands.run.at(0).id);
  CHECK(core.take_commands().complete.at(0).outcome == Outcome::answered);
}

TEST_CASE("queue 4.13/35: time that runs backwards moves nothing") {
  SchedulerDriver driver(with_slots(0));
  driver.submit({}, at(1010));
  driver.advance(5);
  driver.core.advance(at(3));
  CHECK(driver.core.take_commands().empty());
  CHECK(driver.core.next_wake() == at(1010));
}

TEST_CASE("queue 4.13/37: a hundred thousand deadlines of one moment need one wake") {
  Setup setup = with_slots(0);
  setup.admission.max_queued_items = 200'000;
  setup.admission.max_queued_tokens = 200'000;
  SchedulerCore core(setup.batching, setup.admission, setup.slots);
  int record = 0;
  for (int i = 0; i < 100'000; ++i) {
    Submission submission{&record, &record};
    submission.deadline = at(2000);
    REQUIRE(core.submit(at(1000), submission).has_value());
  }
  CHECK(core.take_commands().empty());
  CHECK(core.next_wake() == at(2000));
  core.advance(at(2000));
  const Commands commands = core.take_commands();
  CHECK(commands.complete.size() == 100'000);
  CHECK(commands.retire.size() == 100'000);
  CHECK(core.next_wake() == kNoDeadline);
}

TEST_CASE("deadline heap: the earliest is always a live waiter's, and dead entries stay bounded") {
  Slab<Waiter> waiters;
  DeadlineHeap heap(waiters);
  CHECK(heap.earliest() == kNoDeadline);
  CHECK(heap.first_due(TimePoint::max()) == nullptr);
  std::vector<Waiter*> live;
  std::size_t most_entries = 0;
  std::uint32_t state = 1;
  for (int i = 0; i < 20'000; ++i) {
    state = state * 1664525 + 1013904223;
    const std::uint32_t roll = state >> 8;
    if (live.size() < 100 || roll % 2 == 0) {
      Waiter& waiter = waiters.acquire();
      waiter.deadline = at(roll % 5000);
      heap.push(waiter);
      live.push_back(&waiter);
    } else {
      std::swap(live[roll % live.size()], live.back());
      waiters.release(*live.back());
      live.pop_back();
      heap.forget_one();
    }
    TimePoint earliest = kNoDeadline;
    for (const Waiter* waiter : live) earliest = std::min(earliest, waiter->deadline);
    REQUIRE(heap.earliest() == earliest);
    REQUIRE(heap.entries() <= std::max(2 * live.size() + 1, DeadlineHeap::kSlack));
    most_entries = std::max(most_entries, heap.entries() - live.size());
    if (live.size() > 300) {
      while (Waiter* due = heap.first_due(at(2500))) {
        REQUIRE(due->deadline <= at(2500));
        std::erase(live, due);
        waiters.release(*due);
        heap.forget_one();
      }
    }
  }
  CHECK(most_entries > 0);  // the heap was lazy at all
}
