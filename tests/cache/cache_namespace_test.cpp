#include "cache/cache_namespace.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <limits>
#include <thread>
#include <vector>

#include "fake_tiers.hpp"
#include "support/manual_clock.hpp"
#include "support/manual_executor.hpp"

using namespace tidegate;
using namespace tidegate::test;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

namespace {

/// The wall clock of these tests, microseconds.
std::atomic<std::int64_t> wall{0};
std::int64_t wall_now() noexcept { return wall.load(); }

struct Rig {
  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>();
  std::shared_ptr<ManualExecutor> executor = std::make_shared<ManualExecutor>();
  std::shared_ptr<ScriptedTier> tier = std::make_shared<ScriptedTier>("tier");

  Rig() { wall = 1'800'000'000'000'000; }

  [[nodiscard]] std::shared_ptr<CacheNamespace> open(std::vector<std::shared_ptr<CacheTier>> tiers) const {
    return std::make_shared<CacheNamespace>(
        "m", CacheNamespace::Surroundings{clock, std::move(tiers), hours(1), executor, &wall_now});
  }
  void pass(Duration time) const {
    clock->advance(time);
    wall += std::chrono::duration_cast<std::chrono::microseconds>(time).count();
  }
};

constexpr InvalidationTable::Scope kNoVersion = 3;

bool synchronized(CacheNamespace& names) {
  bool agreed = false;
  names.synchronize([&](bool all) { agreed = all; });
  return agreed;
}

}  // namespace

TEST_CASE("cache namespace: each invalidation gives the scope a later stamp, also with a wall clock set back") {
  const Rig rig;
  const auto names = rig.open({});
  CHECK(names->stamps(kNoVersion, "x").never());
  CHECK(names->is_current({}));
  std::int64_t last = 0;
  for (int i = 0; i < 5; ++i) {
    names->invalidate(InvalidationTable::of_tag("x"));
    const CacheStamps stamps = names->stamps(kNoVersion, "x");
    CHECK(stamps.tag > last);
    CHECK(stamps.model == 0);
    CHECK(names->is_current(stamps));
    CHECK_FALSE(names->is_current({}));
    CHECK(names->stamps(kNoVersion, "y").never());
    CHECK(names->stamps(kNoVersion, {}).never());
    last = stamps.tag;
    wall -= 3'600'000'000;
  }
}

TEST_CASE("cache namespace: a stamp is kept until all from before it has expired, by both clocks, then forgotten") {
  const Rig rig;
  const auto names = rig.open({rig.tier});
  names->invalidate(InvalidationTable::kModel);
  wall += 1000LL * 3'600'000'000;  // the wall clock leaps: nothing is forgotten too early
  rig.clock->advance(minutes(129));
  names->request_came(rig.clock->now());
  CHECK_FALSE(names->stamps(kNoVersion, {}).never());
  rig.clock->advance(minutes(2));
  names->request_came(rig.clock->now());
  CHECK(names->stamps(kNoVersion, {}).never());
  CHECK_FALSE(names->entry());
}

TEST_CASE("cache namespace: a stamp outlasts the longest life that any answers have, those of a semantic tier too") {
  const Rig rig;
  const auto names = rig.open({rig.tier});
  names->outlast(hours(24 * 30));
  names->outlast(hours(24));
  names->invalidate(InvalidationTable::kModel);
  rig.executor->run_all();
  REQUIRE(rig.tier->stored(names->key()));
  CHECK(rig.tier->stored(names->key())->time_to_live == hours(24 * 60) + minutes(10));
  rig.pass(hours(24 * 60) + minutes(9));
  names->request_came(rig.clock->now());
  CHECK_FALSE(names->stamps(kNoVersion, {}).never());
  rig.pass(minutes(2));
  names->request_came(rig.clock->now());
  CHECK(names->stamps(kNoVersion, {}).never());
}

TEST_CASE("cache namespace: a table in a tier that has outlived its use changes nothing") {
  const Rig rig;
  const auto names = rig.open({rig.tier});
  names->invalidate(InvalidationTable::kModel);
  rig.executor->run_all();
  REQUIRE(rig.tier->stored(names->key()));
  wall += 131LL * 60'000'000;
  const auto later = rig.open({rig.tier});
  CHECK(synchronized(*later));
  CHECK(later->stamps(kNoVersion, {}).never());
}

TEST_CASE("cache namespace: two that have invalidated at once end with the same stamps, and so does the tier") {
  const Rig rig;
  const auto one = rig.open({rig.tier});
  const auto other = rig.open({rig.tier});
  one->invalidate(InvalidationTable::of_tag("x"));
  wall += 5;
  other->invalidate(InvalidationTable::of_tag("y"));
  rig.executor->run_all();  // the later write replaces the earlier one
  for (int round = 0; round < 3; ++round) {
    for (const auto& names : {one, other}) {
      static_cast<void>(synchronized(*names));
      rig.executor->run_all();
    }
  }
  CHECK(synchronized(*one));
  CHECK(synchronized(*other));
  for (const char* tag : {"x", "y"}) {
    CHECK_FALSE(one->stamps(kNoVersion, tag).never());
    CHECK(one->stamps(kNoVersion, tag).tag == other->stamps(kNoVersion, tag).tag);
  }
}

TEST_CASE("cache namespace: with a bound an invalidation is later than one of a clock ahead that was not read yet") {
  const Rig rig;
  const auto here = rig.open({rig.tier});
  const auto ahead = rig.open({rig.tier});
  for (const InvalidationTable::Scope scope : {InvalidationTable::kModel, InvalidationTable::of_tag("x")}) {
    wall += 3'000'000;
    ahead->invalidate(scope);
    wall -= 3'000'000;
    rig.executor->run_all();
    const auto stamp = [&](const CacheNamespace& names) {
      const CacheStamps stamps = names.stamps(kNoVersion, "x");
      return scope == InvalidationTable::kModel ? stamps.model : stamps.tag;
    };
    const std::int64_t before = stamp(*ahead);
    here->invalidate(scope, seconds(60));
    CHECK(stamp(*here) > before);
    rig.executor->run_all();
    static_cast<void>(synchronized(*ahead));
    CHECK(stamp(*ahead) == stamp(*here));
  }
}

TEST_CASE("cache namespace: a table with a stamp that no clock can have given is damage, and replaced") {
  const Rig rig;
  const auto names = rig.open({rig.tier});
  const auto plant = [&](std::int64_t stamp) {
    const std::vector<std::int64_t> pairs{0, stamp};
    const std::vector<Tensor> outputs{*Tensor::copy_of(DataType::i64, {2}, std::as_bytes(std::span(pairs)))};
    const CacheEntry entry{names->key(), encode_record(names->key(), outputs, 0), hours(1)};
    rig.tier->put_many(std::span(&entry, 1));
  };
  constexpr std::int64_t kYear = 366LL * 24 * 3'600'000'000;
  for (const std::int64_t stamp : {std::numeric_limits<std::int64_t>::max(), wall + 11 * kYear}) {
    plant(stamp);
    static_cast<void>(synchronized(*names));
    CHECK(names->stamps(kNoVersion, {}).model < stamp);
    names->invalidate(InvalidationTable::kModel, seconds(60));
    CHECK(names->stamps(kNoVersion, {}).model >= wall);
    CHECK(names->stamps(kNoVersion, {}).model <= wall + 10);
    rig.executor->run_all();
    CHECK(synchronized(*names));
  }
  plant(wall + 9 * kYear);
  CHECK(synchronized(*names));
  CHECK(names->stamps(kNoVersion, {}).model == wall + 9 * kYear);
}

TEST_CASE("cache namespace: the tier is asked with the first request after five seconds, once") {
  const Rig rig;
  const auto names = rig.open({rig.tier});
  names->request_came(rig.clock->now());
  const int first = rig.tier->lookups();
  rig.clock->advance(seconds(5) - std::chrono::nanoseconds(1));
  for (int i = 0; i < 10; ++i) names->request_came(rig.clock->now());
  CHECK(rig.tier->lookups() == first);
  rig.clock->advance(std::chrono::nanoseconds(1));
  for (int i = 0; i < 10; ++i) names->request_came(rig.clock->now());
  CHECK(rig.tier->lookups() == first + 1);
}

TEST_CASE("cache namespace: a tier that could not find out is asked again soon, and is not taken to have no table") {
  const Rig rig;
  const auto other = rig.open({rig.tier});
  other->invalidate(InvalidationTable::kModel);
  rig.executor->run_all();
  bool reached = false;
  const auto remote = std::make_shared<ScriptedTier>("remote", [&](auto keys, Deadline deadline, auto done) {
    if (!reached) return done({});
    rig.tier->get_many(keys, deadline, std::move(done));
  });
  const auto names = rig.open({remote});
  CHECK_FALSE(synchronized(*names));
  names->request_came(rig.clock->now());
  CHECK(remote->lookups() == 2);
  names->request_came(rig.clock->now());
  CHECK(remote->lookups() == 2);
  CHECK(rig.executor->run_all() == 0);  // there is nothing to be told yet
  reached = true;
  rig.clock->advance(CacheNamespace::kRetryInterval);
  names->request_came(rig.clock->now());
  CHECK(remote->lookups() == 3);
  CHECK_FALSE(names->stamps(kNoVersion, {}).never());
  CHECK(synchronized(*names));
  // From now on as often as ever.
  rig.clock->advance(CacheNamespace::kReadInterval - std::chrono::nanoseconds(1));
  names->request_came(rig.clock->now());
  CHECK(remote->lookups() == 4);
}

TEST_CASE("cache namespace: a tier that keeps its answer until the namespace is gone harms nobody") {
  const Rig rig;
  const auto held = std::make_shared<HeldTier>("held");
  auto names = rig.open({held});
  names->invalidate(InvalidationTable::kModel);
  bool ended = false;
  names->synchronize([&](bool agreed) {
    ended = true;
    CHECK_FALSE(agreed);
  });
  names.reset();
  while (auto waiting = held->take()) waiting->done({});
  CHECK(ended);
}

TEST_CASE("cache namespace: stamps read while others invalidate never go back") {
  const Rig rig;
  const auto names = rig.open({rig.tier});
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      CacheStamps last;
      while (!stop) {
        const CacheStamps now = names->stamps(kNoVersion, "x");
        if (now.model < last.model || now.tag < last.tag || now.changes < last.changes) ++wrong;
        last = now;
        names->request_came(rig.clock->now());
      }
    });
  }
  for (int i = 0; i < 500; ++i) {
    const CacheStamps before = names->stamps(kNoVersion, "x");
    names->invalidate(i % 2 == 0 ? InvalidationTable::kModel : InvalidationTable::of_tag("x"));
    const CacheStamps after = names->stamps(kNoVersion, "x");
    CHECK((after.model > before.model || after.tag > before.tag));
    CHECK_FALSE(names->is_current(before));
    rig.executor->run_all();
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  CHECK(wrong == 0);
}

