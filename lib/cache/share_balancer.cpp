#include "cache/share_balancer.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace tidegate {
namespace {

/// By how many standard deviations of the sampled counts a move must pay.
constexpr double kSureness = 2;

/// Hits with 0, 1, ... parts of the memory: the smallest concave curve above the counts.
class ConcaveCurve {
 public:
  explicit ConcaveCurve(const ReuseCurve::Hits& hits) {
    for (std::size_t i = 0; i < ReuseCurve::kParts; ++i) total_[i + 1] = total_[i] + hits.by_part[i];
    std::size_t corners = 0;
    for (std::size_t i = 0; i < total_.size(); ++i) {
      while (corners >= 2 && slope(corners_[corners - 2], corners_[corners - 1]) <= slope(corners_[corners - 1], i)) {
        --corners;
      }
      corners_[corners++] = i;
    }
    for (std::size_t corner = 1; corner < corners; ++corner) {
      const double rise = slope(corners_[corner - 1], corners_[corner]);
      for (std::size_t i = corners_[corner - 1] + 1; i <= corners_[corner]; ++i) total_[i] = total_[i - 1] + rise;
    }
  }

  [[nodiscard]] double at(double parts) const {
    const double inside = std::clamp(parts, 0.0, static_cast<double>(ReuseCurve::kParts));
    const auto below = std::min(static_cast<std::size_t>(inside), ReuseCurve::kParts - 1);
    return total_[below] + (total_[below + 1] - total_[below]) * (inside - static_cast<double>(below));
  }

 private:
  [[nodiscard]] double slope(std::size_t from, std::size_t to) const {
    return (total_[to] - total_[from]) / static_cast<double>(to - from);
  }

  std::array<double, ReuseCurve::kParts + 1> total_{};
  std::array<std::size_t, ReuseCurve::kParts + 1> corners_{};
};

/// A share at an end of the move and the hits that the bytes are worth to it.
struct End {
  std::size_t share = 0;
  std::uint64_t bytes = 0;  ///< it can give or take, `step` at most
  double hits = 0;          ///< of these bytes
  [[nodiscard]] double density() const { return hits / static_cast<double>(bytes); }
};

}  // namespace

std::optional<ShareMove> best_move(std::span<const ShareView> shares, std::uint64_t part_bytes, std::uint64_t step) {
  std::optional<End> giver;
  std::vector<End> takers;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    const ShareView& share = shares[i];
    const ConcaveCurve curve(share.hits);
    const auto parts = [&](std::uint64_t bytes) {
      return static_cast<double>(bytes - std::min(bytes, share.overhead)) / static_cast<double>(part_bytes);
    };
    if (share.bytes > share.least) {
      const std::uint64_t bytes = std::min(step, share.bytes - share.least);
      const End end{i, bytes, curve.at(parts(share.bytes)) - curve.at(parts(share.bytes - bytes))};
      if (!giver || end.density() < giver->density()) giver = end;
    }
    if (share.bytes < share.most) {
      const std::uint64_t bytes = std::min(step, share.most - share.bytes);
      takers.push_back({i, bytes, curve.at(parts(share.bytes + bytes)) - curve.at(parts(share.bytes))});
    }
  }
  std::optional<End> taker;
  for (const End& end : takers) {
    if (giver && end.share != giver->share && (!taker || end.density() > taker->density())) taker = end;
  }
  if (!giver || !taker) return std::nullopt;
  const std::uint64_t bytes = std::min(giver->bytes, taker->bytes);
  const double gain = taker->density() * static_cast<double>(bytes);
  const double loss = giver->density() * static_cast<double>(bytes);
  const double chance = std::sqrt(gain * shares[taker->share].hits.weight + loss * shares[giver->share].hits.weight);
  if (gain - loss <= kSureness * chance) return std::nullopt;
  return ShareMove{giver->share, taker->share, bytes};
}

std::vector<std::uint64_t> sizes_with_room(std::span<const ShareView> shares, std::uint64_t bytes) {
  std::uint64_t spare = 0;
  for (const ShareView& share : shares) spare += share.bytes - std::min(share.bytes, share.least);
  std::vector<std::uint64_t> sizes;
  sizes.reserve(shares.size());
  for (const ShareView& share : shares) {
    const std::uint64_t has = share.bytes - std::min(share.bytes, share.least);
    const double part = spare == 0 ? 0 : static_cast<double>(has) / static_cast<double>(spare);
    const auto gives = static_cast<std::uint64_t>(std::ceil(part * static_cast<double>(bytes)));
    sizes.push_back(share.bytes - std::min(has, gives));
  }
  return sizes;
}

std::vector<std::uint64_t> sizes_with_gift(std::span<const ShareView> shares, std::uint64_t bytes) {
  std::vector<std::uint64_t> sizes;
  std::vector<std::size_t> open;
  for (const ShareView& share : shares) {
    if (share.bytes < share.most) open.push_back(sizes.size());
    sizes.push_back(share.bytes);
  }
  while (!open.empty() && bytes >= open.size()) {
    const std::uint64_t each = bytes / open.size();
    for (const std::size_t i : open) {
      const std::uint64_t gift = std::min(each, shares[i].most - sizes[i]);
      sizes[i] += gift;
      bytes -= gift;
    }
    std::erase_if(open, [&](std::size_t i) { return sizes[i] >= shares[i].most; });
  }
  return sizes;
}

}  // namespace tidegate
