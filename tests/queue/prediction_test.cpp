// Decisions made from learned times: how far batches grow, whose deadline can be met,
// how long a free slot waits.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>

#include "queue/scheduler_driver.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

using Batches = std::vector<std::vector<std::uint32_t>>;
/// Time of a batch with so many rows and tokens.
using Cost = std::function<Ticks(std::uint64_t rows, std::uint64_t tokens)>;

constexpr Ticks kMilli = 1'000'000;

/// Plays the model: every batch takes what the cost says.
class Plant {
 public:
  Plant(const Setup& setup, Cost cost) : driver(setup), cost_(std::move(cost)) {}

  /// Ends the youngest batch after its time.
  void finish() {
    const auto batch = static_cast<std::uint32_t>(driver.batches.size() - 1);
    std::uint64_t rows = 0;
    std::uint64_t tokens = 0;
    for (const std::uint32_t work : driver.batches[batch].works) {
      rows += driver.works[work].size.rows;
      tokens += driver.works[work].size.tokens;
    }
    driver.now += Duration(cost_(rows, tokens));
    driver.done(batch);
  }

  /// Runs `batches` batches of changing size and leaves the queue empty.
  void train(int batches) {
    for (int i = 0; i < batches; ++i) {
      driver.submit({1, 1 + static_cast<std::uint64_t>(i * 7 % 60), 0});
      for (int n = 0; n < i * 5 % 9; ++n) driver.submit({1, 1 + static_cast<std::uint64_t>(n * 13 % 60), 0});
      while (driver.running() > 0) finish();
    }
    driver.now += Duration(kMilli);
  }

  /// Sizes of the batches that `count` equal requests form, all waiting when the slot frees.
  std::vector<std::size_t> sizes_of_backlog(std::uint32_t count, std::uint64_t tokens) {
    driver.submit({1, tokens, 0});
    const std::size_t first = driver.batches.size();
    for (std::uint32_t i = 0; i < count; ++i) driver.submit({1, tokens, 0});
    while (driver.running() > 0) finish();
    std::vector<std::size_t> sizes;
    for (std::size_t i = first; i < driver.batches.size(); ++i) sizes.push_back(driver.batches[i].works.size());
    return sizes;
  }

  SchedulerDriver driver;

 private:
  Cost cost_;
};

Setup one_slot() {
  Setup setup;
  setup.batching.max_batch_size = 16;
  return setup;
}

}  // namespace

