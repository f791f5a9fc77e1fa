// Items of iterative models: what a step takes, and how items end between steps.
#include <doctest/doctest.h>

#include <algorithm>

#include "queue/step_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;
using Items = std::vector<std::uint32_t>;

namespace {

Setup setup_of(std::uint32_t max_batch_size, std::uint64_t max_batch_tokens = 1000) {
  Setup setup;
  setup.batching.max_batch_size = max_batch_size;
  setup.batching.max_batch_tokens = max_batch_tokens;
  return setup;
}

bool contains(const Items& items, std::uint32_t item) {
  return std::find(items.begin(), items.end(), item) != items.end();
}

constexpr Who kCritical{Priority::critical, 0};
constexpr Who kBatch{Priority::batch, 0};

}  // namespace

TEST_CASE("streams: newcomers enter at the next step, beside those that go on") {
  StepRig rig(setup_of(8));
  const std::uint32_t first = rig.submit(3);
  CHECK(rig.last_items() == Items{first});
  const std::uint32_t second = rig.submit(1);
  CHECK(rig.batches.size() == 1);
  rig.done(0);
  CHECK(rig.last_items() == Items{first, second});
  rig.done(1);
  CHECK(rig.ended(second, Outcome::answered));
  CHECK(rig.last_items() == Items{first});
  CHECK(rig.core.decisions().back().trigger == Trigger::step);
  CHECK(rig.core.decisions().back().continued == 1);
  rig.done(2);
  CHECK(rig.ended(first, Outcome::answered));
  rig.finish_all();
}

TEST_CASE("streams: an item takes all its steps in one slot, and the others fill the other") {
  Setup setup = setup_of(2);
  setup.slots = 2;
  StepRig rig(setup);
  for (int i = 0; i < 4; ++i) rig.submit(4);
  rig.finish_running();
  for (const StepRig::Item& item : rig.items) CHECK(item.taken == 4);
  CHECK(rig.items[0].slot != rig.items[1].slot);
  rig.finish_all();
}

TEST_CASE("streams: a step has one long item, and short ones pass it") {
  StepRig rig(setup_of(8, 100));
  const std::uint32_t running = rig.submit(2);
  const std::uint32_t long1 = rig.submit(3, 40);
  const std::uint32_t long2 = rig.submit(3, 40);
  const std::uint32_t small = rig.submit(3, 10);
  rig.done(0);
  CHECK(rig.last_items() == Items{running, long1, small});
  CHECK(rig.core.decisions().back().fullness == Fullness::long_step);
  rig.done(1);
  CHECK(rig.last_items() == Items{long1, small});
  rig.finish_running();
  CHECK(rig.ended(long2, Outcome::answered));
  rig.finish_all();
}

TEST_CASE("streams: an item whose input needs the whole step gets one beside streams without end") {
  StepRig rig(setup_of(4, 100));
  for (int i = 0; i < 3; ++i) rig.submit(200);
  const std::uint32_t whole = rig.submit(1, 100);
  std::size_t steps = 0;
  while (!rig.items[whole].outcome && ++steps < 100) rig.done(rig.running().front());
  // Passed over in eight steps, then first.
  CHECK(steps <= 12);
  CHECK(rig.ended(whole, Outcome::answered));
  rig.fail_remaining();
  rig.finish_all();
}

TEST_CASE("streams: a newcomer gets a place though streams without end hold them all, and each of them goes on") {
  StepRig rig(setup_of(2));
  rig.submit(1000);
  rig.submit(1000);
  const std::uint32_t late = rig.submit(20);
  for (int i = 0; i < 60; ++i) rig.done(rig.running().front());
  CHECK(rig.ended(late, Outcome::answered));
  // What 60 steps of two places give, less 20.
  CHECK(rig.items[0].taken + rig.items[1].taken >= 98);
  CHECK(rig.items[0].taken > 40);
  CHECK(rig.items[1].taken > 40);
  rig.fail_remaining();
  rig.finish_all();
}

