// The semantic tier as a whole: partitions, trials, life, budget.
#include <doctest/doctest.h>

#include <random>
#include <string>

#include "cache/semantic_cache.hpp"
#include "support/manual_clock.hpp"

using namespace tidegate;
using test::ManualClock;
using Use = SemanticCache::Found::Use;

namespace {

Digest digest_of(std::uint32_t number) {
  Digest digest{};
  for (std::size_t i = 0; i < 4; ++i) digest[i] = static_cast<std::uint8_t>(number >> (8 * i));
  return digest;
}

CacheRecord record_of(std::size_t bytes, std::uint8_t value = 1) {
  return CacheRecord(std::make_shared<const std::vector<std::byte>>(bytes, std::byte{value}));
}

SemanticCacheOptions options_of(float threshold = 0.9F) {
  SemanticCacheOptions options;
  options.threshold = threshold;
  options.false_hit_budget = 0.5;  // two right trials in a row suffice
  options.audited_percent = 1;
  return options;
}

struct Rig {
  explicit Rig(const SemanticCacheOptions& options = options_of()) : cache(options, clock) {}

  [[nodiscard]] static SemanticCache::Question question(std::uint32_t partition, std::uint32_t key,
                                                        std::string_view text, std::span<const float> embedding) {
    return {digest_of(partition), digest_of(key), text, embedding};
  }

  void leave_probation() {
    SemanticCache::Found found;
    found.threshold = 1;
    while (cache.stats().state == SemanticCacheStats::State::probation) {
      cache.tried(found, FalseHitAudit::Trial::agreed);
    }
  }

  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>();
  SemanticCache cache;
};

const std::vector<float> kEast{1, 0, 0, 0};
const std::vector<float> kNearlyEast{1, 0.1F, 0, 0};
const std::vector<float> kNorth{0, 1, 0, 0};

}  // namespace

TEST_CASE("semantic cache: a like question is tried first and answered once trials were right") {
  Rig rig;
  rig.cache.put(Rig::question(1, 1, "how do I reset it", kEast), record_of(100));
  const auto asked = Rig::question(1, 2, "how can I reset it", kNearlyEast);
  const auto trial = rig.cache.find(asked);
  REQUIRE(trial.has_value());
  CHECK(trial->use == Use::trial);
  CHECK(trial->key == digest_of(1));
  CHECK(trial->cosine == doctest::Approx(0.995).epsilon(0.001));
  rig.leave_probation();
  const auto answer = rig.cache.find(asked);
  REQUIRE(answer.has_value());
  CHECK(answer->use == Use::answer);
  CHECK(answer->record.bytes().size() == 100);
  CHECK_FALSE(rig.cache.find(Rig::question(1, 3, "how do I reset it", kNorth)).has_value());
  CHECK_FALSE(rig.cache.find(Rig::question(1, 4, "how do I not reset it", kEast)).has_value());
  const SemanticCacheStats stats = rig.cache.stats();
  CHECK(stats.hits == 1);
  CHECK(stats.tried == 1);
  CHECK(stats.misses == 1);
  CHECK(stats.guarded == 1);
}

TEST_CASE("semantic cache: a question that is asked again is no evidence, and its answer needs none") {
  Rig rig;
  const auto asked = Rig::question(1, 1, "how do I reset it", kEast);
  rig.cache.put(asked, record_of(100));
  CHECK_FALSE(rig.cache.find(asked).has_value());
  rig.cache.put(Rig::question(1, 2, "how can I reset it", kNearlyEast), record_of(200));
  const auto trial = rig.cache.find(asked);
  REQUIRE(trial.has_value());
  CHECK(trial->use == Use::trial);
  CHECK(trial->key == digest_of(2));
  rig.leave_probation();
  const std::uint64_t tried = rig.cache.stats().tried;
  for (int i = 0; i < 300; ++i) {  // one in a hundred would be tried
    const auto answer = rig.cache.find(asked);
    REQUIRE(answer.has_value());
    CHECK(answer->use == Use::answer);
    CHECK(answer->key == digest_of(1));
  }
  CHECK(rig.cache.stats().tried == tried);
}