TEST_CASE("queue 4.13/29: a linear cost gives batches of one") {
  Plant plant(one_slot(), [](std::uint64_t, std::uint64_t tokens) { return static_cast<Ticks>(tokens) * 50'000; });
  plant.train(100);
  const auto sizes = plant.sizes_of_backlog(32, 20);
  CHECK(sizes.size() >= 29);  // all alone, but for one of four that tries whether it is still so
  CHECK(std::count(sizes.begin(), sizes.end(), 1u) >= 28);
}

TEST_CASE("queue 4.13/29: a constant cost gives full batches") {
  Plant plant(one_slot(), [](std::uint64_t, std::uint64_t) { return 3 * kMilli; });
  plant.train(100);
  CHECK(plant.sizes_of_backlog(32, 20) == std::vector<std::size_t>{16, 16});
}

TEST_CASE("queue 4.13/29: before 32 batches nothing is concluded, and batches grow to their caps") {
  Plant plant(one_slot(), [](std::uint64_t, std::uint64_t tokens) { return static_cast<Ticks>(tokens) * 50'000; });
  plant.train(10);
  CHECK(plant.sizes_of_backlog(32, 20) == std::vector<std::size_t>{16, 16});
}

TEST_CASE("queue 4.13/29: a cost that stops being linear is noticed, as some batches grow on") {
  bool linear = true;
  Plant plant(one_slot(), [&](std::uint64_t, std::uint64_t tokens) {
    return linear ? static_cast<Ticks>(tokens) * 50'000 : 3 * kMilli;
  });
  plant.train(100);
  CHECK(plant.sizes_of_backlog(64, 20).size() >= 58);
  linear = false;
  static_cast<void>(plant.sizes_of_backlog(1000, 20));
  CHECK(plant.sizes_of_backlog(32, 20) == std::vector<std::size_t>{16, 16});
}

TEST_CASE("queue: a small saving is passed up while few wait and taken while a batch of them waits behind") {
  Plant plant(one_slot(), [](std::uint64_t, std::uint64_t tokens) {
    return 20'000 + static_cast<Ticks>(tokens) * 50'000;  // merging saves 2 % of an item of 20 tokens
  });
  plant.train(100);
  CHECK(plant.sizes_of_backlog(6, 20).size() >= 3);  // alone, but for one of up to four that tries
  const auto sizes = plant.sizes_of_backlog(64, 20);
  REQUIRE(sizes.size() > 3);
  CHECK(sizes[0] == 16);
  CHECK(sizes[1] == 16);
  CHECK(sizes.back() < 16);
}

TEST_CASE("queue: a batch stops growing where a deadline in it would be missed") {
  Setup setup = one_slot();
  Plant plant(setup, [](std::uint64_t rows, std::uint64_t) { return kMilli + static_cast<Ticks>(rows) * kMilli / 2; });
  plant.train(100);
  SchedulerDriver& driver = plant.driver;
  driver.submit();
  const auto urgent = static_cast<std::uint32_t>(driver.works.size());
  // Behind the running batch of 1.5 ms, 3.2 ms are left: room for four rows of half a millisecond.
  driver.submit({}, driver.now + Duration(1'500'000 + 3'200'000));
  for (int i = 0; i < 10; ++i) driver.submit();
  plant.finish();
  const auto& batch = driver.batches.back().works;
  CHECK(batch.front() == urgent);
  CHECK(batch.size() == 4);
  plant.finish();
  CHECK(driver.requests[urgent].outcome == Outcome::answered);
  while (driver.running() > 0) plant.finish();
  driver.finish_all();
}

TEST_CASE("queue 4.13/32: lower classes fill what room a batch has, and never past a higher one's deadline") {
  Setup setup = one_slot();
  Plant plant(setup, [](std::uint64_t rows, std::uint64_t) { return kMilli + static_cast<Ticks>(rows) * kMilli / 2; });
  plant.train(100);
  SchedulerDriver& driver = plant.driver;
  for (int round = 0; round < 20; ++round) {
    CAPTURE(round);
    driver.submit();
    const Ticks slack = (3 + round % 5) * kMilli;
    const auto urgent = static_cast<std::uint32_t>(driver.requests.size());
    driver.submit({}, driver.now + Duration(kMilli + kMilli / 2 + slack), {}, {Priority::critical});
    for (int i = 0; i < 4; ++i) driver.submit({}, kNoDeadline, {}, {Priority::interactive});
    for (int i = 0; i < 8; ++i) driver.submit({}, kNoDeadline, {}, {Priority::batch});
    plant.finish();
    const std::size_t size = driver.batches.back().works.size();
    CHECK(size > 1);
    CHECK(static_cast<Ticks>(size) * kMilli / 2 + kMilli <= slack);
    plant.finish();
    CHECK(driver.outcome(urgent) == Outcome::answered);
    while (driver.running() > 0) plant.finish();
  }
  driver.finish_all();
}

TEST_CASE("queue 4.13/10: who can no longer be answered in time ends before a batch is spent on it") {
  Plant plant(one_slot(), [](std::uint64_t, std::uint64_t) { return 5 * kMilli; });
  plant.train(100);
  SchedulerDriver& driver = plant.driver;
  driver.submit();
  const auto late = static_cast<std::uint32_t>(driver.requests.size());
  driver.submit({}, driver.now + Duration(13 * kMilli));
  driver.submit({}, driver.now + Duration(13 * kMilli), 1);
  driver.submit({}, kNoDeadline, 1);
  driver.submit({}, driver.now + Duration(40 * kMilli));
  driver.now += Duration(9 * kMilli);  // the running batch takes longer than foreseen
  driver.done(static_cast<std::uint32_t>(driver.batches.size() - 1));
  CHECK(driver.requests[late].outcome == Outcome::would_miss);
  CHECK(driver.requests[late + 1].outcome == Outcome::would_miss);
  CHECK_FALSE(driver.requests[late + 2].outcome);  // equal, but in no hurry
  CHECK(driver.batches.back().works == std::vector<std::uint32_t>{late + 3, late + 1});
  plant.finish();
  CHECK(driver.requests[late + 2].outcome == Outcome::answered);
  CHECK(driver.requests[late + 3].outcome == Outcome::answered);
  CHECK(driver.core.stats().would_miss == 2);
  driver.finish_all();
}

TEST_CASE("queue 4.13/42: a deadline that the backlog makes impossible is refused at once, with when to come back") {
  Plant plant(one_slot(), [](std::uint64_t, std::uint64_t) { return 5 * kMilli; });
  plant.train(100);
  SchedulerDriver& driver = plant.driver;
  const auto in = [&](Ticks milli) { return driver.now + Duration(milli * kMilli); };
  CHECK(driver.submit({}, in(6)));  // the slot is free
  CHECK_FALSE(driver.submit({}, in(9)));
  REQUIRE(driver.refusal);
  CHECK(driver.refusal->code() == ErrorCode::overloaded);
  CHECK(driver.refusal->observed() > driver.refusal->limit());
  CHECK(driver.refusal->limit() == 9 * kMilli);
  CHECK(driver.refusal->retry_after() > Duration(0));
  for (int i = 0; i < 32; ++i) CHECK(driver.submit());
  // Behind the running batch wait two full ones, and a third for itself: 20 ms.
  CHECK_FALSE(driver.submit({}, in(18)));
  const Duration sooner = driver.refusal->retry_after();
  CHECK_FALSE(driver.submit({}, in(10)));
  CHECK(driver.refusal->retry_after() > sooner);
  CHECK(driver.submit({}, in(30)));
  CHECK(driver.submit({}, in(12), {}, {Priority::critical, 0}));  // before them all
  CHECK(driver.core.stats().refused_late == 3);
  const std::uint64_t accepted = driver.core.stats().accepted;
  while (driver.running() > 0) plant.finish();
  CHECK(driver.core.stats().answered == accepted);
  driver.finish_all();
}

TEST_CASE("queue 4.13/9: a free slot does not linger where company brings nothing, and not into a deadline") {
  Setup setup = one_slot();
  setup.batching.max_queue_delay = Duration(20 * kMilli);
  SUBCASE("linear cost") {
    Plant plant(setup, [](std::uint64_t, std::uint64_t tokens) { return static_cast<Ticks>(tokens) * 50'000; });
    for (int i = 0; i < 100; ++i) {
      plant.driver.submit({1, 1 + static_cast<std::uint64_t>(i * 7 % 60), 0});
      if (plant.driver.running() == 0) plant.driver.advance(20 * kMilli);
      plant.finish();
    }
    const std::size_t before = plant.driver.batches.size();
    plant.driver.submit({1, 20, 0});
    CHECK(plant.driver.batches.size() == before + 1);
  }
  SUBCASE("constant cost, one deadline") {
    SchedulerCore core(setup.batching, setup.admission, 1);
    TimePoint now = at(0);
    int record = 0;
    for (int i = 0; i < 40; ++i) {
      REQUIRE(core.submit(
          now,
          {&record, &record, {1 + static_cast<std::uint32_t>(i) % 4, 4 + static_cast<std::uint64_t>(i * 7 % 11), 0}}));
      now += Duration(20 * kMilli);
      core.advance(now);
      const Commands commands = core.take_commands();
      REQUIRE(commands.run.size() == 1);
      now += Duration(4 * kMilli);
      core.batch_done(now, commands.run.front().id);
      static_cast<void>(core.take_commands());
    }
    Submission submission{&record, &record, {1, 5, 0}, now + Duration(10 * kMilli)};
    REQUIRE(core.submit(now, submission));
    CHECK(core.take_commands().run.empty());
    // Four of the ten milliseconds, and a little for the tail, belong to the model.
    const Duration wait = core.next_wake() - now;
    CHECK(wait > Duration(4 * kMilli));
    CHECK(wait <= Duration(6 * kMilli));
    core.advance(core.next_wake());
    CHECK(core.take_commands().run.size() == 1);
  }
}

TEST_CASE("queue 4.13/39: for announced requests a free slot waits, and not once they are given up") {
  Setup setup = one_slot();
  setup.batching.max_queue_delay = Duration(100);
  setup.batching.linger = Linger::announced;
  SchedulerCore core(setup.batching, setup.admission, 1);
  int record = 0;
  const Submission submission{&record, &record};
  SUBCASE("nobody is announced") {
    REQUIRE(core.submit(at(0), submission));
    CHECK(core.take_commands().run.size() == 1);
  }
  SUBCASE("the announced one comes") {
    core.announce_arrival(at(0));
    REQUIRE(core.submit(at(1), submission));
    CHECK(core.take_commands().run.empty());
    REQUIRE(core.submit(at(5), submission));
    CHECK(core.take_commands().run.empty());
    core.end_announcement(at(5));
    const Commands commands = core.take_commands();
    REQUIRE(commands.run.size() == 1);
    CHECK(commands.run.front().works.size() == 2);
  }
  SUBCASE("it is given up") {
    core.announce_arrival(at(0));
    REQUIRE(core.submit(at(1), submission));
    core.end_announcement(at(9));
    CHECK(core.take_commands().run.size() == 1);
  }
  SUBCASE("it is forgotten, which costs max_queue_delay at most") {
    core.announce_arrival(at(0));
    REQUIRE(core.submit(at(1), submission));
    CHECK(core.next_wake() == at(101));
    core.advance(at(101));
    CHECK(core.take_commands().run.size() == 1);
  }
}
