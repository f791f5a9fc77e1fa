// The caps of all models of an engine together: several queues on one SharedRoom.
#include "queue/shared_room.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "queue/scheduler_core.hpp"

using namespace tidegate;

namespace {

TimePoint at(std::int64_t ticks) { return TimePoint(Duration(ticks)); }

/// A queue whose works are numbers, and whose commands are dropped.
struct Lane {
  explicit Lane(SharedRoom& room, std::uint32_t slots = 0, BatchingOptions batching = {}, AdmissionOptions caps = {})
      : core(batching, caps, 0) {
    core.share_room(room);
    core.set_slots(at(0), slots);
  }
  Result<SchedulerCore::Accepted> submit(const ItemSize& size, Priority priority = Priority::interactive,
                                         const SharedRoom::Place* claim = nullptr) {
    Submission submission;
    submission.size = size;
    submission.priority = priority;
    submission.claim = claim;
    auto accepted = core.submit(at(1), submission);
    take();
    return accepted;
  }
  void take() {
    Commands commands = core.take_commands();
    for (const RunBatch& run : commands.run) running.push_back(run.id);
    preempted += static_cast<int>(std::count_if(commands.complete.begin(), commands.complete.end(),
                                                [](const Complete& c) { return c.outcome == Outcome::preempted; }));
  }
  void cancel(WaiterId id) {
    core.cancel(at(1), id);
    take();
  }
  void finish_batch() {
    const BatchId id = running.back();
    running.pop_back();
    core.batch_done(at(2), id);
    take();
  }
  [[nodiscard]] QueueAmount waits() const {
    const SchedulerStats& stats = core.stats();
    return {stats.queued_items, stats.queued_tokens, stats.queued_bytes};
  }
  SchedulerCore core;
  std::vector<BatchId> running;
  int preempted = 0;
};

bool names(const Error& error, std::string_view key) { return error.message().find(key) != std::string::npos; }

struct Ear final : RoomListener {
  void room_came() noexcept override { ++told; }
  int told = 0;
};

}  // namespace

TEST_CASE("queue 4.13/40, 17: each cap of all models refuses by itself, with key, numbers and retry_after") {
  struct Row {
    EngineQueueOptions caps;
    ItemSize held, refused;
    std::string_view key;
    std::int64_t observed, limit;
  };
  const Row table[] = {
      {{1, 0, 0}, {1, 1, 1}, {1, 1, 1}, "queue.max_queued_items", 1, 1},
      {{0, 10, 0}, {1, 8, 1}, {1, 3, 1}, "queue.max_queued_tokens", 11, 10},
      {{0, 0, 100}, {1, 1, 90}, {1, 1, 11}, "queue.max_queued_bytes", 101, 100},
  };
  for (const Row& row : table) {
    CAPTURE(row.key);
    SharedRoom room(row.caps);
    Lane one(room);
    Lane two(room);
    const auto first = one.submit(row.held);
    REQUIRE(first);
    const QueueAmount before = room.used();
    const auto refused = two.submit(row.refused);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::queue_full);
    CHECK(names(refused.error(), row.key));
    CHECK(refused.error().observed() == row.observed);
    CHECK(refused.error().limit() == row.limit);
    CHECK(refused.error().retry_after() > Duration::zero());
    CHECK(room.used() == before);
    CHECK(room.refused() == 1);
    CHECK(two.core.stats().refused_full == 1);
    CHECK(two.core.stats().waiters == 0);
    one.cancel(first->id);
    CHECK(room.used() == QueueAmount{});
    CHECK(two.submit(row.refused));
  }
}

TEST_CASE("queue: a request that no queue of the engine could ever hold is too large, not refused for a while") {
  SharedRoom room({.max_queued_items = 0, .max_queued_tokens = 10, .max_queued_bytes = 100});
  Lane lane(room);
  const auto tokens = lane.submit({1, 11, 1});
  REQUIRE_FALSE(tokens);
  CHECK(tokens.error().code() == ErrorCode::too_large);
  CHECK(names(tokens.error(), "queue.max_queued_tokens"));
  const auto bytes = lane.submit({1, 1, 101});
  REQUIRE_FALSE(bytes);
  CHECK(bytes.error().code() == ErrorCode::too_large);
  CHECK(names(bytes.error(), "queue.max_queued_bytes"));
}

TEST_CASE("queue: a free replica takes a request at once though the queues of all models are full") {
  SharedRoom room({.max_queued_items = 1});
  Lane full(room);
  REQUIRE(full.submit({1, 1, 1}));
  Lane idle(room, 1);
  CHECK(idle.submit({1, 1, 1}));
  CHECK(idle.running.size() == 1);
  CHECK(room.used().items == 1);
  CHECK_FALSE(idle.submit({1, 1, 1}));  // its replica is busy now, so this one would wait
}

