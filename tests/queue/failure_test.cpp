// Batches that fail or do not come back.
#include <doctest/doctest.h>

#include "queue/batch_former.hpp"
#include "queue/quarantine.hpp"
#include "queue/scheduler_core.hpp"
#include "queue/scheduler_driver.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

constexpr Ticks kMilli = 1'000'000;

/// Runs one request alone that takes so long.
void run_one(SchedulerCore& core, TimePoint& now, Ticks time, BatchEnd end = BatchEnd::ran) {
  static int record = 0;
  REQUIRE(core.submit(now, {&record, &record}));
  const Commands commands = core.take_commands();
  REQUIRE(commands.run.size() == 1);
  now += Duration(time);
  core.batch_done(now, commands.run.front().id, end);
  static_cast<void>(core.take_commands());
}

}  // namespace

TEST_CASE("queue 4.13/64: of a stuck batch those without a deadline end, nobody joins it, other slots go on") {
  BatchingOptions batching;
  batching.max_batch_size = 2;
  batching.stuck_after = Duration(100 * kMilli);
  SchedulerCore core(batching, {}, 0);
  int records[4] = {};
  const Digest key = key_of(1);
  Submission patient{&records[0], &records[0], {}, kNoDeadline, key};
  Submission hasty{&records[1], &records[1], {}, at(500 * kMilli)};
  REQUIRE(core.submit(at(0), patient));
  REQUIRE(core.submit(at(0), hasty));
  core.set_slots(at(0), 2);
  const BatchId stuck = core.take_commands().run.at(0).id;
  CHECK(core.next_wake() == at(100 * kMilli));
  core.advance(at(100 * kMilli - 1));
  CHECK(core.take_commands().empty());
  core.advance(at(100 * kMilli));
  Commands commands = core.take_commands();
  REQUIRE(commands.complete.size() == 1);
  CHECK(commands.complete[0].waiter == &records[0]);
  CHECK(commands.complete[0].outcome == Outcome::stuck);
  CHECK(core.stats().stuck_batches == 1);
  CHECK_FALSE(core.join(at(101 * kMilli), key, kNoDeadline, Priority::interactive, &records[2]));
  CHECK(core.next_wake() == at(500 * kMilli));

  Submission next{&records[2], &records[2], {}, kNoDeadline, key};
  const auto accepted = core.submit(at(110 * kMilli), next);
  REQUIRE(accepted);
  CHECK_FALSE(accepted->joined);
  commands = core.take_commands();
  REQUIRE(commands.run.size() == 1);
  core.batch_done(at(111 * kMilli), commands.run[0].id);
  CHECK(core.take_commands().complete.at(0).outcome == Outcome::answered);
  Submission waiting{&records[3], &records[3]};
  REQUIRE(core.submit(at(112 * kMilli), waiting));
  commands = core.take_commands();
  REQUIRE(commands.run.size() == 1);  // one slot of two is left
  Submission third{&records[3], &records[3]};
  const auto queued = core.submit(at(112 * kMilli), third);
  REQUIRE(queued);
  CHECK(core.take_commands().run.empty());
  core.cancel(at(112 * kMilli), queued->id);
  core.batch_done(at(113 * kMilli), commands.run[0].id);
  static_cast<void>(core.take_commands());

  core.advance(at(500 * kMilli));
  CHECK(core.take_commands().complete.at(0).outcome == Outcome::deadline_exceeded);
  core.batch_done(at(900 * kMilli), stuck);
  CHECK(core.stats().stuck_batches == 0);
  CHECK(core.take_commands().retire.size() == 2);
}

