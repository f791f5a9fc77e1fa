// What a queue knows of its load: rates, utilization and times, for those who size replicas.
#include <doctest/doctest.h>

#include "queue/latency_model.hpp"
#include "queue/load_meter.hpp"
#include "scheduler_driver.hpp"

using namespace tidegate;
using namespace tidegate::test;
using namespace std::chrono_literals;

namespace {

constexpr Ticks kSecond = 1'000'000'000;

Setup plain(std::uint32_t slots) {
  Setup setup;
  setup.batching.max_batch_size = 4;
  setup.slots = slots;
  return setup;
}

}  // namespace

TEST_CASE("arrivals are counted by rows, tokens and squares over ten seconds and a minute") {
  LoadMeter meter;
  meter.start(at(0));
  // 5 a second for 60 s, then 50 a second for 10 s.
  for (int i = 0; i < 300; ++i) meter.arrived(at(i * kSecond / 5), BatchShape::of({1, 8, 0}));
  for (int i = 0; i < 500; ++i) meter.arrived(at(60 * kSecond + i * kSecond / 50), BatchShape::of({1, 8, 0}));
  const TimePoint now = at(70 * kSecond);
  CHECK(meter.observed(now) == 70s);
  CHECK(meter.arrivals(now, 10).items == doctest::Approx(50));
  CHECK(meter.arrivals(now, 10).tokens == doctest::Approx(400));
  CHECK(meter.arrivals(now, 10).squares == doctest::Approx(3200));
  CHECK(meter.arrivals(now, 60).items == doctest::Approx(750.0 / 60));
  // A minute later nothing of it counts.
  CHECK(meter.arrivals(at(140 * kSecond), 10).items == 0);
  CHECK(meter.arrivals(at(140 * kSecond), 60).items == 0);
}

TEST_CASE("the first moments of a queue do not look like a flood") {
  LoadMeter meter;
  CHECK(meter.observed(at(5)) == 0s);
  meter.start(at(kSecond / 3));
  meter.arrived(at(kSecond / 3), BatchShape::of({1, 1, 0}));
  CHECK(meter.arrivals(at(kSecond / 3), 10).items == doctest::Approx(1));
  CHECK(meter.arrivals(at(kSecond / 3 + 5 * kSecond), 10).items == doctest::Approx(0.2));
}

TEST_CASE("seconds before the clock's start and far behind it are kept apart") {
  LoadMeter meter;
  meter.start(at(-3 * kSecond));
  for (int i = -30; i < 30; ++i) meter.arrived(at(i * kSecond / 10), BatchShape::of({1, 1, 0}));
  CHECK(meter.arrivals(at(3 * kSecond), 10).items == doctest::Approx(10));
  meter.arrived(at(3 * kSecond + 64 * kSecond), BatchShape::of({1, 1, 0}));
  CHECK(meter.arrivals(at(67 * kSecond), 60).items == doctest::Approx(1.0 / 60).epsilon(0.02));
}

TEST_CASE("the load of a queue counts what was refused for want of room, and no joined request") {
  Setup setup = plain(0);
  setup.admission.max_queued_items = 3;
  SchedulerDriver driver(setup);
  CHECK(driver.submit({1, 10, 0}, kNoDeadline, std::uint8_t{1}));
  CHECK(driver.submit({1, 10, 0}, kNoDeadline, std::uint8_t{1}));  // joins
  CHECK(driver.submit({1, 20, 0}));
  CHECK(driver.submit({2, 30, 0}));
  CHECK_FALSE(driver.submit({1, 40, 0}));  // full
  CHECK_FALSE(driver.submit({9, 40, 0}));  // larger than a batch: no replica could run it
  driver.advance(10 * kSecond);
  const LaneLoad load = driver.core.load(driver.now);
  CHECK(load.observed >= 10s);
  CHECK(load.arrivals_10s.items == doctest::Approx(0.5).epsilon(0.01));
  CHECK(load.arrivals_10s.tokens == doctest::Approx(10).epsilon(0.01));
  CHECK(load.queued_items == 3);
  CHECK(load.queued_tokens == 60);
  CHECK(load.served_10s.items == 0);
}

TEST_CASE("utilization is the share of the slots' time in which batches ran") {
  SchedulerDriver driver(plain(2));
  // One of two slots runs 0.5 s of every second.
  for (int i = 0; i < 20; ++i) {
    CHECK(driver.submit({1, 10, 0}));
    driver.advance(kSecond / 2);
    driver.done(static_cast<std::uint32_t>(i));
    driver.advance(kSecond / 2);
  }
  const LaneLoad load = driver.core.load(driver.now);
  CHECK(load.slots == 2);
  CHECK(load.utilization_10s == doctest::Approx(0.25).epsilon(0.1));
  CHECK(load.served_10s.tokens == doctest::Approx(10).epsilon(0.1));
}

TEST_CASE("the exported times are those with as many batches at a time as there are slots") {
  LatencyModel model(BatchLayout::packed);
  for (int i = 1; i <= 200; ++i) {
    const BatchShape shape = BatchShape::of({1, static_cast<std::uint64_t>(i % 20 + 1), 0});
    const auto tokens = static_cast<std::int64_t>(shape.tokens);
    model.learn(1, shape, Duration(1000 * tokens));
    model.learn(4, shape, Duration(3000 * tokens));
  }
  CHECK(model.profile().per_token_ns == doctest::Approx(1000).epsilon(0.02));
  CHECK(model.profile(4).per_token_ns == doctest::Approx(3000).epsilon(0.02));
}
