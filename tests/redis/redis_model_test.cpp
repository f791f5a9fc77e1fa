// The tier against a plain map with lives, over a long random history.
#include <doctest/doctest.h>

#include <atomic>
#include <random>

#include "cache/redis/redis_cache.hpp"
#include "fake_redis.hpp"
#include "support/manual_clock.hpp"

using namespace tidegate;
using namespace tidegate::test;
using std::chrono::milliseconds;

namespace {

/// The wall clock of these tests.
std::atomic<std::int64_t> wall_ms{1'000'000'000};
std::int64_t test_wall_clock() noexcept { return wall_ms; }

struct Modelled {
  float value;
  std::int64_t ends_ms;
};

CacheEntry entry_for(std::uint64_t number, float value, std::int64_t life_ms) {
  const std::vector<Tensor> outputs{Tensor::vector_of(std::span(&value, 1))};
  return {redis_key(number), encode_record(redis_key(number), outputs, wall_ms + life_ms), milliseconds(life_ms)};
}

class World {
 public:
  explicit World(const std::string& secret) {
    RedisCacheOptions options = patient(server_.port());
    options.hmac_key = secret;
    const auto endpoint = RedisEndpoint::make(options);
    REQUIRE(endpoint);
    tier_ = std::make_shared<RedisTier>(options, *endpoint, clock_, clock_, &test_wall_clock, 1);
  }

  void put(std::uint64_t number, float value, std::int64_t life_ms) {
    const std::uint64_t before = tier_->redis_stats().written + dropped(tier_->redis_stats());
    store(*tier_, entry_for(number, value, life_ms));
    REQUIRE(eventually([&] { return tier_->redis_stats().written + dropped(tier_->redis_stats()) > before; }));
    model_[number] = {value, wall_ms + life_ms};
  }
  void erase(std::uint64_t number) {
    const std::size_t before = server_.seen("UNLINK").size();
    tier_->erase_many(std::vector{redis_key(number)});
    REQUIRE(eventually([&] { return server_.seen("UNLINK").size() > before; }));
    model_.erase(number);
  }
  void pass(std::int64_t ms) {
    wall_ms += ms;
    clock_->advance(milliseconds(ms));
  }
  void check(const std::vector<std::uint64_t>& numbers) {
    std::vector<CacheKey> keys;
    for (const std::uint64_t number : numbers) keys.push_back(redis_key(number));
    const Slots slots = look_up(*tier_, keys);
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      const auto modelled = model_.find(numbers[i]);
      const bool alive = modelled != model_.end() && modelled->second.ends_ms > wall_ms;
      REQUIRE(slots[i].has_value() == alive);
      if (!alive) continue;
      CHECK(float_of(*slots[i]) == modelled->second.value);
      CHECK(slots[i]->time_to_live == milliseconds(modelled->second.ends_ms - wall_ms));
      ++hits_;
    }
  }
  [[nodiscard]] int hits() const { return hits_; }

 private:
  FakeRedis server_;
  std::shared_ptr<ManualClock> clock_ = std::make_shared<ManualClock>();
  std::shared_ptr<RedisTier> tier_;
  std::map<std::uint64_t, Modelled> model_;
  int hits_ = 0;
};

void run_history(const std::string& secret, std::uint64_t seed) {
  World world(secret);
  std::mt19937_64 random(seed);
  for (int step = 0; step < 1500; ++step) {
    const std::uint64_t number = random() % 40;
    switch (random() % 16) {
      case 0: world.erase(number); break;
      case 1: world.pass(static_cast<std::int64_t>(random() % 400)); break;
      case 2:
      case 3:
      case 4:
      case 5: {
        world.check({number});
        world.put(number, static_cast<float>(step), 1 + static_cast<std::int64_t>(random() % 2000));
        break;
      }
      default: world.check({number, random() % 40, random() % 40}); break;
    }
  }
  CHECK(world.hits() > 500);
}

}  // namespace

TEST_CASE("redis model: a long history of stores, look-ups, and ends of life agrees with a map") {
  run_history("", 1);
  run_history("", 2);
}

TEST_CASE("redis model: the same with signed values") { run_history("secret", 3); }
