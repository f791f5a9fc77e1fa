#include "base/team.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>

namespace tidegate::test {

TEST_CASE("team: every member works once in a job, the caller among them") {
  for (const std::size_t size : {1, 2, 3, 5}) {
    Team team("test", size);
    std::vector<int> calls(size);
    auto job = [&](std::size_t member) { ++calls[member]; };
    for (int round = 0; round < 200; ++round) team.run(job);
    for (const int count : calls) CHECK(count == 200);
  }
}

TEST_CASE("team: what members wrote before a meeting is seen by all after it") {
  constexpr std::size_t kSize = 3;
  constexpr std::size_t kSteps = 2000;
  Team team("test", kSize);
  std::vector<std::size_t> written(kSize);
  std::vector<std::size_t> wrong(kSize);
  auto job = [&](std::size_t member) {
    for (std::size_t step = 1; step <= kSteps; ++step) {
      written[member] = step;
      team.meet();
      for (const std::size_t value : written) wrong[member] += value == step ? 0 : 1;
      team.meet();
    }
  };
  team.run(job);
  for (const std::size_t count : wrong) CHECK(count == 0);
}

TEST_CASE("team: a parked member wakes for the next job") {
  Team team("test", 2);
  std::atomic<int> calls{0};
  auto job = [&](std::size_t) { ++calls; };
  team.run(job);
  // Longer than a member spins, so that it has parked or is about to: both must work.
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(2);
  while (std::chrono::steady_clock::now() < end) {
  }
  team.run(job);
  CHECK(calls == 4);
}

TEST_CASE("team: shares cover the work without gap or overlap and differ by one at most") {
  for (std::size_t members = 1; members <= 7; ++members) {
    for (std::size_t items = 0; items <= 40; ++items) {
      std::size_t next = 0;
      for (std::size_t member = 0; member < members; ++member) {
        const WorkShare share = Team::share_of(items, member, members);
        CHECK(share.begin == next);
        CHECK(share.end - share.begin <= (items + members - 1) / members);
        next = share.end;
      }
      CHECK(next == items);
    }
  }
}

}  // namespace tidegate::test