TEST_CASE("streams: max_sequences bounds what a slot keeps, parked items included") {
  Setup setup = setup_of(4);
  setup.batching.max_sequences = 2;
  StepRig rig(setup);
  rig.submit(5);
  rig.items[0].parks_after = 1;
  rig.submit(5);
  const std::uint32_t third = rig.submit(1);
  rig.done(0);
  CHECK(rig.last_items() == Items{1});
  CHECK(rig.core.decisions().back().fullness == Fullness::sequences);
  CHECK(rig.core.next_wake() >= at(60'000'000'000));  // only what runs is watched
  rig.cancel(0);
  rig.done(1);
  CHECK(contains(rig.last_items(), third));
  rig.finish_all();
}

TEST_CASE("streams: classes hold among those that go on, and the lowest is not starved") {
  StepRig rig(setup_of(2));
  Items low;
  for (int i = 0; i < 2; ++i) low.push_back(rig.submit(100, 1, kNoDeadline, kBatch));
  rig.done(0);  // the second one enters
  Items high;
  for (int i = 0; i < 2; ++i) high.push_back(rig.submit(100, 1, kNoDeadline, kCritical));
  for (int i = 0; i < 40; ++i) rig.done(rig.running().front());
  const std::size_t critical = rig.items[high[0]].taken + rig.items[high[1]].taken;
  const std::size_t batch = rig.items[low[0]].taken + rig.items[low[1]].taken;
  CHECK(critical > 4 * batch);
  for (const std::uint32_t item : low) CHECK(rig.items[item].taken >= 4);
  rig.fail_remaining();
  rig.finish_all();
}

TEST_CASE("streams: tenants share the places of those that go on by tokens") {
  Setup setup = setup_of(2);
  StepRig rig(setup);
  for (int i = 0; i < 6; ++i) rig.submit(200, 1, kNoDeadline, {Priority::interactive, 1});
  const std::uint32_t other = rig.submit(200, 1, kNoDeadline, {Priority::interactive, 2});
  for (int i = 0; i < 120; ++i) rig.done(rig.running().front());
  std::size_t crowd = 0;
  for (std::uint32_t i = 0; i < 6; ++i) crowd += rig.items[i].taken;
  // The crowd cannot use more than its place beside the other one.
  CHECK(rig.items[other].taken > 70);
  CHECK(crowd > 110);
  rig.fail_remaining();
  rig.finish_all();
}

TEST_CASE("streams: every step counts against the tokens per minute of its tenant") {
  Setup setup = setup_of(4);
  setup.admission.tenant_limits.tokens_per_minute = 10;
  StepRig rig(setup);
  const std::uint32_t item = rig.submit({{1, 2, 0}, {1, 4, 0}, {1, 4, 0}});
  rig.done(0);
  CHECK(rig.items[rig.submit(1, 4)].accepted);
  CHECK_FALSE(rig.items[rig.submit(1, 1)].accepted);
  rig.finish_running();
  CHECK(rig.ended(item, Outcome::answered));  // who is in is not thrown out
  rig.finish_all();
}

TEST_CASE("streams: a deadline ends an item between two steps, and in a step") {
  StepRig rig(setup_of(1));
  const std::uint32_t between = rig.submit(5, 1, rig.now + Duration(10));
  rig.items[between].parks_after = 1;
  rig.done(0);
  CHECK(rig.core.next_wake() == rig.now + Duration(10));
  rig.advance(10);
  CHECK(rig.ended(between, Outcome::deadline_exceeded));
  CHECK(rig.items[between].retired);
  const std::uint32_t inside = rig.submit(5, 1, rig.now + Duration(10));
  rig.advance(10);
  CHECK(rig.ended(inside, Outcome::deadline_exceeded));
  CHECK_FALSE(rig.items[inside].retired);
  rig.done(1);
  CHECK(rig.items[inside].retired);
  CHECK(rig.core.stats().wasted_items == 1);
  rig.finish_all();
}

TEST_CASE("streams: cancel ends a ready, a parked and a running item, and a second one finds nothing") {
  Setup setup = setup_of(1);
  setup.batching.max_sequences = 3;
  StepRig rig(setup);
  const std::uint32_t parked = rig.submit(5);
  rig.items[parked].parks_after = 1;
  const std::uint32_t runs = rig.submit(5);
  rig.done(0);
  CHECK(rig.core.stats().parked_items == 1);
  CHECK(rig.cancel(parked));
  CHECK(rig.items[parked].retired);
  CHECK(rig.cancel(runs));
  CHECK_FALSE(rig.cancel(runs));
  rig.done(1);
  CHECK(rig.items[runs].taken == 1);
  rig.finish_all();
}

TEST_CASE("streams: a next step larger than a batch ends its item alone") {
  StepRig rig(setup_of(4, 10));
  const std::uint32_t grows = rig.submit({{1, 1, 0}, {1, 11, 0}});
  rig.done(0);
  CHECK(rig.ended(grows, Outcome::step_too_large));
  CHECK(rig.core.stats().step_too_large == 1);
  const std::uint32_t next = rig.submit(2);
  rig.finish_running();
  CHECK(rig.ended(next, Outcome::answered));
  rig.finish_all();
}

TEST_CASE("streams: a drain lets those finish that go on, and at its bound ends the parked ones too") {
  StepRig rig(setup_of(4));
  const std::uint32_t goes_on = rig.submit(3);
  const std::uint32_t parked = rig.submit(3);
  rig.items[parked].parks_after = 1;
  rig.begin_drain();
  CHECK_FALSE(rig.items[rig.submit(1)].accepted);
  rig.finish_running();
  CHECK(rig.ended(goes_on, Outcome::answered));
  CHECK_FALSE(rig.items[parked].outcome);
  rig.fail_remaining();
  CHECK(rig.ended(parked, Outcome::shutting_down));
  rig.finish_all();
}

TEST_CASE("streams: where a step is stuck, those kept in its slot end with it and the other slot goes on") {
  Setup setup = setup_of(1);
  setup.slots = 2;
  setup.batching.stuck_after = Duration(100);
  StepRig rig(setup);
  const std::uint32_t parked = rig.submit(3);
  rig.items[parked].parks_after = 1;
  const std::uint32_t other = rig.submit(3);
  rig.done(0);
  const std::uint32_t stuck = rig.submit(3);
  CHECK(rig.items[stuck].slot == rig.items[parked].slot);
  rig.done(1);
  rig.advance(60);
  rig.done(3);
  rig.advance(60);
  CHECK(rig.ended(stuck, Outcome::stuck));
  CHECK(rig.ended(parked, Outcome::stuck));
  CHECK(rig.core.stats().stuck_batches == 1);
  rig.done(4);
  CHECK(rig.ended(other, Outcome::answered));
  rig.done(2);
  CHECK(rig.core.stats().stuck_batches == 0);
  rig.finish_all();
}

TEST_CASE("streams: slots that go keep their items to the end and take no others") {
  Setup setup = setup_of(4);
  setup.slots = 2;
  StepRig rig(setup);
  rig.submit(1);
  const std::uint32_t stays = rig.submit(6);
  CHECK(rig.items[stays].slot == 1U);
  rig.set_slots(1);
  const std::uint32_t late = rig.submit(1);
  rig.done(1);
  CHECK(rig.last_items() == Items{stays});
  rig.done(0);
  CHECK(rig.items[late].slot == 0U);
  rig.finish_running();
  CHECK(rig.items[stays].taken == 6);
  rig.finish_all();
}

TEST_CASE("streams: an item whose deadline its next step would pass ends before it, once times are learned") {
  StepRig rig(setup_of(4));
  const auto run_for = [&](Ticks ticks) {
    const std::uint32_t batch = rig.running().front();
    rig.now += Duration(ticks);
    rig.done(batch);
  };
  rig.submit(60);
  for (int i = 0; i < 59; ++i) run_for(1000);
  const std::uint32_t late = rig.submit(10, 1, rig.now + Duration(3500));
  for (int i = 0; i < 4 && !rig.items[late].outcome; ++i) run_for(1000);
  CHECK(rig.ended(late, Outcome::would_miss));
  CHECK(rig.items[late].taken == 2);
  rig.finish_all();
}