TEST_CASE(
    "queue 4.13/64: a learned model is watched for ten times its tail, a second at least, and only while it runs") {
  SchedulerCore core({}, {}, 1);
  TimePoint now = at(0);
  int record = 0;
  for (int i = 0; i < 31; ++i) run_one(core, now, 300 * kMilli);
  REQUIRE(core.submit(now, {&record, &record}));
  CHECK(core.next_wake() == now + Duration(60'000 * kMilli));  // too little is known
  now += Duration(300 * kMilli);
  core.batch_done(now, core.take_commands().run.at(0).id);
  static_cast<void>(core.take_commands());
  CHECK(core.next_wake() == kNoDeadline);
  REQUIRE(core.submit(now, {&record, &record}));
  CHECK(core.next_wake() > now + Duration(2900 * kMilli));
  CHECK(core.next_wake() < now + Duration(7000 * kMilli));
  core.batch_done(now + Duration(kMilli), core.take_commands().run.at(0).id);
  CHECK(core.next_wake() == kNoDeadline);
}

TEST_CASE("queue 4.13/64: while nothing is predicted a batch is taken for stuck after a minute") {
  BatchingOptions batching;
  SUBCASE("as nothing has been learned") {}
  SUBCASE("as prediction is off") { batching.prediction = Prediction::off; }
  SchedulerCore core(batching, {}, 1);
  TimePoint now = at(0);
  if (batching.prediction == Prediction::off) {
    for (int i = 0; i < 100; ++i) run_one(core, now, 10 * kMilli);
  }
  int record = 0;
  REQUIRE(core.submit(now, {&record, &record}));
  const BatchId hangs = core.take_commands().run.at(0).id;
  core.advance(now + Duration(60'000 * kMilli - 1));
  CHECK(core.take_commands().empty());
  core.advance(now + Duration(60'000 * kMilli));
  const Commands commands = core.take_commands();
  REQUIRE(commands.complete.size() == 1);
  CHECK(commands.complete[0].outcome == Outcome::stuck);
  CHECK(core.stats().stuck_batches == 1);
  core.batch_done(now + Duration(70'000 * kMilli), hangs);
  CHECK(core.stats().stuck_batches == 0);
  CHECK(core.take_commands().retire.size() == 1);
}

TEST_CASE("queue 4.13/77: nothing is learned from batches that failed or were stuck") {
  BatchingOptions batching;
  batching.stuck_after = Duration(50 * kMilli);
  SchedulerCore core(batching, {}, 1);
  TimePoint now = at(0);
  for (int i = 0; i < 40; ++i) run_one(core, now, 10 * kMilli);
  const LatencyProfile before = core.profile();
  for (int i = 0; i < 40; ++i) run_one(core, now, 30 * kMilli, BatchEnd::failed);
  for (int i = 0; i < 40; ++i) run_one(core, now, 200 * kMilli);
  CHECK(core.profile().samples == before.samples);
  CHECK(core.profile().base_ns == before.base_ns);
}

TEST_CASE("queue 4.13/61: a key in quarantine is refused for a minute, others are not") {
  SchedulerCore core({}, {}, 0);
  int record = 0;
  core.quarantine(at(0), key_of(1));
  Submission bad{&record, &record, {}, kNoDeadline, key_of(1)};
  Submission good{&record, &record, {}, kNoDeadline, key_of(2)};
  const auto refused = core.submit(at(kMilli), bad);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::backend_failed);
  CHECK(refused.error().retry_after() == std::chrono::seconds(60) - Duration(kMilli));
  CHECK(core.submit(at(kMilli), good));
  CHECK(core.stats().refused_poison == 1);
  CHECK(core.submit(at(60'000 * kMilli), bad));
}

TEST_CASE("quarantine: holds a bounded number of keys, the newest") {
  Quarantine quarantine;
  for (int i = 0; i < 300; ++i) quarantine.add(key_of(static_cast<std::uint8_t>(i)), at(i));
  CHECK(quarantine.left(key_of(44), at(300)) > Duration(0));
  CHECK(quarantine.left(key_of(43), at(300)) > Duration(0));  // 299 is 43 again
  CHECK(quarantine.left(key_of(43), at(299) + Quarantine::kLength) == Duration(0));
}

TEST_CASE(
    "queue 4.13/60: each batch that runs out of memory cuts the tokens of the next, a hundred good ones give some "
    "back") {
  BatchFormer former({.max_batch_size = 64, .max_batch_tokens = 1000}, BatchLayout::packed);
  former.shrink(5000);
  CHECK(former.most_tokens() == 700);
  former.shrink(200);
  CHECK(former.most_tokens() == 140);
  for (int i = 0; i < 99; ++i) former.grow();
  CHECK(former.most_tokens() == 140);
  former.grow();
  CHECK(former.most_tokens() == 147);
  for (int i = 0; i < 100'000; ++i) former.grow();
  CHECK(former.most_tokens() == 1000);
  for (int i = 0; i < 100; ++i) former.shrink(1);
  CHECK(former.most_tokens() == 1);
}

TEST_CASE("queue 4.13/60: an item larger than what memory allows a batch runs alone") {
  SchedulerCore core({.max_batch_size = 8, .max_batch_tokens = 100, .prediction = Prediction::off}, {}, 1);
  int record = 0;
  const auto send = [&](std::uint64_t tokens) {
    Submission submission{&record, &record};
    submission.size.tokens = tokens;
    REQUIRE(core.submit(at(1), submission));
  };
  send(100);
  Commands commands = core.take_commands();
  REQUIRE(commands.run.size() == 1);
  for (const std::uint64_t tokens : {90, 10, 30, 40}) send(tokens);
  core.batch_done(at(2), commands.run[0].id, BatchEnd::out_of_memory);
  std::vector<std::size_t> sizes;
  for (commands = core.take_commands(); !commands.run.empty(); commands = core.take_commands()) {
    sizes.push_back(commands.run[0].works.size());
    core.batch_done(at(3), commands.run[0].id);
  }
  CHECK(sizes == std::vector<std::size_t>{1, 2, 1});
}
