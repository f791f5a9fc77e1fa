// What the queue remembers of its decisions.
#include <doctest/doctest.h>

#include "queue/scheduler_driver.hpp"
#include "queue/slots_setup.hpp"

using namespace tidegate;
using namespace tidegate::test;

TEST_CASE("queue: the last 256 decisions are kept, oldest first, with the time each took") {
  SchedulerDriver driver(with_slots(1));
  CHECK(driver.core.decisions().empty());
  for (std::uint32_t i = 0; i < 300; ++i) {
    driver.submit({1, 1 + i, 0});
    driver.now += Duration(10 + i);
    if (i < 299) driver.done(i);
  }
  const auto decisions = driver.core.decisions();
  REQUIRE(decisions.size() == 256);
  for (std::size_t i = 0; i < 256; ++i) {
    CHECK(decisions[i].number == 45 + i);
    CHECK(decisions[i].tokens == 45 + i);
    CHECK(decisions[i].actual == (i < 255 ? Duration(10 + 44 + static_cast<Ticks>(i)) : Duration(0)));
  }
  driver.finish_all();
}

TEST_CASE("queue: a batch that ends after 256 others changes no decision but its own") {
  Setup setup = with_slots(2);
  SchedulerDriver driver(setup);
  driver.submit();
  for (std::uint32_t i = 1; i < 300; ++i) {
    driver.submit();
    driver.now += Duration(7);
    driver.done(i);
  }
  const auto before = driver.core.decisions();
  driver.now += Duration(1000);
  driver.done(0);
  const auto after = driver.core.decisions();
  REQUIRE(before.size() == after.size());
  for (std::size_t i = 0; i < before.size(); ++i) CHECK(before[i].actual == after[i].actual);
}
