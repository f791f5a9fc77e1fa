// Which division of a model's cores is the best, by what was measured of each.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "tidegate/shape.hpp"
#include "tidegate/time.hpp"

namespace tidegate {

/// A batch that every replica of a shape ran at the same time.
struct ShapePoint {
  std::uint64_t length = 1;  ///< tokens of one item
  std::uint32_t items = 1;
  Duration time{0};  ///< mean over the replicas
  bool operator==(const ShapePoint&) const = default;
};

struct ShapeMeasurement {
  ReplicaShape shape{};
  std::vector<ShapePoint> points;
  bool operator==(const ShapeMeasurement&) const = default;
};

/// {1 x cores, 2 x cores/2, cores x 1}, without those that are equal.
[[nodiscard]] std::vector<ReplicaShape> shapes_of(std::uint32_t cores);

struct ShapeChoice {
  std::size_t index = 0;  ///< into the measurements
  std::string why;        ///< one line for each shape
};

/// Items per second at each length, in the largest batch that is done twice within `slo` (0 = none): it may have
/// to wait for one. A length at which no batch is, counts against the shape. Of the shapes with the
/// fewest of these the one with the greatest mean; a later one has to serve 3 % more than one before it.
/// `measured` is not empty; lengths that were not measured of all of them do not count.
[[nodiscard]] ShapeChoice choose_shape(std::span<const ShapeMeasurement> measured, Duration slo);

}  // namespace tidegate
