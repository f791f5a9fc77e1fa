// Several queues on one set of slots: who starts next.
#include <doctest/doctest.h>

#include <algorithm>
#include <deque>
#include <random>

#include "queue/slot_arbiter.hpp"

using namespace tidegate;
using namespace std::chrono_literals;

namespace {

/// Queues of batches in virtual time, on an arbiter, as the engine drives it.
struct PoolRig {
  struct Lane {
    LaneId id{};
    std::uint32_t own_slots = 8;
    Duration cost = 1ms;
    std::uint32_t waiting = 0;
    std::uint32_t running = 0;
    std::uint32_t started = 0;
  };
  struct Run {
    Duration end{};
    std::size_t lane = 0;
  };

  explicit PoolRig(std::uint32_t slots) : arbiter(slots) {}

  std::size_t add(double weight, Duration cost = 1ms, std::uint32_t own_slots = 8) {
    lanes.push_back({arbiter.add(weight), own_slots, cost});
    return lanes.size() - 1;
  }
  void settle(std::size_t i) {
    Lane& lane = lanes[i];
    while (lane.waiting > 0 && lane.running < lane.own_slots) {
      if (!arbiter.take(lane.id)) return;
      --lane.waiting;
      ++lane.running;
      ++lane.started;
      order.push_back(i);
      arbiter.charge(lane.id, lane.cost);
      runs.push_back({now + lane.cost, i});
    }
    arbiter.decline(lane.id);
  }
  void tell() {
    while (const auto offered = arbiter.next_offer()) {
      for (std::size_t i = 0; i < lanes.size(); ++i) {
        if (lanes[i].id == *offered) settle(i);
      }
    }
  }
  void arrive(std::size_t i, std::uint32_t batches) {
    lanes[i].waiting += batches;
    settle(i);
    tell();
  }
  void finish(std::size_t run) {
    const Run done = runs[run];
    runs.erase(runs.begin() + static_cast<std::ptrdiff_t>(run));
    Lane& lane = lanes[done.lane];
    --lane.running;
    arbiter.give_back(lane.id, lane.cost, lane.cost, lane.waiting > 0 ? Backlog::some : Backlog::none);
    settle(done.lane);
    tell();
  }
  /// Ends the batch that ends first; false if none runs.
  bool step() {
    if (runs.empty()) return false;
    const auto first =
        std::min_element(runs.begin(), runs.end(), [](const Run& a, const Run& b) { return a.end < b.end; });
    now = first->end;
    finish(static_cast<std::size_t>(first - runs.begin()));
    return true;
  }

  SlotArbiter arbiter;
  std::deque<Lane> lanes;
  std::deque<Run> runs;
  std::vector<std::size_t> order;  ///< lanes by the start of their batches
  Duration now{0};
};

}  // namespace

TEST_CASE("queue facts: queue A full, B one task - B runs before A's second batch") {
  PoolRig rig(1);
  const auto a = rig.add(1);
  const auto b = rig.add(1);
  rig.arrive(a, 10);
  rig.arrive(b, 1);
  while (rig.step()) {
  }
  CHECK(rig.order[0] == a);
  CHECK(rig.order[1] == b);
  CHECK(rig.order.size() == 11);
}

TEST_CASE("queue facts: A full and blocked, two threads - B unaffected") {
  PoolRig rig(2);
  const auto a = rig.add(1, 1ms, 1);
  const auto b = rig.add(1, 1ms, 1);
  rig.arrive(a, 10);
  // A's batch never ends; B's twenty run one after the other on the other slot.
  rig.runs.clear();
  for (int i = 0; i < 20; ++i) {
    rig.arrive(b, 1);
    REQUIRE(rig.runs.size() == 1);
    REQUIRE(rig.step());
  }
  CHECK(rig.lanes[a].started == 1);
  CHECK(rig.lanes[b].started == 20);
}

