// Which division of a model's cores is chosen, and when another is tried.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <random>

#include "scaling/shape_choice.hpp"
#include "scaling/shape_climber.hpp"

using namespace tidegate;
using namespace std::chrono_literals;

namespace {

/// What a model gains by threads, and what its replicas lose to each other, as factors of a batch's time.
struct Costs {
  std::function<double(std::uint32_t)> speedup;
  std::function<double(std::uint32_t)> contention;
  Duration base = 1ms;
  Duration per_item = 1ms;

  [[nodiscard]] Duration time(ReplicaShape shape, std::uint32_t items) const {
    const double work = static_cast<double>((base + items * per_item).count());
    return Duration(static_cast<std::int64_t>(work / speedup(shape.threads) * contention(shape.replicas)));
  }
  [[nodiscard]] std::vector<ShapeMeasurement> measure(std::uint32_t cores) const {
    std::vector<ShapeMeasurement> measured;
    for (const ReplicaShape shape : shapes_of(cores)) {
      ShapeMeasurement one{shape, {}};
      for (const std::uint64_t length : {8U, 64U}) {
        for (const std::uint32_t items : {1U, 2U, 4U, 8U}) one.points.push_back({length, items, time(shape, items)});
      }
      measured.push_back(one);
    }
    return measured;
  }
  /// Of four cores.
  [[nodiscard]] ReplicaShape best(Duration slo = 0s) const {
    const auto measured = measure(4);
    return measured[choose_shape(measured, slo).index].shape;
  }
};

double none(std::uint32_t) { return 1; }
double linear(std::uint32_t threads) { return threads; }
/// Half of the work runs on one core.
double with_serial_part(std::uint32_t threads) { return 1 / (0.5 + 0.5 / threads); }
/// Two threads use all the memory can give one replica, and four replicas get in each other's way.
double up_to_two(std::uint32_t threads) { return std::min(1.0 + 0.9 * (threads - 1), 2.1); }
double bandwidth(std::uint32_t replicas) { return replicas <= 2 ? 1.0 : 1.0 * replicas / 2; }

/// Every replica costs the others a tenth.
double crowding(std::uint32_t replicas) { return 1 + 0.1 * (replicas - 1); }

constexpr ReplicaShape kWide{1, 4};
constexpr ReplicaShape kMiddle{2, 2};
constexpr ReplicaShape kNarrow{4, 1};

}  // namespace

TEST_CASE("the shapes of cores are one with all, two with half each and one on each") {
  using Shapes = std::vector<ReplicaShape>;
  CHECK(shapes_of(1) == Shapes{{1, 1}});
  CHECK(shapes_of(2) == Shapes{{1, 2}, {2, 1}});
  CHECK(shapes_of(3) == Shapes{{1, 3}, {2, 1}, {3, 1}});
  CHECK(shapes_of(8) == Shapes{{1, 8}, {2, 4}, {8, 1}});
}

TEST_CASE("each of three cost models gets the shape that is best for it") {
  // Threads gain all they can: one replica answers soonest, and the others serve no more.
  CHECK(Costs{linear, none}.best() == kWide);
  CHECK(Costs{up_to_two, bandwidth}.best() == kMiddle);
  CHECK(Costs{with_serial_part, none}.best() == kNarrow);
}

TEST_CASE("noise of 2 % does not change the shape that is best") {
  std::mt19937 random(1);
  std::normal_distribution<double> noise(1, 0.02);
  for (int i = 0; i < 200; ++i) {
    for (const auto& [costs, best] : {std::pair{Costs{linear, crowding}, kWide},
                                      {Costs{up_to_two, bandwidth}, kMiddle},
                                      {Costs{with_serial_part, none}, kNarrow}}) {
      auto measured = costs.measure(4);
      for (ShapeMeasurement& one : measured) {
        for (ShapePoint& point : one.points) {
          point.time = Duration(static_cast<std::int64_t>(static_cast<double>(point.time.count()) * noise(random)));
        }
      }
      CHECK(measured[choose_shape(measured, 0s).index].shape == best);
    }
  }
}

TEST_CASE("the SLO decides: a shape that serves more but answers too late is not chosen") {
  const Costs costs{with_serial_part, none, 8ms, 2ms};
  // One item: 10 ms alone on a core, 6.25 ms on four. Twice that has to fit.
  CHECK(costs.best(0s) == kNarrow);
  CHECK(costs.best(40ms) == kNarrow);
  CHECK(costs.best(19ms) == kMiddle);
  CHECK(costs.best(13ms) == kWide);
  // Where none fits, the one that serves the most stays ahead.
  CHECK(costs.best(1ms) == kNarrow);
  const auto measured = costs.measure(4);
  CHECK(choose_shape(measured, 13ms).why.find("2 of 2 lengths beyond the SLO") != std::string::npos);
  CHECK(choose_shape(measured, 13ms).why.find("chosen: 1 x 4") != std::string::npos);
}

TEST_CASE("only lengths that were measured of every shape are compared") {
  auto measured = Costs{with_serial_part, none}.measure(4);
  // A length at which the first shape alone looks splendid.
  measured[0].points.push_back({512, 1, 1us});
  CHECK(measured[choose_shape(measured, 0s).index].shape == kNarrow);
}

namespace {

/// A model under load: what each shape could serve, seen through noise.
struct LiveModel {
  std::function<double(ReplicaShape)> capacity;
  double noise = 0.02;
  double load = 0.85;
  std::function<bool(ReplicaShape)> in_slo = [](ReplicaShape) { return true; };
  std::mt19937 random{1};
  TimePoint now{1h};
  TimePoint since{0h};
  int attempts = 0, kept = 0, gone_back = 0;

