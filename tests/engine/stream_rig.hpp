// StreamRig: an EngineRig that serves iterative models, and a consumer that takes notes.
#pragma once

#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include "engine/engine_rig.hpp"
#include "support/step_runner.hpp"

namespace tidegate::test {

/// What one stream has given so far. Fails the test case where chunks are out of order or
/// something follows the end.
struct Taken {
  int chunks = 0;
  std::optional<Result<Response>> end;

  void add(StreamEvent event) {
    REQUIRE_FALSE(end);
    if (auto* chunk = std::get_if<Chunk>(&event)) {
      CHECK(chunk->index == static_cast<std::uint64_t>(chunks));
      CHECK(chunk->tensors.at(0).as<float>()[0] == static_cast<float>(chunks));
      ++chunks;
    } else {
      end.emplace(std::move(std::get<Result<Response>>(event)));
    }
  }
  /// Everything that is there.
  void take_from(Stream& stream) {
    while (auto event = stream.try_next()) add(*std::move(event));
  }
  [[nodiscard]] bool ended_with(ErrorCode code) const { return end && !*end && end->error().code() == code; }
  [[nodiscard]] bool answered() const { return end && end->has_value(); }
};

/// Asks for the next event from within the callback, until the end.
inline void pull(Stream& stream, Taken& taken, int most = std::numeric_limits<int>::max()) {
  REQUIRE(stream.next([&stream, &taken, most](StreamEvent event) {
    taken.add(std::move(event));
    if (!taken.end && taken.chunks < most) pull(stream, taken, most);
  }));
}

struct StreamRig : EngineRig {
  std::shared_ptr<std::atomic<int>> alive = std::make_shared<std::atomic<int>>(0);  ///< states

  explicit StreamRig(StepRunner::OnStep on_step = {}, ModelOptions model = {}, std::uint32_t replicas = 1) {
    std::vector<Replica> set;
    for (std::uint32_t i = 0; i < replicas; ++i) set.push_back({std::make_unique<StepRunner>(on_step, alive), {}});
    REQUIRE(engine->add_model("step", std::move(set), model));
  }

  Stream open(std::string text, RequestOptions options = {}, StreamOptions stream = {}) {
    auto opened = engine->stream({"step", std::move(text), std::move(options)}, stream);
    REQUIRE(opened);
    return *std::move(opened);
  }
  [[nodiscard]] double gauge(const char* name) const { return engine->metrics().value(name, {{"model", "step"}}); }
};

}  // namespace tidegate::test
