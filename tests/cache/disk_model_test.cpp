// The disk tier beside a plain map, under random operations; and killed processes.
#include <doctest/doctest.h>

#include <map>
#include <random>

#include "cache/disk_fixtures.hpp"
#include "cache/killed_child.hpp"

using namespace tidegate;
using namespace tidegate::test;
using namespace std::chrono_literals;

namespace {

struct Expected {
  float version;
  std::int64_t expires;
};

}  // namespace

TEST_CASE("disk model: random stores, erasures, clocks and reopenings answer as a map would") {
  std::uint64_t found_in_all = 0;
  for (const std::uint64_t seed : {1, 2, 3, 4}) {
    const TemporaryFolder folder;
    const DiskWorld world;
    std::mt19937_64 random(seed);
    std::map<std::uint64_t, Expected> expected;
    auto tier = world.open(disk_options(folder.path()));
    const auto check = [&](std::uint64_t number) {
      const auto found = look_up(*tier, number);
      const auto known = expected.find(number);
      const bool alive = known != expected.end() && known->second.expires > world.unix_ms->load();
      CAPTURE(number);
      REQUIRE(found.has_value() == alive);
      if (!found) return;
      ++found_in_all;
      CHECK(version_in(number, *found) == known->second.version);
      CHECK(found->time_to_live == std::chrono::milliseconds(known->second.expires - world.unix_ms->load()));
    };
    for (int step = 0; step < 6000; ++step) {
      const std::uint64_t number = random() % 400;
      switch (random() % 16) {
        case 0: forget(*tier, number), expected.erase(number); break;
        case 1: world.pass(std::chrono::milliseconds(random() % 4000)); break;
        case 2:
          if (random() % 60 == 0) {
            tier.reset();
            tier = world.open(disk_options(folder.path()));
          }
          break;
        case 3:
        case 4:
        case 5:
        case 6: {
          const auto life = std::chrono::milliseconds(1 + random() % 600'000);
          const auto version = static_cast<float>(step);
          store(*tier, disk_entry(number, 64 + random() % 6000, version, life));
          expected[number] = {version, world.unix_ms->load() + life.count()};
          break;
        }
        default: check(number);
      }
    }
    for (std::uint64_t number = 0; number < 400; ++number) check(number);
    CHECK(tier->stats().corrupt == 0);
    CHECK(tier->stats().failed == 0);
  }
  CHECK(found_in_all > 4000);
}

TEST_CASE("disk model: stores, erasures and look-ups from many threads never answer another key's record") {
  const TemporaryFolder folder;
  const DiskWorld world;
  auto options = disk_options(folder.path(), 12 << 20);
  options.max_queued_bytes = 2 << 20;
  const auto tier = world.open(options);
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<std::uint64_t> hits{0};
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      for (int step = 0; step < 2000; ++step) {
        const std::uint64_t number = random() % 300;
        if (step % 3 == 0) store(*tier, disk_entry(number, 64 + 16 * (random() % 300)));
        if (step % 50 == 0) forget(*tier, number);
        if (step % 500 == 0) world.pass(30s);
        for (const auto& found : look_up(*tier, {key_of(number), key_of(number + 1), key_of(number + 1000)})) {
          if (!found) continue;
          ++hits;
          std::uint64_t says = 0;
          std::memcpy(&says, found->key.data(), sizeof(says));
          wrong += version_in(says, *found) != 0 || says > number + 1 ? 1 : 0;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  CHECK(hits > 1000);
}

TEST_CASE("disk model: a process killed while it writes leaves only whole, right records") {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr int kRounds = 10;
#else
  constexpr int kRounds = 100;
#endif
  const TemporaryFolder folder;
  std::mt19937_64 random(5);
  const auto until = std::chrono::steady_clock::now() + 120s;
  std::uint64_t found_in_all = 0;
  std::uint64_t wrong = 0;
  int rounds = 0;
  DiskWorld world;
  for (; rounds < kRounds && std::chrono::steady_clock::now() < until; ++rounds) {
    KilledChild writer(folder.path(), std::to_string(rounds));
    REQUIRE(writer.kill_after(1 + static_cast<int>(random() % 12)) == 0);
    const auto tier = world.open(disk_options(folder.path(), 12 << 20));
    CHECK(tier->stats().resets == 0);
    for (std::uint64_t number = 0; number < 4000; ++number) {
      const auto found = look_up(*tier, number);
      if (!found) continue;
      ++found_in_all;
      const float version = version_in(number, *found);
      wrong += version < 0 || version > static_cast<float>(rounds) ? 1 : 0;
    }
    CHECK(tier->stats().corrupt == 0);
  }
  CHECK(wrong == 0);
  CHECK(rounds >= kRounds / 4);
  CHECK(found_in_all > 1000);
  MESSAGE(rounds, " processes killed, ", found_in_all, " answers found afterwards");
}
