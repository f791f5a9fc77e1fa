// Requests in parts: accepted, waiting, running and ending as one.
#include <random>

#include "queue/split_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

Setup setup_of(std::uint32_t rows, std::uint32_t slots) {
  Setup setup;
  setup.batching = {rows, 1'000'000, Duration(0)};
  setup.slots = slots;
  return setup;
}

const std::vector<ItemSize> kThree{{4, 4, 0}, {4, 4, 0}, {2, 2, 0}};

bool same_books(const SchedulerStats& a, const SchedulerStats& b) {
  return a.accepted == b.accepted && a.waiters == b.waiters && a.queued_items == b.queued_items &&
         a.queued_tokens == b.queued_tokens && a.queued_bytes == b.queued_bytes && a.running_items == b.running_items &&
         a.split == b.split;
}

}  // namespace

TEST_CASE("queue 4.13/23: parts run in the slots there are and end as one, when the last is done") {
  SplitRig rig(setup_of(4, 2));
  auto& one = rig.ask(kThree);
  REQUIRE(rig.batches.size() == 2);
  CHECK(rig.batches[0].works == std::vector<void*>{&one.parts[0]});
  CHECK(rig.batches[1].works == std::vector<void*>{&one.parts[1]});
  rig.done(1);
  CHECK(rig.batches[2].works == std::vector<void*>{&one.parts[2]});
  rig.done(2);
  CHECK_FALSE(one.outcome);
  rig.done(0);
  CHECK(one.outcome == Outcome::answered);
  CHECK(one.answer == &one.whole);
  CHECK(rig.core.stats().split == 1);
  CHECK(rig.core.stats().answered == 1);
  CHECK(rig.core.stats().wasted_items == 0);
  rig.finish();
}

TEST_CASE("queue 4.13/23: one part failing ends the request at once, what waits of it never runs, the rest is wasted") {
  SplitRig rig(setup_of(4, 2));
  auto& one = rig.ask({{4, 1, 0}, {4, 1, 0}, {4, 1, 0}, {4, 1, 0}});
  rig.done(0);  // part 0 is done, parts 1 and 2 run
  REQUIRE(rig.batches.size() == 3);
  CHECK(rig.fail(1, &one.parts[1]));
  CHECK(one.outcome == Outcome::answered);
  CHECK(one.answer == &one.whole);
  CHECK(rig.core.stats().queued_items == 0);
  CHECK(rig.core.stats().wasted_items == 1);
  rig.done(1);
  CHECK_FALSE(rig.fail(2, &one.parts[2]));  // the second failure is not told
  CHECK(rig.batches.size() == 3);
  rig.done(2);
  CHECK(rig.core.stats().wasted_items == 1);
  rig.finish();
}

TEST_CASE("queue 4.13/23: parts of a failed request that were good are wasted, those that failed are not") {
  SplitRig rig(setup_of(4, 3));
  auto& one = rig.ask({{4, 1, 0}, {4, 1, 0}, {4, 1, 0}});
  rig.fail(1, &one.parts[1]);
  for (std::size_t i = 0; i < 3; ++i) rig.done(i);
  CHECK(rig.core.stats().wasted_items == 2);
  rig.finish();
}

