
#include <doctest/doctest.h>

#include <random>
#include <set>

#include "cache/disk_fixtures.hpp"

using namespace tidegate;
using namespace tidegate::test;
using namespace std::chrono_literals;

namespace {

std::set<std::string> table_files(const std::string& folder) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder + "/store")) {
    if (entry.path().extension() == ".sst") names.insert(entry.path().filename().string());
  }
  return names;
}

}  // namespace

TEST_CASE("disk tier: what was stored is found at once, after it was written, and after the tier was opened again") {
  const TemporaryFolder folder;
  const DiskWorld world;
  for (const std::size_t bytes : {std::size_t{8}, std::size_t{1536}, std::size_t{40'000}}) {
    const std::uint64_t first = 1000 * bytes;
    {
      const auto tier = world.open(disk_options(folder.path()));
      for (std::uint64_t i = first; i < first + 50; ++i) {
        store(*tier, disk_entry(i, bytes, 3));
        const auto found = look_up(*tier, i);
        REQUIRE(found);
        CHECK(version_in(i, *found) == 3);
      }
    }
    const auto tier = world.open(disk_options(folder.path()));
    for (std::uint64_t i = first; i < first + 50; ++i) {
      const auto found = look_up(*tier, i);
      REQUIRE(found);
      CHECK(version_in(i, *found) == 3);
      CHECK(found->record.bytes().size() == disk_entry(i, bytes, 3).record.bytes().size());
    }
    CHECK_FALSE(look_up(*tier, first + 50));
  }
}

TEST_CASE("disk tier: one look-up of many keys answers each in its place") {
  const TemporaryFolder folder;
  const DiskWorld world;
  {
    const auto tier = world.open(disk_options(folder.path()));
    for (std::uint64_t i = 0; i < 100; i += 2) store(*tier, disk_entry(i));
  }
  const auto tier = world.open(disk_options(folder.path()));
  store(*tier, disk_entry(101));  // still on its way to the file
  std::vector<CacheKey> keys;
  for (std::uint64_t i = 0; i < 102; ++i) keys.push_back(key_of(i));
  const auto found = look_up(*tier, keys);
  REQUIRE(found.size() == keys.size());
  for (std::uint64_t i = 0; i < 102; ++i) {
    CHECK(found[i].has_value() == ((i % 2 == 0 && i < 100) || i == 101));
    if (found[i]) CHECK(version_in(i, *found[i]) == 0);
  }
}

TEST_CASE("disk tier: a life is carried over a restart, and never outlived") {
  const TemporaryFolder folder;
  const DiskWorld world;
  {
    const auto tier = world.open(disk_options(folder.path()));
    store(*tier, disk_entry(1, 1536, 0, 10min));
    store(*tier, disk_entry(2, 1536, 0, 1ms));
    store(*tier, disk_entry(3, 1536, 0, std::chrono::hours(24 * 36500)));
    store(*tier, disk_entry(4, 1536, 0, 0ms));
    store(*tier, disk_entry(5, 1536, 0, -1ms));
    CHECK(look_up(*tier, 2));
    CHECK_FALSE(look_up(*tier, 4));
    CHECK_FALSE(look_up(*tier, 5));
    CHECK(tier->stats().rejected == 2);
  }
  world.pass(4min);
  const auto tier = world.open(disk_options(folder.path()));
  const auto found = look_up(*tier, 1);
  REQUIRE(found);
  CHECK(found->time_to_live == 6min);
  CHECK_FALSE(look_up(*tier, 2));
  CHECK(tier->stats().expired == 1);
  world.pass(6min);
  CHECK_FALSE(look_up(*tier, 1));
  CHECK(look_up(*tier, 3));
}

TEST_CASE("disk tier: a wall clock that jumps never lengthens a life") {
  const TemporaryFolder folder;
  const DiskWorld world;
  const auto tier = world.open(disk_options(folder.path()));
  store(*tier, disk_entry(1, 1536, 0, 30min));
  *world.unix_ms += 3'600'000;
  CHECK_FALSE(look_up(*tier, 1));
  *world.unix_ms -= 3'600'000 + 30'000;  // half a minute before it was stored: tolerated
  const auto found = look_up(*tier, 1);
  REQUIRE(found);
  CHECK(found->time_to_live == 30min);
  *world.unix_ms -= 3'600'000;  // an hour before: how old it is nobody knows
  CHECK_FALSE(look_up(*tier, 1));
}

TEST_CASE("disk tier: what was forgotten stays forgotten, before and after it was written and opened again") {
  const TemporaryFolder folder;
  const DiskWorld world;
  {
    const auto tier = world.open(disk_options(folder.path()));
    for (std::uint64_t i = 0; i < 20; ++i) store(*tier, disk_entry(i));
    forget(*tier, 3);
    CHECK_FALSE(look_up(*tier, 3));
  }
  {
    const auto tier = world.open(disk_options(folder.path()));
    CHECK_FALSE(look_up(*tier, 3));
    forget(*tier, 4);
    forget(*tier, 5);
    store(*tier, disk_entry(5, 1536, 9));
    CHECK_FALSE(look_up(*tier, 4));
  }
  const auto tier = world.open(disk_options(folder.path()));
  CHECK_FALSE(look_up(*tier, 3));
  CHECK_FALSE(look_up(*tier, 4));
  REQUIRE(look_up(*tier, 5));
  CHECK(version_in(5, *look_up(*tier, 5)) == 9);
  CHECK(look_up(*tier, 6));
}

TEST_CASE("disk tier: more to forget than the queue holds empties the store instead of keeping an old answer") {
  const TemporaryFolder folder;
  const DiskWorld world;
  DiskCacheOptions options = disk_options(folder.path());
  {
    const auto tier = world.open(options);
    for (std::uint64_t i = 0; i < 2000; ++i) store(*tier, disk_entry(i, 64));
  }
  options.max_queued_bytes = 1000;  // six keys
  {
    const auto tier = world.open(options);
    std::vector<CacheKey> keys;
    for (std::uint64_t i = 0; i < 1500; ++i) keys.push_back(key_of(i));
    tier->erase_many(keys);
    for (std::uint64_t i = 0; i < 1500; ++i) CHECK_FALSE(look_up(*tier, i));
    CHECK(eventually([&] {
      store(*tier, disk_entry(7000, 64));
      return look_up(*tier, 7000).has_value();
    }));
  }
  const auto tier = world.open(options);
  for (std::uint64_t i = 0; i < 1500; ++i) CHECK_FALSE(look_up(*tier, i));
}

TEST_CASE("disk tier: its files never take more than the capacity, at any moment of steady writing") {
  const TemporaryFolder folder;
  const DiskWorld world;
  constexpr std::uint64_t kCapacity = 12 << 20;
  auto options = disk_options(folder.path(), kCapacity);
  options.max_queued_bytes = 1 << 20;
  std::uint64_t most = 0;
  {
    const auto tier = world.open(options);
    std::atomic<bool> ended{false};
    std::thread writer([&] {
      std::mt19937_64 random(7);
      for (std::uint64_t i = 0; i < 30'000; ++i) {
        const std::size_t bytes = i % 50 == 0 ? 30'000 : 64 + random() % 3000;
        while (true) {
          const auto before = tier->stats().dropped;
          store(*tier, disk_entry(i, bytes));
          if (tier->stats().dropped == before) break;
          std::this_thread::yield();
        }
        if (i % 100 == 0) forget(*tier, i / 2);
        if (i % 1000 == 0) world.pass(30s);
      }
      ended = true;
    });
    while (!ended) most = std::max(most, bytes_in(folder.path()));
    writer.join();
    CHECK(tier->stats().evicted > 1000);
    CHECK(tier->stats().failed == 0);
    CHECK(tier->stats().bytes <= kCapacity);
    CHECK(look_up(*tier, 29'999));
    CHECK_FALSE(look_up(*tier, 1));
  }
  CHECK(most <= kCapacity);
  CHECK(bytes_in(folder.path()) <= kCapacity);
  CHECK(most > kCapacity / 2);
  MESSAGE("most bytes on disk ", most, " of ", kCapacity);
}

TEST_CASE("disk tier: an answer is in a file when the flush interval has passed, without anybody asking") {
  const TemporaryFolder folder;
  const DiskWorld world;
  const auto tier = world.open(disk_options(folder.path()));
  store(*tier, disk_entry(1, 100'000 / 4));
  CHECK(eventually([&] { return world.clock->pending_alarms() == 1; }));
  CHECK(bytes_in(folder.path() + "/store") < 100'000);
  const auto before = bytes_in(folder.path() + "/store");
  world.clock->advance(30s);
  CHECK(eventually([&] { return bytes_in(folder.path() + "/store") > before + 20'000; }));
  CHECK(eventually([&] { return world.clock->pending_alarms() == 0; }));
}

TEST_CASE("disk tier: many small files are merged") {
  const TemporaryFolder folder;
  const DiskWorld world;
  const auto tier = world.open(disk_options(folder.path()));
  for (std::uint64_t i = 0; i < 40; ++i) {
    store(*tier, disk_entry(i));
    REQUIRE(eventually([&] { return world.clock->pending_alarms() == 1; }));
    const auto before = table_files(folder.path());
    world.clock->advance(30s);
    REQUIRE(eventually([&] {
      return std::ranges::any_of(table_files(folder.path()), [&](const auto& name) { return !before.contains(name); });
    }));
  }
  CHECK(eventually([&] { return table_files(folder.path()).size() < 13; }));
  for (std::uint64_t i = 0; i < 40; ++i) CHECK(look_up(*tier, i));
  CHECK(tier->stats().evicted == 0);
}

TEST_CASE("disk tier: answers above a quarter of the buffer are not stored") {
  const TemporaryFolder folder;
  const DiskWorld world;
  const auto tier = world.open(disk_options(folder.path()));
  store(*tier, disk_entry(1, 70'000));
  CHECK_FALSE(look_up(*tier, 1));
  CHECK(tier->stats().rejected == 1);
}

TEST_CASE("disk tier: with seen_twice the second offer is taken, and a costly answer at once") {
  const TemporaryFolder folder;
  const DiskWorld world;
  auto options = disk_options(folder.path());
  options.admission = DiskAdmission::seen_twice;
  options.admit_cost = 50ms;
  const auto tier = world.open(options);
  store(*tier, disk_entry(1));
  CHECK_FALSE(look_up(*tier, 1));
  CHECK(tier->stats().rejected == 1);
  store(*tier, disk_entry(1));
  CHECK(look_up(*tier, 1));
  CacheEntry costly = disk_entry(2);
  costly.recompute_cost = 50ms;
  store(*tier, costly);
  CHECK(look_up(*tier, 2));
}

TEST_CASE("disk tier: the write budget drops what exceeds it and recovers with time") {
  const TemporaryFolder folder;
  const DiskWorld world;
  auto options = disk_options(folder.path());
  options.write_bytes_per_second = 19'000;
  const auto tier = world.open(options);
  for (std::uint64_t i = 0; i < 100; ++i) store(*tier, disk_entry(i));
  const auto kept = [&](std::uint64_t from, std::uint64_t to) {
    int number = 0;
    for (std::uint64_t i = from; i < to; ++i) number += look_up(*tier, i) ? 1 : 0;
    return number;
  };
  CHECK(kept(0, 100) == 10);  // of 1608 + 160 bytes each
  CHECK(tier->stats().dropped == 90);
  world.pass(1s);
  for (std::uint64_t i = 100; i < 200; ++i) store(*tier, disk_entry(i));
  CHECK(kept(100, 200) == 10);
}

TEST_CASE("disk tier: a look-up whose deadline has passed reads nothing") {
  const TemporaryFolder folder;
  const DiskWorld world;
  {
    const auto tier = world.open(disk_options(folder.path()));
    store(*tier, disk_entry(1));
  }
  const auto tier = world.open(disk_options(folder.path()));
  CHECK_FALSE(look_up(*tier, {key_of(1)}, world.clock->now()).at(0));
  CHECK(tier->stats().late == 1);
  CHECK(look_up(*tier, {key_of(1)}, world.clock->now() + 1ms).at(0));
}

TEST_CASE("disk tier: look-ups beyond the bound miss at once on the caller's thread") {
  const TemporaryFolder folder;
  const DiskWorld world;
  auto options = disk_options(folder.path());
  {
    const auto tier = world.open(options);
    for (std::uint64_t i = 0; i < 10; ++i) store(*tier, disk_entry(i));
  }
  options.read_threads = 1;
  options.max_queued_reads = 2;
  const auto tier = world.open(options);
  std::promise<void> inside;
  std::promise<void> go_on;
  const auto ask = [&](std::uint64_t number, CacheTier::Lookup done) {
    const CacheKey key = key_of(number);
    tier->get_many(std::span(&key, 1), kNoDeadline, std::move(done));
  };
  ask(0, [&](auto) {
    inside.set_value();
    go_on.get_future().wait();
  });
  inside.get_future().wait();
  std::atomic<int> later{0};
  for (std::uint64_t i = 1; i < 3; ++i) ask(i, [&](auto found) { later += found.at(0) ? 1 : 0; });
  bool missed = false;
  ask(3, [&](auto found) { missed = found.empty(); });
  CHECK(missed);
  CHECK(tier->stats().late == 1);
  CHECK(later == 0);
  go_on.set_value();
  CHECK(eventually([&] { return later == 2; }));
}

TEST_CASE("disk tier: a miss that the filters know of is answered on the caller's thread") {
  const TemporaryFolder folder;
  const DiskWorld world;
  {
    const auto tier = world.open(disk_options(folder.path()));
    for (std::uint64_t i = 0; i < 500; ++i) store(*tier, disk_entry(i));
  }
  const auto tier = world.open(disk_options(folder.path()));
  const auto caller = std::this_thread::get_id();
  int elsewhere = 0;
  for (std::uint64_t i = 10'000; i < 10'500; ++i) {
    std::promise<std::thread::id> thread;
    const CacheKey key = key_of(i);
    tier->get_many(std::span(&key, 1), kNoDeadline, [&](auto) { thread.set_value(std::this_thread::get_id()); });
    elsewhere += thread.get_future().get() != caller ? 1 : 0;
  }
  CHECK(elsewhere <= 5);
}

TEST_CASE("disk tier: dropped from a completion on its own thread, it closes") {
  const TemporaryFolder folder;
  const DiskWorld world;
  {
    const auto tier = world.open(disk_options(folder.path()));
    store(*tier, disk_entry(1));
  }
  {
    auto tier = world.open(disk_options(folder.path()));
    std::promise<void> returned, gone;  // a caller holds the tier until its call has returned
    const CacheKey key = key_of(1);
    CacheTier* const raw = tier.get();
    raw->get_many(std::span(&key, 1), kNoDeadline, [&, held = std::move(tier)](auto) mutable {
      returned.get_future().wait();
      held.reset();
      gone.set_value();
    });
    returned.set_value();
    gone.get_future().wait();
  }
  CHECK(
      eventually([&] { return disk::DiskTier::open(disk_options(folder.path()), world.surroundings()).has_value(); }));
}