TEST_CASE("queue facts: weights 1 and 2 on scarce slots are served at least as 1 to 1.8") {
  for (const std::uint32_t slots : {1U, 2U, 3U}) {
    PoolRig rig(slots);
    const auto light = rig.add(1);
    const auto heavy = rig.add(2);
    rig.arrive(light, 100'000);
    rig.arrive(heavy, 100'000);
    for (int i = 0; i < 3000; ++i) rig.step();
    const double ratio = static_cast<double>(rig.lanes[heavy].started) / rig.lanes[light].started;
    CHECK(ratio > 1.80);
    CHECK(ratio < 2.20);
  }
}

TEST_CASE("queue facts: with slots in plenty weights make a difference of less than ten") {
  PoolRig rig(16);
  const auto light = rig.add(1);
  const auto heavy = rig.add(2);
  rig.arrive(light, 3000);
  rig.arrive(heavy, 3000);
  for (int i = 0; i < 2000; ++i) rig.step();
  const auto difference = static_cast<int>(rig.lanes[heavy].started) - static_cast<int>(rig.lanes[light].started);
  CHECK(std::abs(difference) < 10);
}

TEST_CASE("a lane whose batches cost more starts fewer of them, for the same time") {
  PoolRig rig(1);
  const auto quick = rig.add(1, 1ms);
  const auto slow = rig.add(1, 7ms);
  rig.arrive(quick, 100'000);
  rig.arrive(slow, 100'000);
  while (rig.now < 7s) rig.step();
  const double ratio = static_cast<double>(rig.lanes[quick].started) / rig.lanes[slow].started;
  CHECK(ratio == doctest::Approx(7).epsilon(0.05));
}

TEST_CASE("a lane that was idle has saved nothing up") {
  PoolRig rig(1);
  const auto busy = rig.add(1);
  const auto late = rig.add(1);
  rig.arrive(busy, 100'000);
  for (int i = 0; i < 500; ++i) rig.step();
  rig.arrive(late, 100'000);
  const std::size_t before = rig.order.size();
  for (int i = 0; i < 100; ++i) rig.step();
  const auto of_late = std::count(rig.order.begin() + static_cast<std::ptrdiff_t>(before), rig.order.end(), late);
  CHECK(of_late >= 49);
  CHECK(of_late <= 51);
}

TEST_CASE("an arbiter driven at random never lends more than it has, and no slot is free while somebody wants it") {
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    const std::uint32_t slots = 1 + random() % 4;
    PoolRig rig(slots);
    const std::size_t count = 1 + random() % 5;
    for (std::size_t i = 0; i < count; ++i) {
      rig.add(1.0 + random() % 3, Duration(1 + random() % 1'000'000), 1 + random() % 3);
    }
    for (int event = 0; event < 300; ++event) {
      if (random() % 2 == 0) {
        rig.arrive(random() % count, 1 + random() % 3);
      } else if (!rig.runs.empty()) {
        rig.finish(random() % rig.runs.size());
      }
      REQUIRE(rig.runs.size() + rig.arbiter.free() == slots);
      bool wanted = false;
      for (const PoolRig::Lane& lane : rig.lanes) wanted |= lane.waiting > 0 && lane.running < lane.own_slots;
      if (wanted) REQUIRE(rig.arbiter.free() == 0);
    }
    while (rig.step()) {
    }
    for (const PoolRig::Lane& lane : rig.lanes) CHECK(lane.waiting == 0);
    CHECK(rig.arbiter.free() == slots);
  }
}

TEST_CASE("a slot held for a lane that leaves goes to another") {
  SlotArbiter arbiter(1);
  const LaneId a = arbiter.add(1);
  const LaneId b = arbiter.add(1);
  const LaneId c = arbiter.add(1);
  REQUIRE(arbiter.take(a));
  CHECK(!arbiter.take(b));
  CHECK(!arbiter.take(c));
  arbiter.give_back(a, 0ns, 0ns, Backlog::none);
  CHECK(arbiter.next_offer() == b);
  CHECK(!arbiter.next_offer());
  arbiter.remove(b);
  CHECK(arbiter.next_offer() == c);
  CHECK(arbiter.take(c));
  arbiter.give_back(c, 0ns, 0ns, Backlog::none);
  CHECK(arbiter.lanes() == 2);
  CHECK(arbiter.add(1) == b);
}
