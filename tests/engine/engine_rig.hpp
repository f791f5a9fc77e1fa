// EngineRig: an engine whose clock, workers and completions the test drives by hand.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/fake_runner.hpp"
#include "support/manual_clock.hpp"
#include "support/manual_executor.hpp"
#include "tidegate/engine.hpp"

namespace tidegate::test {

struct EngineRig {
  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>();
  std::shared_ptr<ManualExecutor> workers = std::make_shared<ManualExecutor>();
  std::shared_ptr<ManualExecutor> completions = std::make_shared<ManualExecutor>();
  std::shared_ptr<FakeRunner::Log> log = std::make_shared<FakeRunner::Log>();
  std::optional<Engine> engine;

  explicit EngineRig(ModelOptions model = {}, CacheOptions cache = {},
                     std::function<void(std::span<BatchItem>)> on_run = {}, std::uint32_t replicas = 1) {
    EngineOptions options;
    options.cache = std::move(cache);
    options.clock = clock;
    options.workers = workers;
    options.completions = completions;
    options.drain_timeout = Duration::zero();
    engine.emplace(*Engine::create(std::move(options)));
    std::vector<Replica> set;
    for (std::uint32_t i = 0; i < replicas; ++i) set.push_back({std::make_unique<FakeRunner>(log, on_run), {}});
    REQUIRE(engine->add_model("fake", std::move(set), model));
  }

  /// Runs everything that is waiting, completions and batches, until nothing is.
  void settle() {
    while (workers->run_all() + completions->run_all() > 0) {
    }
  }

  Request request(std::string text, RequestOptions options = {}) { return {"", std::move(text), options}; }
};

/// Collects the answers of one request; counts how often it was called.
struct Answer {
  int calls = 0;
  std::optional<Result<Response>> result;

  Engine::Callback callback() {
    return [this](Result<Response> r) {
      ++calls;
      result.emplace(std::move(r));
    };
  }
  [[nodiscard]] bool has(ErrorCode code) const { return result && !*result && result->error().code() == code; }
  [[nodiscard]] bool answered() const { return result && result->has_value(); }
};

}  // namespace tidegate::test
