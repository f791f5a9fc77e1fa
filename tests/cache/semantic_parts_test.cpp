// The parts of the semantic tier: words, their frequency, cosines, neighbours, the audit.
#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <random>
#include <string>

#include "cache/false_hit_audit.hpp"
#include "cache/neighbour_index.hpp"
#include "cache/text_facts.hpp"
#include "cache/vector_space.hpp"
#include "cache/word_frequency.hpp"

using namespace tidegate;

namespace {

bool alike(std::string_view a, std::string_view b, const WordFrequency& known = {}) {
  const bool one_way = TextFacts::agree(TextFacts(a), TextFacts(b), known);
  CHECK(one_way == TextFacts::agree(TextFacts(b), TextFacts(a), known));
  return one_way;
}

std::vector<float> draw_unit(std::mt19937& random, std::size_t dimension) {
  std::normal_distribution<float> normal;
  std::vector<float> vector(dimension);
  for (float& number : vector) number = normal(random);
  return unit_vector(vector);
}

using Trial = FalseHitAudit::Trial;
using State = FalseHitAudit::State;

void agree(FalseHitAudit& audit, int times) {
  for (int i = 0; i < times; ++i) audit.tried(audit.threshold(), Trial::agreed);
}

}  // namespace

TEST_CASE("semantic guard: texts that say the same in other function words agree") {
  CHECK(alike("What is the capital of France?", "what's the capital of France") ==
        false);  // "what's" is a word of its own
  CHECK(alike("What is the capital of France?", "Which is the capital of France"));
  CHECK(alike("How do I reset my password?", "how can I reset the password"));
  CHECK(alike("", ""));
}

TEST_CASE("semantic guard: a number, sign, symbol, negation or opposite that differs is never alike") {
  const std::pair<const char*, const char*> pairs[] = {
      {"What is 12 times 7?", "What is 12 times 8?"},
      {"Convert 1.5 km to miles", "Convert 15 km to miles"},
      {"Is 1,000 enough?", "Is 1000 enough?"},
      {"temperature of -5 degrees", "temperature of 5 degrees"},
      {"What happened on 2024-05-01?", "What happened on 2024-05-02?"},
      {"Does it support v2?", "Does it support v3?"},
      {"Is a raise of 5% good?", "Is a raise of 5 good?"},
      {"How do I learn C?", "How do I learn C#?"},
      {"Can I eat this?", "Can't I eat this?"},
      {"Is the bridge open?", "Is the bridge closed?"},
      {"How do I enable logging", "How do I disable logging"},
      {"Is it safe to eat", "Is it not safe to eat"},
      {"a trip with two children", "a trip with ten children"},
      {"flights from Paris to London", "flights from London to Paris"},
      {"Darf ich das essen", "Darf ich das nicht essen"},
      {"Who is the CEO of Acme", "Who is the CFO of Acme"},
  };
  for (const auto& [a, b] : pairs) {
    CAPTURE(a);
    CAPTURE(b);
    CHECK_FALSE(alike(a, b));
    CHECK(alike(a, a));
    CHECK(alike(b, b));
  }
}

TEST_CASE("semantic guard: case and the form of an apostrophe do not matter, length does") {
  CHECK(alike("Why Doesn't THIS work", "why doesn\xE2\x80\x99t this work"));
  CHECK_FALSE(alike("how do I do this", "how do I do this if I may want to do it while they are there as well"));
}

