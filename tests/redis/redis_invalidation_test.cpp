// Invalidation through a real server: two engines as two processes would be.
#include <doctest/doctest.h>

#include <atomic>

#include "cache/cache_namespace.hpp"
#include "engine/engine_rig.hpp"
#include "fake_redis.hpp"
#include "redis_server.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

/// The machine's clock, set forward by the test.
class ShiftedClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const noexcept override { return clock_->now() + Duration(ahead_.load()); }
  AlarmId call_at(TimePoint when, UniqueFunction<void()> alarm) override {
    return clock_->call_at(when == kNoDeadline ? when : when - Duration(ahead_.load()), std::move(alarm));
  }
  bool cancel(AlarmId id) override { return clock_->cancel(id); }
  void advance(Duration step) { ahead_ += step.count(); }

 private:
  const std::shared_ptr<Clock> clock_ = make_steady_clock();
  std::atomic<std::int64_t> ahead_{0};
};

/// An engine of its own threads, but for its clock; its model answers with the value of `source`.
struct Process {
  std::shared_ptr<ShiftedClock> clock = std::make_shared<ShiftedClock>();
  std::shared_ptr<RedisCache> tier;
  std::optional<Engine> engine;

  Process(std::uint16_t port, const std::atomic<float>& source) : Process(patient(port), source) {}
  Process(const RedisCacheOptions& redis, const std::atomic<float>& source) : tier(make_tier(redis)) {
    EngineOptions options;
    options.clock = clock;
    options.cache.bypass = CacheBypass::never;
    options.cache.lookup_budget = std::chrono::minutes(1);
    options.cache.tiers = {tier};
    engine.emplace(*Engine::create(std::move(options)));
    std::vector<Replica> set;
    set.push_back({std::make_unique<FakeRunner>(nullptr,
                                                [&source](std::span<BatchItem> batch) {
                                                  const float value = source.load();
                                                  for (BatchItem& item : batch) {
                                                    item.output =
                                                        std::vector<Tensor>{Tensor::vector_of(std::span(&value, 1))};
                                                  }
                                                }),
                   {}});
    REQUIRE(engine->add_model("m", std::move(set)));
  }

  float ask(const std::string& text, const std::string& tag = {}) {
    RequestOptions options;
    options.cache_tag = tag;
    const auto response = engine->infer_future({"m", text, options}).get();
    REQUIRE(response);
    return response->outputs.at(0).as<float>()[0];
  }
};

}  // namespace

TEST_CASE("redis invalidation: another process, and one that starts, ask for nothing from before") {
  if (!has_redis_server()) return;
  RedisServer server;
  std::atomic<float> source{0};
  Process one(server.port(), source), other(server.port(), source);
  CHECK(one.ask("a", "x") == 0);
  REQUIRE(eventually([&] { return one.tier->redis_stats().written >= 1; }));
  CHECK(other.ask("a", "x") == 0);
  const std::uint64_t written = other.tier->redis_stats().written;
  CHECK(other.ask("kept") == 0);
  REQUIRE(eventually([&] { return other.tier->redis_stats().written > written; }));
  source = 1;
  CHECK(one.ask("a", "x") == 0);
  REQUIRE(one.engine->invalidate_cache({"m", "x", {}}, std::chrono::seconds(20)));
  CHECK(one.ask("a", "x") == 1);
  other.clock->advance(CacheNamespace::kReadInterval);
  CHECK(eventually([&] { return other.ask("a", "x") == 1; }));
  Process late(server.port(), source);
  CHECK(eventually([&] { return late.ask("a", "x") == 1; }));
  CHECK(late.ask("kept") == 0);
}

TEST_CASE("redis invalidation: a process that connects slowly answers nothing from before") {
  FakeRedis server;
  std::atomic<float> source{0};
  Process one(server.port(), source);
  constexpr int kTexts = 40;
  for (int i = 0; i < kTexts; ++i) CHECK(one.ask(std::to_string(i)) == 0);
  REQUIRE(eventually([&] { return one.tier->redis_stats().written >= kTexts; }));
  source = 1;
  REQUIRE(one.engine->invalidate_cache({"m", {}, {}}, std::chrono::seconds(20)));
  server.hold_connections();
  RedisCacheOptions options;  // budgets as they are by default: a look-up has 5 ms
  options.address = "127.0.0.1:" + std::to_string(server.port());
  Process late(options, source);
  const auto told = [](const RedisCacheStats& stats) { return stats.hits + stats.absent; };
  std::uint64_t asked = 0;
  for (; asked < 3; ++asked) CHECK(late.ask(std::to_string(asked)) == 1);
  server.release();
  CHECK(eventually([&] {
    CHECK(late.ask(std::to_string(asked++)) == 1);
    return told(late.tier->redis_stats()) >= 5;
  }));
}

TEST_CASE("redis invalidation: a server that has lost its answers is told again by who knows") {
  if (!has_redis_server()) return;
  RedisServer server;
  std::atomic<float> source{0};
  Process one(server.port(), source);
  CHECK(one.ask("a") == 0);
  REQUIRE(one.engine->invalidate_cache({"m", {}, {}}, std::chrono::seconds(20)));
  server.run({"FLUSHALL"});
  one.clock->advance(CacheNamespace::kReadInterval);
  one.ask("b");
  const CacheKey table = CacheNamespace("m", {one.clock, {}, {}, {}, nullptr}).key();
  const auto reader = make_tier(patient(server.port()));
  CHECK(eventually([&] { return look_up(*reader, std::vector{table}).at(0).has_value(); }));
}
