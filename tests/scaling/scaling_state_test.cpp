#include <doctest/doctest.h>

#include "scaling_fixtures.hpp"

using namespace tidegate;
using namespace tidegate::test;
using std::chrono::seconds;

namespace {

ScalingState full_state() {
  ScalingState state;
  state.seen = true;
  state.scaled_to_zero = true;
  state.recommendations = {{5, TimePoint{} - seconds(3)}, {-2147483647, TimePoint{} + seconds(9)}};
  state.ups = {{2, TimePoint{} - seconds(1), true}};
  state.downs = {{2147483647, TimePoint{}, false}};
  return state;
}

std::string refusal(std::string_view text) {
  const auto state = ScalingState::load(text, TimePoint{});
  return state ? "" : state.error().text();
}

}  // namespace

TEST_CASE("scaling state: the saved text, to the byte, and back") {
  const std::string text = full_state().save(TimePoint{});
  CHECK(text ==
        "tidegate-scaling-state 1\nseen\nscaled_to_zero\nrecommendation 5 3000000000\n"
        "recommendation -2147483647 -9000000000\nup 2 1000000000 outdated\ndown 2147483647 0 fresh\n");
  const auto loaded = ScalingState::load(text, TimePoint{});
  REQUIRE(loaded.has_value());
  CHECK(*loaded == full_state());
  CHECK(*ScalingState::load(ScalingState{}.save(TimePoint{}), TimePoint{}) == ScalingState{});
}

TEST_CASE("scaling state: loading with another clock keeps the ages") {
  const auto loaded = ScalingState::load(full_state().save(TimePoint{}), TimePoint{} + seconds(1000));
  REQUIRE(loaded.has_value());
  CHECK(loaded->recommendations[0].at == TimePoint{} + seconds(997));
}

TEST_CASE("scaling state: damaged text is refused with its line") {
  const std::string header = "tidegate-scaling-state 1\n";
  CHECK(refusal("") == "corrupt_data: scaling state: line 1 is not its header");
  CHECK(refusal("tidegate-scaling-state 2\n") ==
        "version_mismatch: scaling state: written in another version of the format");
  for (const char* line :
       {"sleepy", "seen twice", "recommendation", "recommendation 5", "recommendation 5 x", "recommendation 5 1 2",
        "recommendation 99999999999 1", "recommendation  5 1", "up 2 1", "up 0 1 fresh", "up 2 1 stale",
        "down -2 1 fresh", "recommendation 5 99999999999999999999"}) {
    CAPTURE(line);
    CHECK(refusal(header + "seen\n" + line + "\n") == "corrupt_data: scaling state: line 3 is damaged");
  }
}

TEST_CASE("scaling state: no prefix of a saved text is taken for more than it is") {
  const std::string text = full_state().save(TimePoint{});
  for (std::size_t length = 0; length < text.size(); ++length) {
    const auto loaded = ScalingState::load(text.substr(0, length), TimePoint{});
    if (!loaded) continue;
    CHECK(loaded->recommendations.size() <= 2);
    CHECK(loaded->ups.size() <= 1);
  }
}