TEST_CASE("queue 4.13/16, 17: parts are accepted together or not at all") {
  Setup setup = setup_of(4, 0);
  setup.admission.max_queued_items = 4;
  setup.admission.max_queued_tokens = 20;
  setup.admission.max_queued_bytes = 100;
  SplitRig rig(setup);
  rig.ask({{4, 4, 0}, {4, 4, 0}});
  const SchedulerStats before = rig.core.stats();
  const auto refused = [&](std::vector<ItemSize> sizes, ErrorCode code) {
    rig.ask(std::move(sizes));
    REQUIRE(rig.refusal);
    CHECK(rig.refusal->code() == code);
    CHECK(same_books(before, rig.core.stats()));
  };
  refused({{1, 1, 0}, {1, 1, 0}, {1, 1, 0}}, ErrorCode::queue_full);                       // items
  refused({{1, 7, 0}, {1, 6, 0}}, ErrorCode::queue_full);                                  // tokens
  refused({{1, 10, 0}, {1, 11, 0}}, ErrorCode::too_large);                                 // tokens of any queue
  refused({{1, 1, 60}, {1, 1, 60}}, ErrorCode::too_large);                                 // bytes of any queue
  refused({{1, 1, 0}, {1, 1, 0}, {1, 1, 0}, {1, 1, 0}, {1, 1, 0}}, ErrorCode::too_large);  // items of any queue
  refused({{4, 1, 0}, {5, 1, 0}}, ErrorCode::too_large);                                   // a part of any batch
  CHECK(rig.ask({{4, 4, 0}, {4, 4, 0}}).accepted);
  rig.finish();
}

TEST_CASE("queue 4.13/17: a tenant's share and rate hold for all parts of a request") {
  Setup setup = setup_of(4, 0);
  setup.admission.max_queued_items = 8;
  setup.admission.tenant_limits.tokens_per_minute = 20;
  SplitRig rig(setup);
  rig.ask({{1, 1, 0}}, {.who = {Priority::interactive, 1}});
  rig.ask({{1, 1, 0}, {1, 1, 0}}, {.who = {Priority::interactive, 2}});
  CHECK_FALSE(rig.ask({{1, 1, 0}, {1, 1, 0}, {1, 1, 0}}, {.who = {Priority::interactive, 2}}).accepted);
  CHECK(rig.refusal->code() == ErrorCode::quota_exceeded);
  CHECK(rig.ask({{1, 1, 0}, {1, 1, 0}}, {.who = {Priority::interactive, 2}}).accepted);
  CHECK_FALSE(rig.ask({{1, 10, 0}, {1, 10, 0}}, {.who = {Priority::interactive, 1}}).accepted);
  CHECK(rig.refusal->code() == ErrorCode::quota_exceeded);
  rig.finish();
}

TEST_CASE("queue 4.13/23: cancel, deadline and shutdown end all parts at once") {
  for (const Outcome how : {Outcome::cancelled, Outcome::deadline_exceeded, Outcome::shutting_down}) {
    SplitRig rig(setup_of(4, 1));
    auto& one = rig.ask(kThree, {.deadline = how == Outcome::deadline_exceeded ? at(1005) : kNoDeadline});
    if (how == Outcome::cancelled) CHECK(rig.cancel(one));
    if (how == Outcome::deadline_exceeded) rig.pass(5);
    if (how == Outcome::shutting_down) rig.fail_remaining();
    CHECK(one.outcome == how);
    CHECK(rig.core.stats().queued_items == 0);
    CHECK_FALSE(rig.cancel(one));
    rig.done(0);
    CHECK(rig.batches.size() == 1);
    CHECK(rig.core.stats().wasted_items == 1);
    rig.finish();
  }
}

TEST_CASE("queue: who joins a request in parts hurries those of its parts that wait, and shares its end") {
  SplitRig rig(setup_of(4, 1));
  auto& first = rig.ask(kThree, {.key = 7, .who = {Priority::batch, 0}});
  auto& between = rig.ask({{1, 1, 0}});
  auto& second = rig.ask(kThree, {.key = 7, .who = {Priority::critical, 0}});
  CHECK(second.joined);
  rig.done(0);
  CHECK(rig.batches[1].works == std::vector<void*>{&first.parts[1]});
  CHECK(rig.cancel(first));
  rig.done(1);
  CHECK(rig.batches[2].works == std::vector<void*>{&first.parts[2], &between.whole});
  rig.done(2);
  CHECK(second.outcome == Outcome::answered);
  CHECK(second.answer == &first.whole);
  CHECK(rig.core.stats().wasted_items == 0);
  rig.finish();
}

