#include "scaling/shape_climber.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace tidegate {
namespace {

std::string text_of(ReplicaShape shape) { return fmt::format("{} x {}", shape.replicas, shape.threads); }

/// By halving the threads: neighbours differ by a factor of two, or by what is left at the end.
std::vector<ReplicaShape> ladder_of(std::uint32_t cores) {
  cores = std::max(1U, cores);
  std::vector<ReplicaShape> shapes;
  for (std::uint32_t threads = cores; threads > 1; threads /= 2) shapes.push_back({cores / threads, threads});
  shapes.push_back({cores, 1});
  return shapes;
}

}  // namespace

ShapeClimber::ShapeClimber(std::uint32_t cores, ReplicaShape start) {
  for (const ReplicaShape shape : ladder_of(cores)) shapes_.push_back({shape});
  const auto same = [&](const Known& known) { return known.shape == start; };
  auto found = std::find_if(shapes_.begin(), shapes_.end(), same);
  if (found == shapes_.end()) {
    const auto more = [&](const Known& known) { return known.shape.replicas > start.replicas; };
    found = shapes_.insert(std::find_if(shapes_.begin(), shapes_.end(), more), Known{start});
  }
  current_ = last_tried_ = static_cast<std::size_t>(found - shapes_.begin());
}

void ShapeClimber::Record::add(double value, bool in_slo) noexcept {
  ++count;
  late += in_slo ? 0 : 1;
  const double off = value - mean;
  mean += off / count;
  squares += off * (value - mean);
}

double ShapeClimber::Record::squared_error() const noexcept { return count < 2 ? 0 : squares / (count - 1) / count; }

/// Towards the side that was not tried last, so that one that is left alone does not hide the other.
std::optional<std::size_t> ShapeClimber::neighbour(TimePoint now) const noexcept {
  std::optional<std::size_t> found;
  for (const std::size_t index : {current_ + 1, current_ - 1}) {
    if (index >= shapes_.size() || shapes_[index].not_before > now) continue;
    if (!found || index != last_tried_) found = index;
  }
  return found;
}

void ShapeClimber::leave_alone(std::size_t index, TimePoint now) {
  Known& known = shapes_[index];
  known.not_before = now + known.pause;
  known.pause = std::min(2 * known.pause, kLongestPause);
}

ShapeClimber::Decision ShapeClimber::go_back(TimePoint now, std::string why) {
  leave_alone(current_, now);
  current_ = *std::exchange(former_, std::nullopt);
  present_ = {};
  return {ShapeStep::go_back, shape(), std::move(why)};
}

void ShapeClimber::failed(TimePoint now) {
  if (left_ == current_) return;
  leave_alone(current_, now);
  current_ = left_;
  former_.reset();
  present_ = {};
}

ShapeClimber::Decision ShapeClimber::judge(TimePoint now) {
  const double gain = present_.mean / before_.mean - 1;
  const double error = std::sqrt(present_.squared_error() + before_.squared_error()) / before_.mean;
  std::string why = fmt::format(
      "{}: {:.0f} tokens/s at most, {}: {:.0f}; {:+.1f} %, standard error {:.1f} %, beyond the "
      "SLO {} of {} times instead of {}",
      text_of(shape()), present_.mean, text_of(shapes_[*former_].shape), before_.mean, gain * 100, error * 100,
      present_.late, present_.count, before_.late);
  if (gain < kLeastGain || gain <= 2 * error || present_.late > before_.late) return go_back(now, std::move(why));
  leave_alone(*former_, now);
  former_.reset();
  return {ShapeStep::keep, shape(), std::move(why)};
}

ShapeClimber::Decision ShapeClimber::decide(const ShapeSample& sample) {
  left_ = current_;
  const auto stay = [&](std::string why) { return Decision{ShapeStep::stay, shape(), std::move(why)}; };
  if (shapes_.size() < 2) return stay("there is no other shape");
  const TimePoint now = sample.now;
  // Counted per window: samples that overlap would pass for more than they are.
  if (sample.observed < kWindow || now < next_sample_) return stay("the next ten seconds are not over");
  const bool busy = sample.utilization >= kLeastLoad && sample.tokens_per_s > 0 && std::isfinite(sample.tokens_per_s);
  if (busy) {
    present_.add(sample.tokens_per_s / std::min(1.0, sample.utilization), sample.in_slo);
    next_sample_ = now + kWindow;
  }
  if (former_) {
    if (present_.count >= kSamples) return judge(now);
    if (now - trial_began_ >= kLongestTrial) return go_back(now, "the load fell before the trial was over");
    return stay(fmt::format("{} is tried: {} of {} samples", text_of(shape()), present_.count, kSamples));
  }
  if (!busy) return stay(fmt::format("load {:.2f}, below {:.2f}", sample.utilization, kLeastLoad));
  if (present_.count < kSamples) return stay(fmt::format("{} of {} samples", present_.count, kSamples));
  const std::optional<std::size_t> next = neighbour(now);
  if (!next) {
    present_ = {};  // a trial compares with what was seen just before
    return stay("the neighbours were tried of late");
  }
  before_ = std::exchange(present_, Record{});
  former_ = std::exchange(current_, *next);
  last_tried_ = *next;
  trial_began_ = now;
  next_sample_ = TimePoint::min();
  return {ShapeStep::attempt, shape(),
          fmt::format("load {:.2f}; {} serves {:.0f} tokens/s at most", sample.utilization,
                      text_of(shapes_[*former_].shape), before_.mean)};
}

}  // namespace tidegate
