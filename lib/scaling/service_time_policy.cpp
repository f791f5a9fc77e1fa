// Replicas by the service times that the queues have learned.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "base/try.hpp"
#include "scaling/decision_builder.hpp"
#include "scaling/hpa_arithmetic.hpp"
#include "scaling/hpa_options.hpp"
#include "scaling/size_change.hpp"
#include "scaling/staffing.hpp"

namespace tidegate {
namespace {

using Condition = ScalingConditionType;
using staffing::Demand;

constexpr double kMilli = 1e6;          // nanoseconds
constexpr std::int32_t kMost = 10'000;  // replicas

/// Lanes that share slots.
struct Group {
  std::vector<const LaneLoad*> lanes;
  std::vector<Demand> demands;
  staffing::Traffic traffic;
  std::uint32_t slots_per_replica = 1;
};

/// Empty: enough is known to decide by.
std::string gap_in(const LaneLoad& lane) {
  if (lane.service.source == LatencySource::none) return "nothing is known of its batch times yet";
  constexpr std::uint64_t kEnough = 32;  // as for LatencyProfile's predictions
  if (lane.service.source == LatencySource::learned && lane.service.samples < kEnough) {
    return fmt::format("only {} of its batches have been timed", lane.service.samples);
  }
  if (lane.service.predict(1, 1, 1).mean <= Duration::zero()) return "its batch times are zero";
  if (lane.observed <= Duration::zero()) return "nothing is known of its arrivals yet";
  const LaneRate& recent = lane.arrivals_10s;
  const LaneRate& lasting = lane.arrivals_60s;
  for (const double rate : {recent.items, recent.tokens, lasting.items, lasting.tokens, lasting.squares}) {
    if (!(std::isfinite(rate) && rate >= 0)) return "its arrivals are not a number";
  }
  return {};
}

class ServiceTimePolicy final : public ScalingPolicy {
 public:
  explicit ServiceTimePolicy(const ServiceTimeOptions& options)
      : options_(options),
        aims_{options.target_utilization, options.slo, options.tail, options.backlog_time},
        rules_{options.min_replicas,
               options.max_replicas,
               hpa::with_defaults(options.behavior, kDownWindow),
               kDownWindow,
               {}} {}

  [[nodiscard]] std::string_view name() const noexcept override { return "service_time"; }

  [[nodiscard]] ScalingDecision decide(const ScalingSnapshot& snapshot, ScalingState state) const override {
    DecisionBuilder builder(std::move(state));
    builder.condition(Condition::able_to_scale, Truth::yes, "SucceededGetScale", "the current size is known");
    const std::int32_t current = snapshot.spec_replicas;
    remember_first_sight(snapshot, builder.state());
    const std::int32_t desired = choose(snapshot, builder);
    if (desired != current) hpa::record_change(rules_, snapshot, desired, builder);
    return std::move(builder).finish(desired);
  }

 private:
  static constexpr Duration kDownWindow = std::chrono::seconds(300);

  /// The current size enters the log, so a new policy does not shrink at once.
  static void remember_first_sight(const ScalingSnapshot& snapshot, ScalingState& state) {
    if (state.seen) return;
    state.seen = true;
    if (state.recommendations.empty()) state.recommendations.push_back({snapshot.spec_replicas, snapshot.now});
  }

  std::int32_t choose(const ScalingSnapshot& snapshot, DecisionBuilder& builder) const {
    const std::int32_t current = snapshot.spec_replicas;
    const std::int32_t bounded = std::clamp(current, options_.min_replicas, options_.max_replicas);
    if (bounded != current) {
      builder.step("gate", current, bounded, current < bounded ? "below min_replicas" : "above max_replicas");
      return bounded;
    }
    const std::map<std::string, Group> groups = group_lanes(snapshot, builder);
    const bool complete = groups.size() > 0 && count_lanes(groups) == snapshot.lanes.size();
    std::int32_t wanted = 0;
    for (const auto& [name, group] : groups) wanted = std::max(wanted, staff(name, group, current, builder));
    // What is not known may need what there is.
    if (groups.empty() || (!complete && wanted < current)) {
      builder.condition(Condition::scaling_active, Truth::no, "MissingServiceTimes",
                        "the size stays while a model's times or arrivals are not known");
      return current;
    }
    builder.condition(Condition::scaling_active, Truth::yes, "ServiceTimesKnown",
                      "the desired size was computed from service times");
    return hpa::normalize(rules_, snapshot, std::max(wanted, options_.min_replicas), builder);
  }

  static std::size_t count_lanes(const std::map<std::string, Group>& groups) {
    std::size_t lanes = 0;
    for (const auto& [name, group] : groups) lanes += group.lanes.size();
    return lanes;
  }

