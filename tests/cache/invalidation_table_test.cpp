#include "cache/invalidation_table.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>

using namespace tidegate;
using std::chrono::hours;

namespace {

const TimePoint kNow{hours(1)};
constexpr std::int64_t kMost = 1'000'000;

InvalidationTable random_table(std::mt19937_64& random, std::size_t scopes) {
  InvalidationTable table;
  for (std::size_t i = random() % (scopes + 1); i > 0; --i) {
    const auto scope = random() % 8 == 0 ? InvalidationTable::kModel
                                         : InvalidationTable::of_tag("tag" + std::to_string(random() % 50));
    table.raise(scope, 1 + static_cast<std::int64_t>(random() % 1000), kNow);
  }
  return table;
}

InvalidationTable merged(InvalidationTable one, const InvalidationTable& other) {
  one.merge(other, kNow);
  return one;
}

}  // namespace

TEST_CASE("invalidation table: merging is commutative, associative and idempotent, and loses no stamp") {
  std::mt19937_64 random(11);
  for (int round = 0; round < 2000; ++round) {
    const auto a = random_table(random, 20), b = random_table(random, 20), c = random_table(random, 20);
    CHECK(merged(a, b).encode() == merged(b, a).encode());
    CHECK(merged(merged(a, b), c).encode() == merged(a, merged(b, c)).encode());
    CHECK(merged(a, a).encode() == a.encode());
    CHECK(merged(a, b).covers(a));
    CHECK(merged(a, b).covers(b));
    CHECK(merged(a, b).latest() == std::max(a.latest(), b.latest()));
    InvalidationTable target = a;
    CHECK(target.merge(b, kNow) == !a.covers(b));
  }
}

TEST_CASE("invalidation table: more tags than it holds become one stamp of the model that covers them all") {
  InvalidationTable table;
  for (std::size_t i = 0; i < InvalidationTable::kMostScopes; ++i) {
    table.raise(InvalidationTable::of_tag(std::to_string(i)), static_cast<std::int64_t>(i + 1), kNow);
  }
  table.raise(InvalidationTable::kModel, 5, kNow);
  CHECK(table.size() == InvalidationTable::kMostScopes + 1);
  CHECK(table.stamp(InvalidationTable::of_tag("7")) == 8);
  InvalidationTable other;
  other.raise(InvalidationTable::of_tag("one more"), 9000, kNow);
  CHECK(table.merge(other, kNow));
  CHECK(table.size() == 1);
  CHECK(table.stamp(InvalidationTable::kModel) == 9000);
}

TEST_CASE("invalidation table: what is written is read back; anything else is no table") {
  std::mt19937_64 random(12);
  for (int round = 0; round < 200; ++round) {
    const auto table = random_table(random, 30);
    const auto pairs = table.encode();
    const auto read = InvalidationTable::decode(pairs, kNow, kMost);
    REQUIRE(read);
    CHECK(read->encode() == pairs);
  }
  CHECK_FALSE(InvalidationTable::decode(std::vector<std::int64_t>{1}, kNow, kMost));
  CHECK_FALSE(InvalidationTable::decode(std::vector<std::int64_t>{1, 0}, kNow, kMost));
  CHECK_FALSE(InvalidationTable::decode(std::vector<std::int64_t>{1, -5}, kNow, kMost));
  CHECK(InvalidationTable::decode(std::vector<std::int64_t>{1, kMost}, kNow, kMost));
  CHECK_FALSE(InvalidationTable::decode(std::vector<std::int64_t>{1, kMost + 1}, kNow, kMost));
  CHECK_FALSE(
      InvalidationTable::decode(std::vector<std::int64_t>(2 * InvalidationTable::kMostScopes + 4, 1), kNow, kMost));
}

TEST_CASE("invalidation table: a stamp is forgotten only when it is old by both clocks") {
  InvalidationTable table;
  table.raise(InvalidationTable::of_tag("a"), 100, kNow);
  table.raise(InvalidationTable::of_tag("b"), 900, kNow);
  CHECK_FALSE(table.forget(500, kNow));
  CHECK(table.forget(500, kNow + hours(1)));
  CHECK(table.stamp(InvalidationTable::of_tag("a")) == 0);
  CHECK(table.stamp(InvalidationTable::of_tag("b")) == 900);
}

TEST_CASE("invalidation table: models, tags and versions are different scopes") {
  std::set<InvalidationTable::Scope> scopes{InvalidationTable::kModel, InvalidationTable::of_tag(""),
                                            InvalidationTable::of_version({})};
  for (int i = 0; i < 200; ++i) {
    Digest digest{};
    digest[3] = static_cast<std::uint8_t>(i + 1);
    scopes.insert(InvalidationTable::of_tag("t" + std::to_string(i)));
    scopes.insert(InvalidationTable::of_version(digest));
    CHECK(InvalidationTable::is_version(InvalidationTable::of_version(digest)));
    CHECK_FALSE(InvalidationTable::is_version(InvalidationTable::of_tag("t" + std::to_string(i))));
  }
  CHECK(scopes.size() == 403);
}
