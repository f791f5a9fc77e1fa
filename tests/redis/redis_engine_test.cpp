// An engine over a real redis-server that stops: how many requests pay for it.
#include <doctest/doctest.h>

#include <atomic>
#include <future>

#include "engine/engine_rig.hpp"
#include "redis_server.hpp"

using namespace tidegate;
using namespace tidegate::test;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr std::uint64_t kMostPaying = 5;

/// Real clock and threads, budgets as they are by default. Every text is asked for once, so that memory never has it.
class Episode {
 public:
  explicit Episode(Duration deadline) : deadline_(deadline) {
    RedisCacheOptions redis;
    redis.address = "127.0.0.1:" + std::to_string(server_.port());
    redis.breaker_first_open = seconds(10);
    tier_ = make_tier(redis);
    EngineOptions options;
    options.cache.bypass = CacheBypass::never;
    options.cache.tiers = {tier_};
    engine_.emplace(*Engine::create(std::move(options)));
    std::vector<Replica> set;
    set.push_back({std::make_unique<FakeRunner>(), {}});
    REQUIRE(engine_->add_model("m", std::move(set)));
    REQUIRE(eventually([&] {
      ask(1);
      return tier_->redis_stats().absent >= 50;
    }));
  }
  ~Episode() { server_.go_on(); }
  Episode(const Episode&) = delete;
  Episode& operator=(const Episode&) = delete;

  /// Requests in waves of `senders` from when the server stops until long after the breaker has opened.
  void run(std::size_t senders) {
    const RedisCacheStats before = tier_->redis_stats();
    server_.hang();
    REQUIRE(eventually([&] {
      ask(senders);
      return tier_->redis_stats().breaker == RedisBreaker::open;
    }));
    ask(senders);  // what came in while it opened has ended
    const RedisCacheStats opened = tier_->redis_stats();
    waited_ = opened.timeouts + opened.lost - before.timeouts - before.lost;
    for (int wave = 0; wave < 20; ++wave) ask(senders);
    CHECK(tier_->redis_stats().timeouts == opened.timeouts);
    CHECK(tier_->redis_stats().refused >= opened.refused + 20 * senders);
  }

  /// Look-ups that ended by their own time or with the connection.
  [[nodiscard]] std::uint64_t waited() const { return waited_; }

 private:
  void ask(std::size_t senders) {
    std::atomic<std::size_t> missing{senders};
    // Not `eventually`: who waits awake takes a core from those that are measured.
    const auto ended = std::make_shared<std::promise<void>>();
    auto all = ended->get_future();
    for (std::size_t i = 0; i < senders; ++i) {
      RequestOptions options;
      if (deadline_ > Duration::zero()) options.deadline = std::chrono::steady_clock::now() + deadline_;
      const auto accepted =
          engine_->infer({"m", "text " + std::to_string(number_++), options}, [&missing, ended](const auto&) {
            if (--missing == 0) ended->set_value();
          });
      if (!accepted && --missing == 0) ended->set_value();
    }
    REQUIRE(all.wait_for(seconds(30)) == std::future_status::ready);
  }

  const Duration deadline_;
  RedisServer server_;
  std::shared_ptr<RedisCache> tier_;
  std::optional<Engine> engine_;
  std::uint64_t number_ = 0;
  std::uint64_t waited_ = 0;
};

/// On a busy machine replies are late also before the server stops, so one of a few episodes decides.
void check_few_pay(std::size_t senders, Duration deadline) {
  std::uint64_t least = UINT64_MAX;
  for (int attempt = 0; attempt < 20 && least > kMostPaying; ++attempt) {
    Episode episode(deadline);
    episode.run(senders);
    least = std::min(least, episode.waited());
  }
  CHECK(least <= kMostPaying);
}

}  // namespace

TEST_CASE("redis engine: a hung server makes five requests pay at most, one after the other") {
  if (has_redis_server()) check_few_pay(1, Duration::zero());
}

TEST_CASE("redis engine: a hung server makes five requests pay at most, sixty-four at a time") {
  if (has_redis_server()) check_few_pay(64, Duration::zero());
}

TEST_CASE("redis engine: the same where every request has a deadline, so that none gives a look-up its budget") {
  if (has_redis_server()) check_few_pay(1, milliseconds(24));
  if (has_redis_server()) check_few_pay(64, milliseconds(24));
}