TEST_CASE("queue: after a part has failed an equal request computes anew") {
  SplitRig rig(setup_of(4, 1));
  auto& first = rig.ask(kThree, {.key = 7});
  rig.fail(0, &first.parts[0]);
  CHECK_FALSE(rig.ask(kThree, {.key = 7}).joined);
  rig.finish();
}

TEST_CASE("queue 4.13/41: a request in parts gives way as a whole") {
  Setup setup = setup_of(4, 0);
  setup.admission.max_queued_items = 3;
  SplitRig rig(setup);
  auto& low = rig.ask(kThree, {.who = {Priority::batch, 0}});
  CHECK(rig.ask({{1, 1, 0}}).accepted);
  CHECK(low.outcome == Outcome::preempted);
  CHECK(rig.core.stats().queued_items == 1);
  CHECK(rig.ask({{1, 1, 0}, {1, 1, 0}}).accepted);
  rig.finish();
}

TEST_CASE("queue: a stuck part ends its request, and nothing more of it runs") {
  Setup setup = setup_of(4, 1);
  setup.batching.stuck_after = Duration(10);
  SplitRig rig(setup);
  auto& one = rig.ask(kThree);
  rig.pass(10);
  CHECK(one.outcome == Outcome::stuck);
  rig.done(0);
  CHECK(rig.batches.size() == 1);
  rig.finish();
}

TEST_CASE("queue 4.13/1-3, 14, 23: random requests in parts end once, within the caps, and leave nothing behind") {
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    const auto roll = [&](std::uint32_t below) { return static_cast<std::uint32_t>(random() % below); };
    Setup setup = setup_of(4, 1 + roll(3));
    setup.admission.max_queued_items = 12;
    if (roll(2) == 0) setup.batching.stuck_after = Duration(40);
    SplitRig rig(setup);
    for (int step = 0; step < 200; ++step) {
      const std::uint32_t kind = roll(10);
      const std::size_t batch = rig.batches.empty() ? 0 : roll(static_cast<std::uint32_t>(rig.batches.size()));
      const bool running = !rig.batches.empty() && !rig.ended.contains(batch);
      if (kind < 4) {
        std::vector<ItemSize> sizes(1 + roll(4));
        for (ItemSize& size : sizes) size = {1 + roll(4), 1, roll(8)};
        Wish wish;
        if (roll(3) == 0) wish.deadline = rig.now + Duration(roll(60));
        if (roll(2) == 0) wish.key = static_cast<std::uint8_t>(roll(3));
        wish.who = {static_cast<Priority>(roll(3)), static_cast<std::uint8_t>(roll(3))};
        rig.ask(std::move(sizes), wish);
      } else if (kind < 7) {
        if (running) rig.done(batch);
      } else if (kind == 7) {
        if (running)
          rig.fail(batch, rig.batches[batch].works[roll(static_cast<std::uint32_t>(rig.batches[batch].works.size()))]);
      } else if (kind == 8) {
        rig.pass(roll(20));
      } else if (!rig.asked.empty()) {
        rig.cancel(rig.asked[roll(static_cast<std::uint32_t>(rig.asked.size()))]);
      }
      REQUIRE(rig.core.stats().queued_items <= setup.admission.max_queued_items);
    }
    if (roll(2) == 0) rig.fail_remaining();
    rig.finish();
    // What ran was of use, had failed, or was counted as wasted.
    std::uint64_t wasted = 0;
    std::set<const void*> useful;
    for (const auto& one : rig.asked) {
      if (one.outcome == Outcome::answered) useful.insert(one.answer);
    }
    for (const void* work : rig.ran) {
      auto& owner = *rig.asker_of(work);
      const bool in_parts = owner.parts.size() > 1;
      bool broken = false;
      for (const int& part : owner.parts) broken = broken || (in_parts && rig.failed.contains(&part));
      if (in_parts && rig.failed.contains(work)) continue;
      if (broken || !useful.contains(&owner.whole)) ++wasted;
    }
    CHECK(rig.core.stats().wasted_items == wasted);
  }
}