TEST_CASE("queue: room comes back when a batch takes what waits") {
  SharedRoom room({.max_queued_items = 2});
  Lane lane(room, 1);
  for (int i = 0; i < 3; ++i) REQUIRE(lane.submit({1, 1, 1}));
  CHECK_FALSE(lane.submit({1, 1, 1}));
  CHECK(lane.core.room(Priority::interactive).items == 0);
  CHECK(lane.core.room(Priority::interactive).retry_after > Duration::zero());
  lane.finish_batch();
  CHECK(room.used() == QueueAmount{});
  CHECK(lane.core.room(Priority::interactive).items == 2);
  CHECK(lane.submit({1, 1, 1}));
}

TEST_CASE(
    "queue 4.13/41: under the caps of all models a higher class displaces only what it needs, and only its own "
    "model's") {
  SharedRoom room({.max_queued_items = 3, .max_queued_tokens = 30});
  Lane lane(room);
  Lane other(room);
  REQUIRE(other.submit({1, 10, 1}, Priority::batch));
  REQUIRE(lane.submit({1, 10, 1}, Priority::batch));
  REQUIRE(lane.submit({1, 10, 1}, Priority::batch));
  CHECK(lane.submit({1, 10, 1}, Priority::critical));
  CHECK(lane.preempted == 1);
  CHECK(other.preempted == 0);
  CHECK(room.used() == QueueAmount{3, 30, 3});
  CHECK_FALSE(lane.submit({1, 20, 1}, Priority::critical));  // its lower classes have only ten tokens
  CHECK(lane.preempted == 1);
  CHECK(room.used() == QueueAmount{3, 30, 3});
}

TEST_CASE("queue: a request that moves from another queue displaces nobody, and its refusal counts as nothing") {
  SharedRoom room({.max_queued_items = 2});
  AdmissionOptions caps;
  caps.max_queued_items = 1;
  Lane lane(room, 0, {}, caps);
  Lane other(room);
  Submission moving;
  moving.size = {1, 1, 1};
  moving.priority = Priority::critical;
  moving.origin = Submission::Origin::moves;
  REQUIRE(lane.submit({1, 1, 1}, Priority::batch));
  CHECK(lane.core.submit(at(1), moving).error().code() == ErrorCode::queue_full);  // of its own caps
  REQUIRE(other.submit({1, 1, 1}, Priority::batch));
  CHECK(other.core.submit(at(1), moving).error().code() == ErrorCode::queue_full);  // of those of all models
  lane.take();
  other.take();
  CHECK(lane.preempted + other.preempted == 0);
  CHECK(lane.core.stats().refused_full + other.core.stats().refused_full == 0);
  CHECK(room.refused() == 0);
  moving.origin = Submission::Origin::arrives;
  CHECK(other.core.submit(at(1), moving));
  other.take();
  CHECK(other.preempted == 1);
}

TEST_CASE("queue: a claim of class batch keeps room from nobody above it, who is told of it") {
  SharedRoom room({.max_queued_tokens = 10});
  Lane lane(room);
  const auto held = lane.submit({1, 10, 1});
  REQUIRE(held);
  const auto ear = std::make_shared<Ear>();
  const auto idle_ear = std::make_shared<Ear>();
  SharedRoom::Place claim;
  SharedRoom::Place listener;
  room.claim(claim, Priority::batch, ear);
  room.listen(listener, idle_ear);
  lane.cancel(held->id);
  room.tell();
  CHECK(ear->told == 1);
  CHECK(idle_ear->told == 1);
  CHECK(room.left(Priority::interactive).tokens == 10);
  room.leave(claim);
}

TEST_CASE("queue: a claim keeps room that comes for itself, by class and then by arrival") {
  SharedRoom room({.max_queued_items = 1});
  Lane lane(room);
  const auto held = lane.submit({1, 1, 1});
  REQUIRE(held);
  const auto ear = std::make_shared<Ear>();
  const auto later_ear = std::make_shared<Ear>();
  SharedRoom::Place first;
  SharedRoom::Place second;
  SharedRoom::Place listener;
  const auto idle_ear = std::make_shared<Ear>();
  room.claim(first, Priority::interactive, ear);
  room.claim(second, Priority::interactive, later_ear);
  room.listen(listener, idle_ear);
  CHECK_FALSE(room.must_tell());
  lane.cancel(held->id);
  CHECK(room.must_tell());
  room.tell();
  CHECK(ear->told == 1);
  CHECK(later_ear->told == 0);
  CHECK(idle_ear->told == 0);
  CHECK(room.left(Priority::interactive) == QueueAmount{});
  const auto passing = lane.submit({1, 1, 1});
  REQUIRE_FALSE(passing);
  CHECK(passing.error().code() == ErrorCode::queue_full);
  CHECK_FALSE(lane.submit({1, 1, 1}, Priority::interactive, &second));
  const auto higher = lane.submit({1, 1, 1}, Priority::critical);
  CHECK(higher);
  lane.cancel(higher->id);
  CHECK(lane.submit({1, 1, 1}, Priority::interactive, &first));
  room.leave(first);
  room.leave(second);
  CHECK(room.must_tell());
  room.tell();
  CHECK(idle_ear->told == 1);
  CHECK_FALSE(listener.is_taken());
}

