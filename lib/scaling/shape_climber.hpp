// ShapeClimber: whether a neighbouring division of the cores would serve more, by trying it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tidegate/shape.hpp"
#include "tidegate/time.hpp"

namespace tidegate {

/// Ten seconds of a shape that serves.
struct ShapeSample {
  TimePoint now{};
  Duration observed{0};     ///< since when the shape serves
  double utilization = 0;   ///< of its slots
  double tokens_per_s = 0;  ///< served
  bool in_slo = true;       ///< a request that came now would be answered within the SLO
};

/// A hill-climb. What a shape could serve at most is what it served over its utilization. While the load is
/// 0.7 or more, and after as many samples of the present shape as of a trial, a neighbour is tried; it stays
/// if it serves at least 3 % more, by more than two standard errors, and breaks the SLO no more often than the former;
/// else the former returns, and the neighbour is left alone for ten minutes, then twice as long each time.
/// Pure: no clock, no lock. The driver makes the change before the next call, or says that it `failed`.
class ShapeClimber {
 public:
  /// `start` and the shapes of the same cores in between 1 x cores and cores x 1.
  ShapeClimber(std::uint32_t cores, ReplicaShape start);

  struct Decision {
    ShapeStep step = ShapeStep::stay;
    ReplicaShape shape{};  ///< that is to serve
    std::string why;
  };
  [[nodiscard]] Decision decide(const ShapeSample& sample);

  /// The change that was just decided could not be made: the shape that served before serves on.
  void failed(TimePoint now);

  [[nodiscard]] ReplicaShape shape() const noexcept { return shapes_[current_].shape; }

  static constexpr double kLeastLoad = 0.7;
  static constexpr double kLeastGain = 0.03;
  static constexpr std::uint32_t kSamples = 8;
  static constexpr Duration kWindow = std::chrono::seconds(10);
  static constexpr Duration kFirstPause = std::chrono::minutes(10);
  static constexpr Duration kLongestPause = std::chrono::hours(4);
  static constexpr Duration kLongestTrial = std::chrono::minutes(10);

 private:
  struct Known {
    ReplicaShape shape{};
    TimePoint not_before = TimePoint::min();  ///< it is not tried earlier
    Duration pause = kFirstPause;
  };
  /// Capacities that were seen since the shape began to serve.
  struct Record {
    std::uint32_t count = 0;
    std::uint32_t late = 0;
    double mean = 0;
    double squares = 0;  ///< sum of squared deviations
    void add(double value, bool in_slo) noexcept;
    [[nodiscard]] double squared_error() const noexcept;
  };
  [[nodiscard]] std::optional<std::size_t> neighbour(TimePoint now) const noexcept;
  [[nodiscard]] Decision judge(TimePoint now);
  [[nodiscard]] Decision go_back(TimePoint now, std::string why);
  void leave_alone(std::size_t index, TimePoint now);

  std::vector<Known> shapes_;  ///< from 1 x cores to cores x 1
  std::size_t current_ = 0;
  std::optional<std::size_t> former_{};  ///< set during a trial
  std::size_t last_tried_ = 0;
  std::size_t left_ = 0;  ///< that served before the last decision
  Record present_{};
  Record before_{};  ///< of the former shape, during a trial
  TimePoint trial_began_{};
  TimePoint next_sample_ = TimePoint::min();
};

}  // namespace tidegate