TEST_CASE("cache namespace: it vouches for a tier that has told lately, and for keys from after what it told") {
  const Rig rig;
  bool reached = false;
  const auto remote = std::make_shared<ScriptedTier>(
      "remote", [&](std::span<const CacheKey> keys, Deadline deadline, CacheTier::Lookup done) {
        if (!reached) return done({});
        rig.tier->get_many(keys, deadline, std::move(done));
      });
  const auto names = rig.open({remote, rig.tier});
  const auto vouches = [&](std::size_t tier) {
    return names->vouches(tier, names->stamps(kNoVersion, {}), rig.clock->now());
  };
  CHECK_FALSE(vouches(0));
  CHECK_FALSE(vouches(1));
  CHECK_FALSE(synchronized(*names));
  CHECK_FALSE(vouches(0));
  CHECK(vouches(1));
  reached = true;
  CHECK(synchronized(*names));
  CHECK(vouches(0));
  const CacheStamps before = names->stamps(kNoVersion, {});
  names->invalidate(InvalidationTable::kModel);
  CHECK_FALSE(names->vouches(0, before, rig.clock->now()));
  CHECK(vouches(0));
  reached = false;
  rig.clock->advance(CacheNamespace::kLongestUntold);
  CHECK_FALSE(synchronized(*names));
  CHECK(vouches(0));
  rig.clock->advance(std::chrono::nanoseconds(1));
  CHECK_FALSE(vouches(0));
  CHECK(vouches(1));
}