TEST_CASE("semantic cache: partitions never see each other, nor vectors of another length") {
  Rig rig;
  rig.cache.put(Rig::question(1, 1, "same text", kEast), record_of(100));
  CHECK_FALSE(rig.cache.find(Rig::question(2, 2, "same text", kEast)).has_value());
  CHECK_FALSE(rig.cache.find(Rig::question(1, 2, "same text", std::vector<float>{1, 0})).has_value());
  CHECK_FALSE(rig.cache.find(Rig::question(1, 2, "same text", std::vector<float>{0, 0, 0, 0})).has_value());
  CHECK(rig.cache.find(Rig::question(1, 2, "same text", kEast)).has_value());
}

TEST_CASE("semantic cache: of neighbours the nearest whose words agree is taken") {
  Rig rig;
  rig.cache.put(Rig::question(1, 1, "show me the orders of 2024", kEast), record_of(100));
  rig.cache.put(Rig::question(1, 2, "show me the orders of 2023", kNearlyEast), record_of(100));
  const auto found = rig.cache.find(Rig::question(1, 3, "show us the orders of 2023", kEast));
  REQUIRE(found.has_value());
  CHECK(found->key == digest_of(2));
}

TEST_CASE("semantic cache: an answer ends with its life, a replaced one at once") {
  SemanticCacheOptions options = options_of();
  options.time_to_live = std::chrono::seconds(10);
  Rig rig(options);
  rig.cache.put(Rig::question(1, 1, "text", kEast), record_of(100));
  rig.clock->advance(std::chrono::seconds(5));
  rig.cache.put(Rig::question(1, 1, "text", kEast), record_of(200));
  CHECK(rig.cache.stats().entries == 1);
  rig.clock->advance(std::chrono::seconds(9));
  const auto found = rig.cache.find(Rig::question(1, 2, "text", kEast));
  REQUIRE(found.has_value());
  CHECK(found->record.bytes().size() == 200);
  rig.clock->advance(std::chrono::seconds(1));
  CHECK_FALSE(rig.cache.find(Rig::question(1, 2, "text", kEast)).has_value());
  const SemanticCacheStats stats = rig.cache.stats();
  CHECK(stats.expired == 1);
  CHECK(stats.entries == 0);
  CHECK(stats.partitions == 0);
}

TEST_CASE("semantic cache: the budget holds after every operation, and clear gives all back") {
  SemanticCacheOptions options = options_of();
  options.capacity_bytes = 1U << 20;
  options.flat_limit = 64;
  Rig rig(options);
  const std::uint64_t empty = rig.cache.stats().bytes;
  std::mt19937 random(9);
  std::normal_distribution<float> normal;
  std::vector<float> vector(16);
  for (std::uint32_t i = 0; i < 4000; ++i) {
    for (float& number : vector) number = normal(random);
    const std::string text = "question " + std::to_string(i);
    rig.cache.put(Rig::question(random() % 5, i, text, vector), record_of(random() % 3000));
    REQUIRE(rig.cache.stats().bytes <= options.capacity_bytes);
    if (i % 3 == 0) static_cast<void>(rig.cache.find(Rig::question(random() % 5, i, text, vector)));
  }
  CHECK(rig.cache.stats().evicted > 1000);
  CHECK(rig.cache.stats().entries > 100);
  rig.cache.put(Rig::question(1, 1, "large", vector), record_of(2U << 20));
  CHECK(rig.cache.stats().rejected >= 1);
  rig.cache.clear();
  CHECK(rig.cache.stats().entries == 0);
  CHECK(rig.cache.stats().bytes < empty + 1024);
}

TEST_CASE("semantic cache: once the audit has switched it off it neither answers nor stores") {
  Rig rig;
  rig.cache.put(Rig::question(1, 1, "text", kEast), record_of(100));
  SemanticCache::Found wrong;
  wrong.threshold = 1;
  for (int i = 0; i < 100; ++i) rig.cache.tried(wrong, FalseHitAudit::Trial::differed);
  CHECK(rig.cache.stats().state == SemanticCacheStats::State::disabled);
  CHECK_FALSE(rig.cache.find(Rig::question(1, 1, "text", kEast)).has_value());
  rig.cache.put(Rig::question(1, 2, "text", kNorth), record_of(100));
  CHECK(rig.cache.stats().entries == 1);
}
