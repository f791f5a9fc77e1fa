// Who is refused, who gives way and who is shed when there is too much.
#include <doctest/doctest.h>

#include <algorithm>

#include "queue/scheduler_driver.hpp"
#include "queue/standing_queue.hpp"
#include "queue/token_bucket.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

constexpr Ticks kMilli = 1'000'000;

Setup busy(std::uint32_t items) {
  Setup setup;
  setup.batching.prediction = Prediction::off;
  setup.admission.max_queued_items = items;
  setup.slots = 0;
  return setup;
}

constexpr Who kCritical{Priority::critical, 0};
constexpr Who kInteractive{Priority::interactive, 0};
constexpr Who kBatch{Priority::batch, 0};

}  // namespace

TEST_CASE("queue 4.13/41: in a full queue a newcomer of a higher class displaces who would run last") {
  SchedulerDriver driver(busy(4));
  driver.submit({}, kNoDeadline, {}, kInteractive);  // 0
  driver.submit({}, kNoDeadline, {}, kBatch);        // 1
  driver.submit({}, kNoDeadline, {}, kBatch);        // 2
  driver.submit({}, kNoDeadline, {}, kInteractive);  // 3
  CHECK_FALSE(driver.submit({}, kNoDeadline, {}, kBatch));
  CHECK(driver.refusal->code() == ErrorCode::queue_full);
  CHECK(driver.submit({}, kNoDeadline, {}, kInteractive));
  CHECK(driver.requests[2].outcome == Outcome::preempted);
  CHECK(driver.submit({}, kNoDeadline, {}, kCritical));
  CHECK(driver.requests[1].outcome == Outcome::preempted);
  CHECK(driver.submit({}, kNoDeadline, {}, kCritical));
  CHECK(driver.requests[5].outcome == Outcome::preempted);  // the youngest interactive one
  CHECK_FALSE(driver.submit({}, kNoDeadline, {}, kInteractive));
  CHECK(driver.core.stats().preempted == 3);
  driver.finish_all();
}

TEST_CASE("queue 4.13/41: nobody is displaced for a newcomer that would not fit all the same") {
  Setup setup = busy(100);
  setup.admission.max_queued_tokens = 100;
  SchedulerDriver driver(setup);
  driver.submit({1, 60, 0}, kNoDeadline, {}, kInteractive);
  driver.submit({1, 40, 0}, kNoDeadline, {}, kBatch);
  CHECK_FALSE(driver.submit({1, 50, 0}, kNoDeadline, {}, kInteractive));
  CHECK(driver.core.stats().preempted == 0);
  CHECK(driver.submit({1, 40, 0}, kNoDeadline, {}, kInteractive));
  CHECK(driver.core.stats().preempted == 1);
  driver.finish_all();
}

TEST_CASE("queue: a tenant may fill the queue alone, but beside others only its share") {
  SchedulerDriver driver(busy(10));
  const Who first{Priority::interactive, 1};
  const Who second{Priority::interactive, 2};
  for (int i = 0; i < 8; ++i) CHECK(driver.submit({}, kNoDeadline, {}, first));
  CHECK(driver.submit({}, kNoDeadline, {}, second));
  CHECK_FALSE(driver.submit({}, kNoDeadline, {}, first));
  CHECK(driver.refusal->code() == ErrorCode::quota_exceeded);
  CHECK(driver.refusal->observed() == 8);
  CHECK(driver.refusal->limit() == 5);
  CHECK(driver.refusal->retry_after() > Duration(0));
  CHECK(driver.submit({}, kNoDeadline, {}, second));
  driver.finish_all();
}

