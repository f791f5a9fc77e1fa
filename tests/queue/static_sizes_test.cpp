// Models that compute only a few numbers of rows: whether a batch pads up or stops below.
#include <doctest/doctest.h>

#include <functional>

#include "queue/scheduler_driver.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

using Sizes = std::vector<std::uint32_t>;
/// Nanoseconds for so many computed rows.
using Cost = std::function<Ticks(std::uint64_t rows)>;

constexpr Ticks kMilli = 1'000'000;

/// A model that pads every batch up to one of the sizes.
class Plant {
 public:
  Plant(Sizes sizes, Cost cost, Setup setup = {}) : driver(with(std::move(setup), sizes)), cost_(std::move(cost)) {}

  void finish() {
    const auto batch = static_cast<std::uint32_t>(driver.batches.size() - 1);
    driver.now += Duration(cost_(computed(batch)));
    driver.done(batch);
  }
  /// Batches of every size; the queue is empty afterwards.
  void train() {
    for (std::uint32_t i = 0; i < 150; ++i) {
      for (std::uint32_t n = 0; n <= i * 7 % driver.setup.batching.allowed_batch_sizes.back(); ++n) driver.submit();
      while (driver.running() > 0) finish();
    }
    driver.now += Duration(kMilli);
  }
  /// Rows of the batches that so many requests form, all waiting when the slot frees.
  Sizes of_backlog(std::uint32_t count) {
    driver.submit();
    const std::size_t first = driver.batches.size();
    for (std::uint32_t i = 0; i < count; ++i) driver.submit();
    while (driver.running() > 0) finish();
    Sizes rows;
    for (std::size_t i = first; i < driver.batches.size(); ++i) {
      rows.push_back(static_cast<std::uint32_t>(driver.batches[i].works.size()));
    }
    return rows;
  }
  /// The least filler of all ways to run so many, as time: what the decision should come to.
  [[nodiscard]] std::uint64_t computed(std::uint32_t batch) const {
    std::uint64_t rows = 0;
    for (const std::uint32_t work : driver.batches[batch].works) rows += driver.works[work].size.rows;
    for (const std::uint32_t size : driver.setup.batching.allowed_batch_sizes) {
      if (size >= rows) return size;
    }
    return rows;
  }

  SchedulerDriver driver;

 private:
  static Setup with(Setup setup, const Sizes& sizes) {
    setup.batching.allowed_batch_sizes = sizes;
    setup.layout = BatchLayout::padded;
    return setup;
  }
  Cost cost_;
};

}  // namespace

TEST_CASE(
    "queue 4.13/30: of 18 that wait, sizes 16 and 32, all run where rows cost nothing, and 16 where only rows do") {
  SUBCASE("a batch costs the same whatever its size: padded up") {
    Plant plant({16, 32}, [](std::uint64_t) { return 5 * kMilli; });
    plant.train();
    CHECK(plant.of_backlog(18) == Sizes{18});
    const BatchDecision decision = plant.driver.core.decisions().back();
    CHECK(decision.filler_rows == 14);
    CHECK(to_text(decision).find("14 filler rows") != std::string::npos);
  }
  SUBCASE("every row costs the same: stopped at the size below, the others follow") {
    Plant plant({16, 32}, [](std::uint64_t rows) { return static_cast<Ticks>(rows) * kMilli; });
    plant.train();
    CHECK(plant.of_backlog(18) == Sizes{16, 2});
    CHECK(plant.driver.core.decisions().back().filler_rows == 14);
  }
}

TEST_CASE("queue 4.13/30: whatever waits, a batch has the size that takes the least time per row") {
  const Sizes sizes{2, 4, 8, 16};
  for (const Ticks base : {0 * kMilli, 2 * kMilli, 10 * kMilli, 100 * kMilli}) {
    const Cost cost = [base](std::uint64_t rows) { return base + static_cast<Ticks>(rows) * kMilli; };
    Plant plant(sizes, cost);
    plant.train();
    for (std::uint32_t waiting = 1; waiting <= 20; ++waiting) {
      CAPTURE(base);
      CAPTURE(waiting);
      const std::uint32_t first = plant.of_backlog(waiting).front();
      double least = 1e18;
      for (const std::uint32_t size : sizes) {
        least = std::min(least, static_cast<double>(cost(size)) / std::min(size, waiting));
      }
      const auto chosen = *std::lower_bound(sizes.begin(), sizes.end(), first);
      // A larger size must save a twentieth.
      CHECK(static_cast<double>(cost(chosen)) / first <= least / 0.949);
    }
  }
}

TEST_CASE("queue: before times are learned a batch of a model with static shapes is padded up") {
  Plant plant({16, 32}, [](std::uint64_t rows) { return static_cast<Ticks>(rows) * kMilli; });
  CHECK(plant.of_backlog(18) == Sizes{18});
}

TEST_CASE("queue: no batch grows beyond the largest size that is allowed, and a larger item is refused") {
  Plant plant({4, 8}, [](std::uint64_t) { return kMilli; });
  CHECK(plant.of_backlog(20) == Sizes{8, 8, 4});
  CHECK_FALSE(plant.driver.submit({9, 9, 0}));
  CHECK(plant.driver.refusal->code() == ErrorCode::too_large);
  CHECK(plant.driver.refusal->limit() == 8);
}

TEST_CASE("queue: a size that a deadline does not allow is not counted on") {
  Setup setup;
  Plant plant(
      {4, 32}, [](std::uint64_t rows) { return static_cast<Ticks>(rows) * kMilli / 4; }, setup);
  plant.train();
  SchedulerDriver& driver = plant.driver;
  driver.submit();
  for (int i = 0; i < 20; ++i) driver.submit({}, driver.now + Duration(kMilli + 4 * kMilli));
  plant.finish();
  CHECK(driver.batches.back().works.size() == 4);  // 32 rows would take 8 ms
  while (driver.running() > 0) plant.finish();
  driver.finish_all();
}
