#include "scaling/shape_choice.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace tidegate {
namespace {

/// What a later shape has to serve more.
constexpr double kLeastGain = 1.03;

/// Of one shape at one length.
struct Best {
  double items_per_s = 0;
  std::uint32_t items = 0;
  bool in_time = false;
};

double rate_of(const ShapeMeasurement& measured, const ShapePoint& point) {
  const double seconds = std::chrono::duration<double>(point.time).count();
  return seconds > 0 ? measured.shape.replicas * point.items / seconds : 0;
}

std::map<std::uint64_t, Best> best_of(const ShapeMeasurement& measured, Duration slo) {
  std::map<std::uint64_t, Best> best;
  for (const ShapePoint& point : measured.points) {
    if (point.time <= Duration::zero()) continue;
    Best& known = best[point.length];
    const bool in_time = slo <= Duration::zero() || point.time <= slo / 2;
    const double rate = rate_of(measured, point);
    // Too late anyway, it is the least late one that counts.
    const bool better = in_time != known.in_time ? in_time
                        : in_time                ? rate > known.items_per_s
                                                 : known.items == 0 || point.items < known.items;
    if (better) known = {rate, point.items, in_time};
  }
  return best;
}

struct Score {
  std::uint32_t late = 0;     ///< lengths
  double log_rate = 0;        ///< mean logarithm of the items a second
  std::uint32_t largest = 0;  ///< batch
  std::uint32_t lengths = 0;
  [[nodiscard]] double rate() const { return lengths == 0 ? 0 : std::exp(log_rate); }
};

Score score_of(const std::map<std::uint64_t, Best>& best, const std::set<std::uint64_t>& lengths) {
  Score score;
  for (const std::uint64_t length : lengths) {
    const Best& one = best.at(length);
    score.late += one.in_time ? 0 : 1;
    score.log_rate += std::log(std::max(one.items_per_s, 1e-9));
    score.largest = std::max(score.largest, one.items);
    ++score.lengths;
  }
  if (score.lengths > 0) score.log_rate /= score.lengths;
  return score;
}

}  // namespace

std::vector<ReplicaShape> shapes_of(std::uint32_t cores) {
  cores = std::max(1U, cores);
  std::vector<ReplicaShape> shapes;
  for (const ReplicaShape shape : {ReplicaShape{1, cores}, ReplicaShape{2, cores / 2}, ReplicaShape{cores, 1}}) {
    if (shape.threads > 0 && std::find(shapes.begin(), shapes.end(), shape) == shapes.end()) shapes.push_back(shape);
  }
  return shapes;
}

ShapeChoice choose_shape(std::span<const ShapeMeasurement> measured, Duration slo) {
  std::vector<std::map<std::uint64_t, Best>> best;
  std::map<std::uint64_t, std::size_t> seen;
  for (const ShapeMeasurement& one : measured) {
    best.push_back(best_of(one, slo));
    for (const auto& [length, unused] : best.back()) ++seen[length];
  }
  std::set<std::uint64_t> lengths;
  for (const auto& [length, times] : seen) {
    if (times == measured.size()) lengths.insert(length);
  }
  ShapeChoice choice;
  std::vector<Score> scores;
  for (std::size_t i = 0; i < measured.size(); ++i) {
    scores.push_back(score_of(best[i], lengths));
    const Score& own = scores[i];
    const Score& chosen = scores[choice.index];
    const bool more = own.late == chosen.late && own.rate() >= chosen.rate() * kLeastGain;
    if (i > 0 && (own.late < chosen.late || more)) choice.index = i;
    choice.why += fmt::format("{} x {}: {:.1f} items/s in batches of up to {}", measured[i].shape.replicas,
                              measured[i].shape.threads, own.rate(), own.largest);
    if (own.late > 0) choice.why += fmt::format(", {} of {} lengths beyond the SLO", own.late, own.lengths);
    choice.why += '\n';
  }
  if (!measured.empty()) {
    choice.why +=
        fmt::format("chosen: {} x {}\n", measured[choice.index].shape.replicas, measured[choice.index].shape.threads);
  }
  return choice;
}

}  // namespace tidegate