namespace {

/// Random submits and cancels of several threads, each with a queue of its own.
struct ManySubmitters {
  struct Held {
    WaiterId id;
    ItemSize size;
  };
  static constexpr EngineQueueOptions kCaps{.max_queued_items = 12, .max_queued_tokens = 60, .max_queued_bytes = 500};
  static constexpr int kEvents = 40'000;

  void watch(std::atomic<std::uint64_t>& total, std::uint64_t more, std::uint64_t cap) {
    if (total.fetch_add(more) + more > cap) ++broken;
  }
  void submit(Lane& lane, const ItemSize& size, std::vector<Held>& held) {
    const auto accepted = lane.submit(size);
    if (!accepted) {
      ++refused;
      return;
    }
    held.push_back({accepted->id, size});
    watch(items, 1, kCaps.max_queued_items);
    watch(tokens, size.tokens, kCaps.max_queued_tokens);
    watch(bytes, size.bytes, kCaps.max_queued_bytes);
  }
  void let_go(Lane& lane, std::vector<Held>& held) {
    const Held one = held.back();
    held.pop_back();
    items -= 1;
    tokens -= one.size.tokens;
    bytes -= one.size.bytes;
    lane.cancel(one.id);
  }
  void play(unsigned seed) {
    Lane lane(room);
    std::mt19937 random(seed);
    std::vector<Held> held;
    for (int i = 0; i < kEvents; ++i) {
      const bool adds = held.empty() || random() % 2 == 0;
      adds ? submit(lane, {1, 1 + random() % 12, random() % 100}, held) : let_go(lane, held);
      const QueueAmount used = room.used();
      const bool within = used.items <= kCaps.max_queued_items && used.tokens <= kCaps.max_queued_tokens &&
                          used.bytes <= kCaps.max_queued_bytes;
      if (!within) ++broken;
    }
    while (!held.empty()) let_go(lane, held);
  }

  SharedRoom room{kCaps};
  // What surely waits: counted after the acceptance, and no longer before the event that ends the wait.
  std::atomic<std::uint64_t> items{0};
  std::atomic<std::uint64_t> tokens{0};
  std::atomic<std::uint64_t> bytes{0};
  std::atomic<int> broken{0};
  std::atomic<std::uint64_t> refused{0};
};

}  // namespace

TEST_CASE("queue 4.13/16, 14: with concurrent submitters the caps of all models hold at every instant") {
  ManySubmitters many;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 4; ++i) threads.emplace_back([&many, i] { many.play(i); });
  for (std::thread& thread : threads) thread.join();
  CHECK(many.broken == 0);
  CHECK(many.refused > 0);
  CHECK(many.refused == many.room.refused());
  CHECK(many.room.used() == QueueAmount{});
}

TEST_CASE("queue 4.13/16, 2: over random events the room taken is what waits in all queues, and never above the caps") {
  std::mt19937 random(7);
  for (int round = 0; round < 40; ++round) {
    const EngineQueueOptions caps{1 + random() % 8, 4 + random() % 40, 20 + random() % 200};
    SharedRoom room(caps);
    BatchingOptions batching;
    batching.max_batch_size = 1 + random() % 4;
    if (random() % 2 == 0) batching.max_queue_delay = Duration(5);
    AdmissionOptions admission;
    admission.max_queued_items = 1 + random() % 6;
    std::array<std::unique_ptr<Lane>, 3> lanes;
    for (auto& lane : lanes) lane = std::make_unique<Lane>(room, random() % 3, batching, admission);
    std::vector<std::pair<Lane*, WaiterId>> known;
    for (int i = 0; i < 600; ++i) {
      Lane& lane = *lanes[random() % lanes.size()];
      const auto dice = random() % 10;
      if (dice < 6) {
        const auto priority = static_cast<Priority>(random() % 3);
        const auto accepted = lane.submit({1, 1 + random() % 12, random() % 60}, priority);
        if (accepted) known.emplace_back(&lane, accepted->id);
      } else if (dice < 8 && !lane.running.empty()) {
        lane.finish_batch();
      } else if (!known.empty()) {
        const auto [owner, id] = known[random() % known.size()];
        owner->cancel(id);
      }
      QueueAmount sum;
      for (const auto& one : lanes) {
        const QueueAmount waits = one->waits();
        sum = {sum.items + waits.items, sum.tokens + waits.tokens, sum.bytes + waits.bytes};
      }
      REQUIRE(room.used() == sum);
      REQUIRE(sum.items <= caps.max_queued_items);
      REQUIRE(sum.tokens <= caps.max_queued_tokens);
      REQUIRE(sum.bytes <= caps.max_queued_bytes);
    }
  }
}
