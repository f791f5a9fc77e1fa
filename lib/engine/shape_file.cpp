#include "engine/shape_file.hpp"

#include "base/sha256.hpp"
#include "engine/json_reading.hpp"

namespace tidegate {
namespace {

constexpr std::int64_t kVersion = 1;
constexpr double kLongest = 1e14;  // nanoseconds

/// A whole number within 1 and `most`.
std::optional<std::uint64_t> whole(const JsonTree* tree, double most) {
  const auto value = number(tree);
  if (!value || *value < 1 || *value > most || *value != std::floor(*value)) return std::nullopt;
  return static_cast<std::uint64_t>(*value);
}

std::optional<ShapePoint> read_point(const JsonTree& tree) {
  const auto length = whole(member(tree, "length"), 1e9);
  const auto items = whole(member(tree, "items"), 1e6);
  const auto time = whole(member(tree, "time_ns"), kLongest);
  if (!length || !items || !time) return std::nullopt;
  return ShapePoint{*length, static_cast<std::uint32_t>(*items), Duration(static_cast<Duration::rep>(*time))};
}

std::optional<ShapeMeasurement> read_measurement(const JsonTree& tree) {
  constexpr double kMostCores = 256;
  const auto replicas = whole(member(tree, "replicas"), kMostCores);
  const auto threads = whole(member(tree, "threads"), kMostCores);
  const JsonTree* const points = member(tree, "points");
  const auto* list = points == nullptr ? nullptr : points->as<JsonTree::Array>();
  if (!replicas || !threads || list == nullptr || list->empty()) return std::nullopt;
  ShapeMeasurement measured{{static_cast<std::uint32_t>(*replicas), static_cast<std::uint32_t>(*threads)}, {}};
  for (const JsonTree& one : *list) {
    const auto point = read_point(one);
    if (!point) return std::nullopt;
    measured.points.push_back(*point);
  }
  return measured;
}

}  // namespace

std::string shape_file_name(const ShapeKey& key) {
  Sha256 digest;
  digest.update(std::as_bytes(std::span(key.fingerprint))).update_field(key.processor).update_u64(key.cores);
  constexpr std::size_t kDigits = 16;
  return "tidegate-shape-" + to_hex(digest.finish()).substr(0, kDigits) + ".json";
}

std::string write_shapes(const ShapeKey& key, const std::vector<ShapeMeasurement>& measured) {
  JsonTree::Array shapes;
  for (const ShapeMeasurement& one : measured) {
    JsonTree::Array points;
    for (const ShapePoint& point : one.points) {
      points.push_back({JsonTree::Object{{"length", {point.length}},
                                         {"items", {std::int64_t{point.items}}},
                                         {"time_ns", {std::int64_t{point.time.count()}}}}});
    }
    shapes.push_back({JsonTree::Object{{"replicas", {std::int64_t{one.shape.replicas}}},
                                       {"threads", {std::int64_t{one.shape.threads}}},
                                       {"points", {std::move(points)}}}});
  }
  return write_json_tree({JsonTree::Object{{"tidegate_shapes", {kVersion}},
                                           {"fingerprint", {to_hex(key.fingerprint)}},
                                           {"processor", {key.processor}},
                                           {"cores", {std::int64_t{key.cores}}},
                                           {"shapes", {std::move(shapes)}}}}) +
         "\n";
}

std::optional<std::vector<ShapeMeasurement>> read_shapes(std::string_view text, const ShapeKey& key) {
  const auto tree = parse_json_tree(text);
  if (!tree || !is_number(member(*tree, "tidegate_shapes"), kVersion) ||
      !is_text(member(*tree, "fingerprint"), to_hex(key.fingerprint)) ||
      !is_text(member(*tree, "processor"), key.processor) || !is_number(member(*tree, "cores"), key.cores)) {
    return std::nullopt;
  }
  const JsonTree* const shapes = member(*tree, "shapes");
  const auto* list = shapes == nullptr ? nullptr : shapes->as<JsonTree::Array>();
  const std::vector<ReplicaShape> expected = shapes_of(key.cores);
  if (list == nullptr || list->size() != expected.size()) return std::nullopt;
  std::vector<ShapeMeasurement> measured;
  for (std::size_t i = 0; i < list->size(); ++i) {
    auto one = read_measurement((*list)[i]);
    if (!one || one->shape != expected[i]) return std::nullopt;
    measured.push_back(*std::move(one));
  }
  return measured;
}

}  // namespace tidegate