TEST_CASE("semantic guard: malformed and hostile texts are words like any other") {
  const std::string zeros(100, '\0');
  CHECK(alike(zeros, zeros));
  CHECK(alike("\xFF\xFE\x80", "\xFF\xFE\x80"));
  CHECK_FALSE(alike("\xFF\xFE\x80", "\xFF\xFE\x81"));
  CHECK(TextFacts("it's - +5 'quoted' a--b 1..2 ''").words().size() == 7);
  CHECK(TextFacts(std::string(100'000, '\'')).words().empty());
  CHECK(TextFacts(std::string(100'000, '-') + "1").words().size() == 1);
}

TEST_CASE("semantic guard: a word that most texts hold stops to count, a rare one never does") {
  WordFrequency known;
  CHECK_FALSE(alike("the invoice of Smith", "the receipt of Smith", known));
  for (int i = 0; i < 2000; ++i) {
    known.add(TextFacts(i % 2 == 0 ? "invoice" : "receipt"));
  }
  CHECK(alike("the invoice of Smith", "the receipt of Smith", known));
  CHECK_FALSE(alike("the invoice of Smith", "the receipt of Brown", known));
  for (int i = 0; i < 300'000; ++i) known.add(TextFacts("weather"));
  CHECK_FALSE(alike("the invoice of Smith", "the receipt of Smith", known));  // halvings have forgotten both
}

TEST_CASE("semantic vectors: the fastest cosine is the plain one, at every length") {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  const DotProduct dot = fastest_dot_product();
  for (std::size_t size = 0; size < 300; ++size) {
    std::vector<float> a(size);
    std::vector<float> b(size);
    for (std::size_t i = 0; i < size; ++i) {
      a[i] = normal(random);
      b[i] = normal(random);
    }
    const double expected = plain_dot_product(a, b);
    CHECK(std::abs(dot(a.data(), b.data(), size) - expected) < 1e-4 * (1 + std::abs(expected)));
  }
}

TEST_CASE("semantic vectors: what has no direction has no unit vector") {
  CHECK(unit_vector(std::vector<float>{}).empty());
  CHECK(unit_vector(std::vector<float>{0, 0}).empty());
  CHECK(unit_vector(std::vector<float>{1, NAN}).empty());
  CHECK(unit_vector(std::vector<float>{1, INFINITY}).empty());
  CHECK(unit_vector(std::vector<float>{0, -2}) == std::vector<float>{0, -1});
}

TEST_CASE("semantic neighbours: a flat index is exact through additions and removals") {
  std::mt19937 random(3);
  NeighbourIndex index(24, 1000);
  std::map<std::uint32_t, std::vector<float>> stored;
  for (int step = 0; step < 3000; ++step) {
    if (!stored.empty() && random() % 3 == 0) {
      const auto victim = std::next(stored.begin(), static_cast<std::ptrdiff_t>(random() % stored.size()));
      index.remove(victim->first);
      stored.erase(victim);
    } else if (stored.size() < 300) {
      const auto unit = draw_unit(random, 24);
      const std::uint32_t number = index.add(unit);
      CHECK(stored.emplace(number, unit).second);
    }
    REQUIRE(index.count() == stored.size());
    const auto asked = draw_unit(random, 24);
    const auto near = index.nearest(asked, 3);
    REQUIRE(near.size() == std::min<std::size_t>(3, stored.size()));
    if (near.empty()) continue;
    double best = -2;
    for (const auto& [number, unit] : stored) best = std::max(best, plain_dot_product(asked, unit));
    CHECK(std::abs(near[0].cosine - best) < 1e-5);
  }
}

TEST_CASE("semantic neighbours: beyond the limit the graph finds the nearest nearly always, also after replacements") {
  std::mt19937 random(5);
  constexpr std::size_t kDimension = 32;
  NeighbourIndex index(kDimension, 200);
  std::map<std::uint32_t, std::vector<float>> stored;
  for (int i = 0; i < 2500; ++i) {
    const auto unit = draw_unit(random, kDimension);
    stored[index.add(unit)] = unit;
    if (stored.size() > 1500) {
      index.remove(stored.begin()->first);
      stored.erase(stored.begin());
    }
  }
  CHECK_FALSE(index.flat());
  int found = 0;
  for (int i = 0; i < 300; ++i) {
    const auto asked = draw_unit(random, kDimension);
    double best = -2;
    for (const auto& [number, unit] : stored) best = std::max(best, plain_dot_product(asked, unit));
    const auto near = index.nearest(asked, 1);
    REQUIRE(near.size() == 1);
    REQUIRE(stored.contains(near[0].number));  // never one that was removed
    CHECK(std::abs(plain_dot_product(asked, stored[near[0].number]) - near[0].cosine) < 1e-5);
    if (near[0].cosine > best - 1e-5) ++found;
  }
  CHECK(found >= 285);
  while (!stored.empty()) {
    index.remove(stored.begin()->first);
    stored.erase(stored.begin());
  }
  CHECK(index.flat());
  CHECK(index.nearest(draw_unit(random, kDimension), 1).empty());
}

TEST_CASE("semantic audit: Wilson's upper bound has its known values") {
  CHECK(wilson_upper_bound(0, 0) == 1);
  CHECK(wilson_upper_bound(0, 268) == doctest::Approx(0.01).epsilon(0.01));
  CHECK(wilson_upper_bound(10, 100) == doctest::Approx(0.1597).epsilon(0.01));
  CHECK(wilson_upper_bound(100, 100) == doctest::Approx(1));
}

TEST_CASE("semantic audit: nothing is answered before enough trials were right") {
  FalseHitAudit audit(0.9F, 0.01, 5);
  agree(audit, 267);
  CHECK(audit.state() == State::probation);
  CHECK(audit.tries_next());
  agree(audit, 1);
  CHECK(audit.state() == State::serving);
  int tried = 0;
  for (int i = 0; i < 1000; ++i) tried += audit.tries_next() ? 1 : 0;
  CHECK(tried == 50);
}

TEST_CASE("semantic audit: wrong answers raise the threshold, and at last switch the tier off") {
  FalseHitAudit audit(0.7F, 0.01, 100);
  agree(audit, 300);
  CHECK(audit.state() == State::serving);
  for (int i = 0; i < 4 && audit.threshold() < 0.75F; ++i) audit.tried(audit.threshold(), Trial::differed);
  CHECK(audit.threshold() == doctest::Approx(0.8));
  CHECK(audit.state() == State::probation);
  audit.tried(0.7F, Trial::differed);  // one that began under the old threshold
  CHECK(audit.threshold() == doctest::Approx(0.8));
  for (int i = 0; i < 2; ++i) audit.tried(audit.threshold(), Trial::differed);
  CHECK(audit.threshold() == doctest::Approx(0.911).epsilon(0.01));
  audit.tried(audit.threshold(), Trial::differed);
  CHECK(audit.state() == State::disabled);
  agree(audit, 1000);
  CHECK(audit.state() == State::disabled);
}

TEST_CASE("semantic audit: a tier whose answers are wrong more often than allowed seldom serves") {
  std::mt19937 random(11);
  int served = 0;
  for (int run = 0; run < 200; ++run) {
    FalseHitAudit audit(0.9F, 0.01, 5);
    const float first = audit.threshold();
    for (int i = 0; i < 1000 && audit.threshold() == first && audit.state() == State::probation; ++i) {
      audit.tried(first, random() % 100 < 3 ? Trial::differed : Trial::agreed);
    }
    served += audit.state() == State::serving ? 1 : 0;
  }
  CHECK(served < 10);  // at 3 % wrong, 268 right ones in a row have a chance of 0.03 %
}