  /// Those of which enough is known; a step says what is missing of each of the others.
  std::map<std::string, Group> group_lanes(const ScalingSnapshot& snapshot, DecisionBuilder& builder) const {
    std::map<std::string, Group> groups;
    if (snapshot.lanes.empty()) {
      builder.step("lanes", snapshot.spec_replicas, snapshot.spec_replicas, "the snapshot names no model");
    }
    for (const LaneLoad& lane : snapshot.lanes) {
      if (const std::string gap = gap_in(lane); !gap.empty()) {
        builder.step("lane " + lane.model, snapshot.spec_replicas, snapshot.spec_replicas, gap);
        continue;
      }
      Group& group = groups[lane.pool.empty() ? "lane " + lane.model : "pool " + lane.pool];
      group.slots_per_replica = std::max({1U, group.slots_per_replica, lane.slots_per_replica});
      group.lanes.push_back(&lane);
      group.demands.push_back(staffing::demand_of(lane, aims_));
      group.traffic.add(group.demands.back());
    }
    return groups;
  }

  /// The fewest replicas whose slots are not too busy and whose waits leave every lane its time.
  std::int32_t staff(const std::string& name, const Group& group, std::int32_t current,
                     DecisionBuilder& builder) const {
    const double per_replica = group.slots_per_replica;
    const double by_load = std::ceil(group.traffic.load / (options_.target_utilization * per_replica));
    const auto least = static_cast<std::int32_t>(std::min(by_load, static_cast<double>(options_.max_replicas)));
    std::int32_t low = std::max(1, least);
    std::int32_t high = options_.max_replicas;
    if (low < high && !keeps_slo(group, low)) {
      // More slots never wait longer.
      while (low < high) {
        const std::int32_t middle = low + (high - low) / 2;
        (keeps_slo(group, middle) ? high : low) = keeps_slo(group, middle) ? middle : middle + 1;
      }
    }
    const std::uint32_t slots = slots_of(group, low);
    const double wait = group.traffic.wait_ns(slots, options_.tail);
    for (std::size_t i = 0; i < group.lanes.size(); ++i) {
      builder.step("lane " + group.lanes[i]->model, current, low, describe(*group.lanes[i], group.demands[i], wait));
    }
    builder.step(name + " load", current, low,
                 fmt::format("{:.2f} of {} slots busy, {:.2f} at most; by load alone {}", group.traffic.load, slots,
                             options_.target_utilization * slots, std::max(1, least)));
    return low;
  }

  [[nodiscard]] static std::uint32_t slots_of(const Group& group, std::int32_t replicas) {
    return group.slots_per_replica * static_cast<std::uint32_t>(replicas);
  }

  [[nodiscard]] bool keeps_slo(const Group& group, std::int32_t replicas) const {
    const double wait = group.traffic.wait_ns(slots_of(group, replicas), options_.tail);
    return std::all_of(group.demands.begin(), group.demands.end(), [&](const Demand& demand) {
      // Where one item alone takes longer, no number of replicas helps.
      return demand.slo_ns <= 0 || !demand.slo_holds || wait + demand.batch_tail_ns <= demand.slo_ns;
    });
  }

  [[nodiscard]] std::string describe(const LaneLoad& lane, const Demand& demand, double wait) const {
    if (demand.items_per_s <= 0) return "nothing arrives and nothing waits";
    const std::string_view quantile = options_.tail == TailQuantile::p95 ? "p95" : "p99";
    std::string why = fmt::format(
        "{:.1f} items/s of {:.1f} tokens, {} of them waiting; a batch of {:.0f} takes {:.3f} ms ({} {:.3f}), {:.4f} ms "
        "a "
        "token; wait {} {:.3f} ms",
        demand.items_per_s, demand.mean_tokens(), lane.queued_items, demand.batch, demand.batch_ns / kMilli, quantile,
        demand.batch_tail_ns / kMilli, demand.token_ns() / kMilli, quantile, wait / kMilli);
    if (demand.slo_ns > 0) why += fmt::format(", SLO {:.3f} ms", demand.slo_ns / kMilli);
    if (!demand.slo_holds) why += ": one item alone takes longer, so the SLO is left out";
    return why;
  }

  ServiceTimeOptions options_;
  staffing::Aims aims_;
  hpa::SizeRules rules_;
};

Error out_of_range(std::string_view option, std::string_view range) {
  return Error(ErrorCode::invalid_argument, fmt::format("service_time policy: {} must be {}", option, range));
}

}  // namespace

Result<std::unique_ptr<ScalingPolicy>> make_service_time_policy(ServiceTimeOptions options) {
  if (options.min_replicas < 1) return out_of_range("min_replicas", "1 or more");
  if (options.max_replicas < options.min_replicas || options.max_replicas > kMost) {
    return out_of_range("max_replicas", "min_replicas to 10000");
  }
  if (!(options.target_utilization > 0 && options.target_utilization < 1)) {
    return out_of_range("target_utilization", "above 0 and below 1");
  }
  if (options.slo < Duration::zero()) return out_of_range("slo", "0 (none) or more");
  if (options.backlog_time <= Duration::zero()) return out_of_range("backlog_time", "above 0");
  TIDEGATE_CHECK(hpa::validate_behavior("service_time", options.behavior));
  return std::unique_ptr<ScalingPolicy>(std::make_unique<ServiceTimePolicy>(options));
}

}  // namespace tidegate
