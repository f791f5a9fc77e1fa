#include "scaling/staffing.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tidegate::staffing {
namespace {

constexpr double kNano = 1e9;

double seconds(Duration time) noexcept { return std::chrono::duration<double>(time).count(); }

/// Of the recent rate only what is more than chance, so that a few seconds of luck add no replica.
double demand_rate(double recent, double lasting) noexcept {
  constexpr double kWindow = 10;  // seconds
  return std::max(lasting, recent - std::sqrt(std::max(recent, 1.0) / kWindow));
}

/// A normal deviate's standard deviations to the quantile that the tail names.
double spread_of(const LatencyProfile& service) noexcept {
  constexpr double kTo95 = 1.645;
  return std::clamp((service.tail95 - 1) / kTo95, 0.0, 10.0);
}

double tail_ns(const PredictedTime& time, TailQuantile tail) noexcept {
  return static_cast<double>((tail == TailQuantile::p95 ? time.p95 : time.p99).count());
}

/// The most items, `most` at most and 1 at least, whose time, which grows with them, is within the limit.
template <class TimeOf>
double largest_within(double limit_ns, double most, const TimeOf& time_of) {
  double least = 1;
  while (least < most) {
    const double middle = std::ceil((least + most) / 2);
    const bool fits = time_of(middle) <= limit_ns;
    least = fits ? middle : least;
    most = fits ? most : middle - 1;
  }
  return least;
}

}  // namespace

double share_that_waits(std::uint32_t servers, double load) noexcept {
  if (!(load < static_cast<double>(servers))) return 1;
  if (load <= 0) return 0;
  // Erlang B, one server after the other: stable for thousands of them.
  double blocked = 1;
  for (std::uint32_t n = 1; n <= servers; ++n) blocked = load * blocked / (n + load * blocked);
  const double busy = load / servers;
  return blocked / (1 - busy * (1 - blocked));
}

Demand demand_of(const LaneLoad& lane, const Aims& aims) noexcept {
  Demand demand;
  const LaneRate& recent = lane.arrivals_10s;
  const LaneRate& lasting = lane.arrivals_60s;
  const double arriving = demand_rate(recent.items, lasting.items);
  const LaneRate& typical = lasting.items > 0 ? lasting : recent;
  const double backlog_s = seconds(aims.backlog_time);
  const double waiting = static_cast<double>(lane.queued_items);
  demand.items_per_s = arriving + waiting / backlog_s;
  if (demand.items_per_s <= 0) return demand;
  const double length = typical.items > 0 ? typical.tokens / typical.items
                        : waiting > 0     ? static_cast<double>(lane.queued_tokens) / waiting
                                          : 1;
  const double squares = std::max(length * length, typical.items > 0 ? typical.squares / typical.items : 0);
  demand.tokens_per_s = arriving * length + static_cast<double>(lane.queued_tokens) / backlog_s;
  demand.spread = spread_of(lane.service);
  demand.slo_ns = static_cast<double>((lane.slo > Duration::zero() ? lane.slo : aims.slo).count());
  const auto time_of = [&](double items) { return lane.service.predict(items, items * length, items * squares); };
  const auto tail_of = [&](double items) { return tail_ns(time_of(items), aims.tail); };
  const double by_tokens = std::floor(static_cast<double>(lane.max_batch_tokens) / std::max(1.0, length));
  double most = std::clamp(by_tokens, 1.0, static_cast<double>(std::max(1U, lane.max_batch_size)));
  if (demand.slo_ns > 0) {
    demand.slo_holds = tail_of(1) <= demand.slo_ns;
    // Half of the SLO is for the batch, the other for the wait before it.
    most = largest_within(demand.slo_ns / 2, most, tail_of);
  }
  demand.batch = most;
  const PredictedTime time = time_of(most);
  demand.batch_ns = static_cast<double>(time.mean.count());
  demand.batch_tail_ns = tail_ns(time, aims.tail);
  demand.load = demand.tokens_per_s / length * demand.batch_ns / most / kNano;
  return demand;
}

void Traffic::add(const Demand& demand) noexcept {
  if (demand.load <= 0) return;
  const double square = demand.spread * demand.spread;
  squared_spread = (squared_spread * load + square * demand.load) / (load + demand.load);
  load += demand.load;
  batches_per_s += demand.items_per_s / demand.batch;
}

double Traffic::wait_ns(std::uint32_t servers, TailQuantile tail) const noexcept {
  if (load <= 0) return 0;
  const double spare = static_cast<double>(servers) - load;
  if (spare <= 0) return std::numeric_limits<double>::infinity();
  const double often = tail == TailQuantile::p95 ? 0.05 : 0.01;
  const double waits = share_that_waits(servers, load);
  if (waits <= often) return 0;
  const double mean_s = load / batches_per_s;
  return mean_s * (1 + squared_spread) / 2 / spare * std::log(waits / often) * kNano;
}

}  // namespace tidegate::staffing
