#include "queue/ratio_histogram.hpp"

#include <algorithm>
#include <cmath>

namespace tidegate {

void RatioHistogram::record(double ratio) noexcept {
  const double place = (std::log2(ratio) + kOctaves) * kPerOctave;
  const double bucket = std::clamp(place, 0.0, static_cast<double>(kBuckets - 1));
  weights_[static_cast<std::size_t>(bucket)] += unit_;
  total_ += unit_;
  unit_ *= kGrowth;
  constexpr double kLargest = 1e100;
  if (unit_ < kLargest) return;
  for (double& weight : weights_) weight /= unit_;
  total_ /= unit_;
  unit_ = 1;
}

double RatioHistogram::quantile(double q) const noexcept {
  if (total_ <= 0) return 1;
  double left = q * total_;
  std::size_t bucket = 0;
  while (bucket + 1 < kBuckets && left > weights_[bucket]) left -= weights_[bucket++];
  const double inside = weights_[bucket] > 0 ? std::min(1.0, left / weights_[bucket]) : 1.0;
  return std::exp2((static_cast<double>(bucket) + inside) / kPerOctave - kOctaves);
}

}  // namespace tidegate