  ShapeClimber::Decision step(ShapeClimber& climber) {
    now += 10s;
    const double seen = std::normal_distribution<double>(1, noise)(random);
    const double capacity_now = capacity(climber.shape()) * std::max(0.1, seen);
    const ShapeSample sample{now, now - since, load, capacity_now * load, in_slo(climber.shape())};
    const auto decision = climber.decide(sample);
    attempts += decision.step == ShapeStep::attempt ? 1 : 0;
    kept += decision.step == ShapeStep::keep ? 1 : 0;
    gone_back += decision.step == ShapeStep::go_back ? 1 : 0;
    if (decision.step == ShapeStep::attempt || decision.step == ShapeStep::go_back) since = now;
    return decision;
  }
  void run(ShapeClimber& climber, Duration time) {
    for (const TimePoint end = now + time; now < end;) step(climber);
  }
};

}  // namespace

TEST_CASE("the hill-climb finds the best of eight cores' shapes from either end") {
  const auto capacity = [](ReplicaShape shape) {
    return shape == ReplicaShape{2, 4} ? 1200.0 : shape == ReplicaShape{4, 2} ? 1400.0 : 1000.0;
  };
  for (const ReplicaShape start : {ReplicaShape{1, 8}, ReplicaShape{8, 1}}) {
    LiveModel model{capacity};
    ShapeClimber climber(8, start);
    model.run(climber, 2h);
    CHECK(climber.shape() == ReplicaShape{4, 2});
    CHECK(model.kept <= 2);
  }
}

TEST_CASE("shapes that differ by noise of 2 % do not take turns") {
  int kept = 0;
  int attempts = 0;
  for (std::uint32_t seed = 1; seed <= 50; ++seed) {
    LiveModel model{[](ReplicaShape) { return 1000.0; }};
    model.random.seed(seed);
    ShapeClimber climber(4, kMiddle);
    model.run(climber, 24h);
    CHECK(model.attempts == model.kept + model.gone_back);
    kept += model.kept;
    attempts += model.attempts;
    // Ten minutes, twice as long each time, four hours at most, for each of two neighbours.
    CHECK(model.attempts <= 24);
  }
  // A false gain is one in about 700 trials.
  CHECK(attempts > 500);
  CHECK(kept <= 5);
}

TEST_CASE("a gain below 3 % is not kept, one well above it is, and numbers say why") {
  for (const double gain : {0.0, 0.01, 0.1}) {
    LiveModel model{[&](ReplicaShape shape) { return shape.replicas == 2 ? 1000 * (1 + gain) : 1000.0; }};
    model.noise = 0.002;
    ShapeClimber climber(2, {1, 2});
    std::string why;
    for (int i = 0; i < 40; ++i) {
      const auto decision = model.step(climber);
      if (decision.step == ShapeStep::keep || decision.step == ShapeStep::go_back) why = decision.why;
    }
    CHECK(climber.shape().replicas == (gain > 0.03 ? 2 : 1));
    CHECK(why.find("tokens/s at most") != std::string::npos);
    CHECK(why.find("2 x 1") != std::string::npos);
  }
}

TEST_CASE("below a load of 0.7 nothing is tried, and a trial that loses its load ends") {
  LiveModel model{[](ReplicaShape shape) { return 1000.0 * shape.replicas; }};
  model.load = 0.69;
  ShapeClimber climber(2, {1, 2});
  model.run(climber, 5h);
  CHECK(model.attempts == 0);
  model.load = 0.7;
  while (model.attempts == 0) model.step(climber);
  CHECK(climber.shape() == ReplicaShape{2, 1});
  model.load = 0.1;
  model.run(climber, 15min);
  CHECK(model.gone_back == 1);
  CHECK(climber.shape() == ReplicaShape{1, 2});
}

TEST_CASE("a shape that serves more but breaks the SLO goes back") {
  LiveModel model{[](ReplicaShape shape) { return 1000.0 * shape.replicas; }};
  model.in_slo = [](ReplicaShape shape) { return shape.replicas == 1; };
  ShapeClimber climber(2, {1, 2});
  model.run(climber, 10min);
  CHECK(model.attempts == 1);
  CHECK(climber.shape() == ReplicaShape{1, 2});
}

TEST_CASE("a change that could not be made leaves the shape that serves") {
  LiveModel model{[](ReplicaShape shape) { return 1000.0 * shape.replicas; }};
  ShapeClimber climber(2, {1, 2});
  while (model.attempts == 0) model.step(climber);
  climber.failed(model.now);
  CHECK(climber.shape() == ReplicaShape{1, 2});
  // It is left alone for ten minutes.
  model.run(climber, 9min);
  CHECK(model.attempts == 1);
  model.run(climber, 5min);
  CHECK(model.attempts == 2);
}

TEST_CASE("windows that overlap count once, and one core has nothing to climb") {
  ShapeClimber climber(4, kWide);
  for (int i = 0; i < 1000; ++i) {
    const auto decision = climber.decide({TimePoint(1h + i * 10ms), 1h, 0.9, 900, true});
    CHECK(decision.step == ShapeStep::stay);
  }
  ShapeClimber single(1, {1, 1});
  CHECK(single.decide({TimePoint(1h), 1h, 1, 900, true}).step == ShapeStep::stay);
}
