// Equal requests share one computation, and nothing else.
#include "queue/single_flight.hpp"

#include <doctest/doctest.h>

#include "queue/slots_setup.hpp"

using namespace tidegate;
using namespace tidegate::test;

TEST_CASE("queue: equal requests join a queued or a running flight and all get its answer") {
  SchedulerDriver driver(with_slots(0));
  CHECK(driver.submit({}, kNoDeadline, 1));
  CHECK(driver.submit({}, kNoDeadline, 1));
  CHECK(driver.requests[1].joined);
  CHECK(driver.join(1));
  CHECK(driver.core.stats().queued_items == 1);
  driver.set_slots(1);
  CHECK(driver.join(1));
  driver.done(0);
  CHECK(driver.last.ended.size() == 4);
  CHECK(driver.core.stats().joined == 3);
  CHECK(driver.core.stats().batched_items == 1);
  CHECK_FALSE(driver.join(1));  // it has ended
  driver.finish_all();
}

TEST_CASE("queue 4.13/52: different keys and requests without a key never share") {
  SchedulerDriver driver(with_slots(0));
  CHECK_FALSE(driver.join(1));
  driver.submit({}, kNoDeadline, 1);
  driver.submit({}, kNoDeadline, 2);
  driver.submit();
  driver.submit();
  CHECK(driver.core.stats().queued_items == 4);
  CHECK(driver.core.stats().joined == 0);
  CHECK_FALSE(driver.join(3));
  driver.finish_all();
}

TEST_CASE("queue 4.13/49: the leader's cancel leaves the followers served") {
  SchedulerDriver driver(with_slots(0));
  driver.submit({}, kNoDeadline, 1);
  driver.join(1);
  CHECK(driver.cancel(0));
  CHECK(driver.last.retired.empty());
  CHECK(driver.core.stats().queued_items == 1);
  driver.set_slots(1);
  driver.done(0);
  CHECK(driver.outcome(0) == Outcome::cancelled);
  CHECK(driver.outcome(1) == Outcome::answered);
  driver.finish_all();
}

TEST_CASE("queue 4.13/50: a queued flight whose waiters have all left is retired and never runs") {
  SchedulerDriver driver(with_slots(0));
  driver.submit({}, kNoDeadline, 1);
  driver.join(1, at(1005));
  driver.cancel(0);
  driver.advance(5);
  CHECK(driver.outcome(1) == Outcome::deadline_exceeded);
  CHECK(driver.last.retired == std::vector<std::uint32_t>{0});
  driver.set_slots(1);
  CHECK(driver.batches.empty());
  driver.submit({}, kNoDeadline, 1);
  CHECK_FALSE(driver.requests.back().joined);
  driver.finish_all();
}

TEST_CASE("queue: a running flight that all have left finishes and counts as wasted") {
  SchedulerDriver driver(with_slots(1));
  driver.submit({}, kNoDeadline, 1);
  driver.join(1);
  driver.cancel(0);
  driver.cancel(1);
  CHECK(driver.last.retired.empty());
  CHECK(driver.core.stats().running_items == 1);
  SUBCASE("nobody comes back") {
    driver.done(0);
    CHECK(driver.last.retired == std::vector<std::uint32_t>{0});
    CHECK(driver.core.stats().wasted_items == 1);
  }
  SUBCASE("a newcomer takes its answer") {
    CHECK(driver.join(1));
    driver.done(0);
    CHECK(driver.outcome(2) == Outcome::answered);
    CHECK(driver.core.stats().wasted_items == 0);
  }
  driver.finish_all();
}

TEST_CASE("queue 4.13/51: each follower's deadline ends it alone") {
  SchedulerDriver driver(with_slots(1));
  driver.submit({}, kNoDeadline, 1);
  driver.join(1, at(1003));
  driver.join(1, at(1009));
  CHECK(driver.core.next_wake() == at(1003));
  driver.advance(3);
  CHECK(driver.outcome(1) == Outcome::deadline_exceeded);
  CHECK(driver.core.next_wake() == at(1009));
  driver.done(0);
  CHECK(driver.outcome(0) == Outcome::answered);
  CHECK(driver.outcome(2) == Outcome::answered);
  CHECK(driver.core.next_wake() == kNoDeadline);
}

TEST_CASE("queue: a join takes no room, so it succeeds when the queue is full") {
  Setup setup = with_slots(0);
  setup.admission.max_queued_items = 1;
  SchedulerDriver driver(setup);
  driver.submit({}, kNoDeadline, 1);
  CHECK_FALSE(driver.submit({}, kNoDeadline, 2));
  CHECK(driver.submit({}, kNoDeadline, 1));
  driver.finish_all();
}

TEST_CASE("queue 4.13/55: beyond the most waiters of a flight a second flight starts and takes the joins") {
  SchedulerDriver driver(with_slots(0));
  driver.submit({}, kNoDeadline, 1);
  for (std::uint32_t i = 1; i < SchedulerCore::kMaxWaitersPerFlight; ++i) REQUIRE(driver.join(1));
  CHECK_FALSE(driver.join(1));
  driver.submit({}, kNoDeadline, 1);
  CHECK_FALSE(driver.requests.back().joined);
  CHECK(driver.core.stats().queued_items == 2);
  CHECK(driver.join(1));
  CHECK(driver.requests.back().work == 1);
  driver.set_slots(1);
  driver.done(0);
  CHECK(driver.core.stats().answered == SchedulerCore::kMaxWaitersPerFlight + 2);
  driver.finish_all();
}

TEST_CASE("single flight 4.13/53: finds by the whole key, also among keys that share their first bytes") {
  Slab<Flight> flights;
  SingleFlight index;
  std::vector<Flight*> made;
  for (int i = 0; i < 1000; ++i) {
    Flight& flight = flights.acquire();
    flight.key[0] = static_cast<std::uint8_t>(i % 3);  // three buckets' worth of hash
    flight.key[30] = static_cast<std::uint8_t>(i >> 8);
    flight.key[31] = static_cast<std::uint8_t>(i);
    index.insert(flight);
    made.push_back(&flight);
  }
  CHECK(index.size() == 1000);
  for (Flight* flight : made) REQUIRE(index.find(flight->key) == flight);
  for (std::size_t i = 0; i < made.size(); i += 2) index.erase(*made[i]);
  for (std::size_t i = 0; i < made.size(); ++i) {
    REQUIRE(index.find(made[i]->key) == (i % 2 == 0 ? nullptr : made[i]));
  }
  index.erase(*made[0]);  // not in it any more
  CHECK(index.size() == 500);
}

TEST_CASE("single flight: a younger flight of the same key takes its place") {
  Slab<Flight> flights;
  SingleFlight index;
  Flight& older = flights.acquire();
  Flight& younger = flights.acquire();
  index.insert(older);
  index.insert(younger);
  CHECK(index.find(Digest{}) == &younger);
  CHECK(index.size() == 1);
  index.erase(older);
  CHECK(index.find(Digest{}) == &younger);
  index.erase(younger);
  CHECK(index.find(Digest{}) == nullptr);
}