TEST_CASE("queue: rates of a tenant are held and come back with time, whole refusals cost nothing") {
  Setup setup = busy(1000);
  setup.admission.tenant_limits = {60, 70, 0};
  setup.admission.tenants = {{"ttt", 1, {0, 0, 100}}};
  SchedulerDriver driver(setup);
  const Who one{Priority::interactive, 1};
  const Who other{Priority::interactive, 2};
  const Who listed{Priority::interactive, 3};
  for (int i = 0; i < 60; ++i) CHECK(driver.submit({}, kNoDeadline, {}, one));
  for (int i = 0; i < 5; ++i) CHECK_FALSE(driver.submit({}, kNoDeadline, {}, one));
  CHECK(driver.refusal->code() == ErrorCode::quota_exceeded);
  CHECK(driver.refusal->limit() == 60);
  CHECK(driver.refusal->retry_after() > Duration(999 * kMilli));
  CHECK(driver.refusal->retry_after() <= Duration(1001 * kMilli));
  CHECK(driver.submit({}, kNoDeadline, {}, other));
  driver.advance(1001 * kMilli);
  CHECK(driver.submit({}, kNoDeadline, {}, one));
  CHECK_FALSE(driver.submit({}, kNoDeadline, {}, one));
  driver.advance(60'000 * kMilli);
  for (int i = 0; i < 9; ++i) CHECK(driver.submit({}, kNoDeadline, {}, one));
  CHECK_FALSE(driver.submit({}, kNoDeadline, {}, one));  // seventy in a day
  CHECK(driver.refusal->limit() == 70);
  CHECK(driver.refusal->retry_after() > std::chrono::minutes(10));

  CHECK(driver.submit({1, 60, 0}, kNoDeadline, {}, listed));
  CHECK_FALSE(driver.submit({1, 60, 0}, kNoDeadline, {}, listed));
  CHECK(driver.submit({1, 40, 0}, kNoDeadline, {}, listed));
  CHECK(driver.core.stats().refused_quota == 8);
  driver.finish_all();
}

TEST_CASE("queue: requests that join an equal one are not charged to a rate") {
  Setup setup = busy(1000);
  setup.admission.tenant_limits.requests_per_minute = 2;
  SchedulerDriver driver(setup);
  CHECK(driver.submit({}, kNoDeadline, 1));
  for (int i = 0; i < 5; ++i) CHECK(driver.submit({}, kNoDeadline, 1));
  CHECK(driver.submit({}, kNoDeadline, 2));
  CHECK_FALSE(driver.submit({}, kNoDeadline, 3));
  driver.finish_all();
}

TEST_CASE("token bucket: what is larger than the limit may be taken once it is full, and is paid off") {
  TokenBucket bucket(100, std::chrono::seconds(1));
  CHECK(bucket.wait_for(500, at(0)) == Duration(0));
  bucket.take(500, at(0));
  CHECK(bucket.wait_for(1, at(0)) > std::chrono::seconds(4));
  CHECK(bucket.wait_for(1, at(5'000 * kMilli)) == Duration(0));
}

TEST_CASE("queue 4.13/43: a burst is absorbed, a queue that stands sheds the old, and stops when it empties") {
  Setup setup;
  setup.batching.prediction = Prediction::off;
  setup.batching.max_batch_size = 1;
  setup.admission.max_standing_delay = Duration(5 * kMilli);
  SchedulerDriver driver(setup);
  std::uint32_t next_done = 0;
  const auto run = [&](int batches) {
    for (int i = 0; i < batches && driver.running() > 0; ++i) {
      driver.now += Duration(kMilli);
      driver.done(next_done++);
    }
  };
  SUBCASE("burst") {
    for (int i = 0; i < 60; ++i) driver.submit();
    run(60);
    CHECK(driver.core.stats().shed == 0);
  }
  SUBCASE("two arrive for each that is served") {
    std::uint64_t shed_early = 0;
    for (int i = 0; i < 400; ++i) {
      driver.submit();
      driver.submit();
      run(1);
      if (i == 50) shed_early = driver.core.stats().shed;
    }
    CHECK(shed_early == 0);
    CHECK(driver.core.stats().shed > 100);
    // Who is served has waited twice the target at most, and a batch.
    CHECK(driver.core.stats().queued_items < 30);
    run(1000);
    const std::uint64_t shed = driver.core.stats().shed;
    for (int i = 0; i < 400; ++i) {
      driver.submit();
      run(1);
    }
    CHECK(driver.core.stats().shed == shed);
  }
  SUBCASE("requests of class batch and with deadlines are never shed") {
    for (int i = 0; i < 400; ++i) {
      driver.submit({}, kNoDeadline, {}, kBatch);
      driver.submit({}, driver.now + std::chrono::hours(1));
      run(1);
    }
    CHECK(driver.core.stats().shed == 0);
    CHECK(driver.core.stats().queued_items > 300);
  }
  driver.finish_all();
}

namespace {

/// Interactive requests and ones of class batch on a model of a millisecond each; counts which of
/// the waiting ones of class batch are run.
class Flip {
 public:
  Flip()
      : driver([] {
          Setup setup;
          setup.batching.prediction = Prediction::off;
          setup.batching.max_batch_size = 1;
          setup.batching.interactive_floor = 0;
          setup.batching.batch_floor = 30;
          setup.admission.max_standing_delay = Duration(5 * kMilli);
          return setup;
        }()) {}

  void submit(Who who, Deadline deadline = kNoDeadline) {
    if (who.priority == Priority::batch) batch_class_.push_back(static_cast<std::uint32_t>(driver.works.size()));
    driver.submit({}, deadline, {}, who);
  }
  [[nodiscard]] bool is_waiting(std::uint32_t work) const {
    return driver.works[work].place == SchedulerDriver::Work::Place::queued;
  }
  /// Ends the running batch.
  void run() {
    std::vector<std::uint32_t> before;
    for (const std::uint32_t work : batch_class_) {
      if (is_waiting(work)) before.push_back(work);
    }
    driver.now += Duration(kMilli);
    if (driver.running() > 0) driver.done(next_done_++);
    if (driver.last.started.empty() || before.size() < 2) return;
    const std::uint32_t work = driver.last.started.front().front();
    if (!std::binary_search(before.begin(), before.end(), work)) return;
    ++(work == before.back() ? newest : work == before.front() ? oldest : between);
  }
  /// `arrivals` interactive requests a round, and one of class batch every so many rounds.
  void play(int rounds, int arrivals, int batch_every = 2) {
    newest = oldest = between = 0;
    for (int i = 0; i < rounds; ++i) {
      for (int n = 0; n < arrivals; ++n) submit(kInteractive);
      if (i % batch_every == 0) submit(kBatch);
      run();
    }
  }

  SchedulerDriver driver;
  std::size_t newest = 0, oldest = 0, between = 0;

 private:
  std::uint32_t next_done_ = 0;
  std::vector<std::uint32_t> batch_class_;  ///< works, by arrival
};

}  // namespace

TEST_CASE("queue 4.13/44: while the queue stands class batch runs its newest first, and its oldest once it does not") {
  Flip flip;
  for (int i = 0; i < 11; ++i) flip.submit(kBatch);
  flip.play(20, 1);  // the queue is new: it absorbs a burst
  CHECK(flip.oldest > 3);
  CHECK(flip.newest == 0);
  flip.play(300, 2);
  flip.play(100, 2);
  CHECK(flip.newest > 10);
  CHECK(flip.oldest == 0);
  CHECK(flip.between == 0);
  const auto decisions = flip.driver.core.decisions();
  CHECK(std::any_of(decisions.begin(), decisions.end(), [](const BatchDecision& one) { return one.newest_first; }));
  flip.play(250, 0, 1);  // no more interactive ones: two intervals later what is left is worked off in order again
  flip.play(100, 0, 1);
  CHECK(flip.newest == 0);
  CHECK(flip.oldest > 10);
  flip.driver.finish_all();
}

TEST_CASE("queue 4.13/44: in an overload who has a deadline keeps his place before the newest of class batch") {
  Flip flip;
  for (int i = 0; i < 11; ++i) flip.submit(kBatch);
  flip.play(420, 2);
  REQUIRE(flip.newest > 10);
  const auto urgent = static_cast<std::uint32_t>(flip.driver.works.size());
  flip.submit(kBatch, flip.driver.now + Duration(200 * kMilli));
  flip.newest = 0;
  for (int i = 0; i < 60 && flip.is_waiting(urgent); ++i) {
    flip.submit(kBatch);
    for (int n = 0; n < 2; ++n) flip.submit(kInteractive);
    flip.run();
  }
  CHECK_FALSE(flip.is_waiting(urgent));
  CHECK(flip.driver.requests[urgent].outcome != Outcome::deadline_exceeded);
  CHECK(flip.newest == 0);
  flip.driver.finish_all();
}

TEST_CASE("errors: every code has an HTTP and a gRPC status, and refusals are the client's to retry") {
  for (int code = -25; code <= -1; ++code) {
    const auto one = static_cast<ErrorCode>(code);
    CHECK(to_string(one) != "unknown");
    CHECK(http_status(one) >= 400);
    CHECK(http_status(one) < 600);
    CHECK(grpc_status(one) >= 1);
    CHECK(grpc_status(one) <= 16);
    CHECK((http_status(one) == 503) == (grpc_status(one) == 14));
    CHECK((http_status(one) == 429) == (grpc_status(one) == 8 || grpc_status(one) == 10));
    CHECK((http_status(one) == 504) == (grpc_status(one) == 4));
  }
  for (const ErrorCode one : {ErrorCode::out_of_memory, ErrorCode::busy, ErrorCode::stuck}) {
    CHECK(http_status(one) == 503);
  }
  for (const ErrorCode one : {ErrorCode::queue_full, ErrorCode::overloaded, ErrorCode::quota_exceeded}) {
    CHECK(http_status(one) == 429);
    CHECK(grpc_status(one) == 8);
  }
  CHECK(http_status(ErrorCode::deadline_exceeded) == 504);
  CHECK(grpc_status(ErrorCode::deadline_exceeded) == 4);
}
