#include "queue/load_meter.hpp"

#include <algorithm>

namespace tidegate {
namespace {

constexpr std::int64_t kNano = 1'000'000'000;

/// Rounded down, also before the clock's start.
std::int64_t second_of(TimePoint time) noexcept {
  const std::int64_t ns = time.time_since_epoch().count();
  return ns / kNano - (ns % kNano < 0 ? 1 : 0);
}

}  // namespace

LoadMeter::Second& LoadMeter::turn_to(TimePoint now) noexcept {
  const std::int64_t number = second_of(now);
  current_ = static_cast<std::uint64_t>(number) % kSeconds;
  // The last second of the clock has no end it could tell.
  constexpr std::int64_t kLast = std::numeric_limits<std::int64_t>::max() / kNano;
  current_end_ = number >= kLast ? kNoDeadline : TimePoint(Duration((number + 1) * kNano));
  Second& second = seconds_[current_];
  if (second.number != number) {
    second = {};
    second.number = number;
  }
  return second;
}

void LoadMeter::served(TimePoint now, const BatchShape& shape, Duration time) noexcept {
  Second& second = at(now);
  second.served.add(shape);
  second.busy_ns += static_cast<double>(std::max(Duration::zero(), time).count());
}

Duration LoadMeter::observed(TimePoint now) const noexcept {
  return started_ == kNoDeadline ? Duration::zero() : std::max(Duration::zero(), Duration(now - started_));
}

template <class Add>
double LoadMeter::for_each(TimePoint now, std::int64_t seconds, const Add& add) const noexcept {
  const std::int64_t last = second_of(now);
  for (const Second& second : seconds_) {
    if (second.number != kNone && second.number <= last && second.number >= last - seconds) add(second);
  }
  // The second that is not over counts for as much of it as has passed.
  const double whole = static_cast<double>(seconds) +
                       static_cast<double>(now.time_since_epoch().count() - last * kNano) / static_cast<double>(kNano);
  const double counted = std::chrono::duration<double>(observed(now)).count();
  // In the first moments a single arrival would look like a flood.
  return std::clamp(counted, 1.0, whole);
}

LaneRate LoadMeter::rate(TimePoint now, std::int64_t seconds, Sum Second::*which) const noexcept {
  LaneRate rate;
  const double time = for_each(now, seconds, [&](const Second& second) {
    rate.items += (second.*which).items;
    rate.tokens += (second.*which).tokens;
    rate.squares += (second.*which).squares;
  });
  rate.items /= time;
  rate.tokens /= time;
  rate.squares /= time;
  return rate;
}

LaneRate LoadMeter::arrivals(TimePoint now, std::int64_t seconds) const noexcept {
  return rate(now, seconds, &Second::arrived);
}

LaneRate LoadMeter::served(TimePoint now, std::int64_t seconds) const noexcept {
  return rate(now, seconds, &Second::served);
}

double LoadMeter::busy_slots(TimePoint now, std::int64_t seconds) const noexcept {
  double busy = 0;
  const double time = for_each(now, seconds, [&](const Second& second) { busy += second.busy_ns; });
  return busy / static_cast<double>(kNano) / time;
}

}  // namespace tidegate
