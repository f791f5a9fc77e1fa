// The disk tier beside a plain map, under random operations; and killed processes.
#include <doctest/doctest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <map>
#include <random>

#include "cache/disk_fixtures.hpp"

extern char** environ;

using namespace tidegate;
using namespace tidegate::test;
using namespace std::chrono_literals;

namespace {

struct Expected {
  float version;
  std::int64_t expires;
};

/// A child that writes until it is killed.
class Writer {
 public:
  Writer(const std::string& folder, std::uint64_t seed) {
    std::array<int, 2> ends{};
    REQUIRE(::pipe(ends.data()) == 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    std::string program = TIDEGATE_TEST_DISK_WRITER;
    std::string where = folder;
    std::string number = std::to_string(seed);
    std::array<char*, 4> arguments{program.data(), where.data(), number.data(), nullptr};
    const int failed = ::posix_spawn(&pid_, program.c_str(), &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    progress_ = ends[0];
    REQUIRE(failed == 0);
  }
  ~Writer() { ::close(progress_); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  /// Kills it once it has said so many times that it got on; -1 = it ended by itself before.
  int kill_after(int steps) {
    char step = 0;
    bool alive = true;
    for (int i = 0; alive && i < steps; ++i) {
      ssize_t got = 0;
      while ((got = ::read(progress_, &step, 1)) < 0 && errno == EINTR) {
      }
      alive = got == 1;
    }
    ::kill(pid_, SIGKILL);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    return alive && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? 0 : -1;
  }

 private:
  pid_t pid_ = -1;
  int progress_ = -1;
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
    Writer writer(folder.path(), static_cast<std::uint64_t>(rounds));
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
