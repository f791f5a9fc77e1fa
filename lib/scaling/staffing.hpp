// Staffing: how many slots a load needs, by what the queue knows of batch times.
//
// Waiting times are those of Erlang C, corrected for the spread of batch times as by Allen
// and Cunneen; batches arrive as often as full ones would.
#pragma once

#include <cstdint>

#include "tidegate/lane_load.hpp"
#include "tidegate/scaling.hpp"

namespace tidegate::staffing {

/// The share of requests in `servers` slots with `load` of them busy on average that finds all
/// taken: Erlang C. 0 <= load < servers, else 1.
[[nodiscard]] double share_that_waits(std::uint32_t servers, double load) noexcept;

/// What one lane asks of its slots. Nanoseconds, seconds where named so.
struct Demand {
  double items_per_s = 0;  ///< what arrives and what waits, together
  double tokens_per_s = 0;
  double batch = 1;          ///< items: the largest batch that the SLO permits
  double batch_ns = 0;       ///< its mean time
  double batch_tail_ns = 0;  ///< and what that exceeds once in twenty, or a hundred
  double spread = 0;         ///< standard deviation of a batch's time over its mean
  double load = 0;           ///< slots that are busy on average
  double slo_ns = 0;         ///< 0 = none
  bool slo_holds = true;     ///< false: one item alone takes longer

  [[nodiscard]] double token_ns() const noexcept {
    return batch * mean_tokens() > 0 ? batch_ns / (batch * mean_tokens()) : 0;
  }
  [[nodiscard]] double mean_tokens() const noexcept { return items_per_s > 0 ? tokens_per_s / items_per_s : 0; }
};

struct Aims {
  double target_utilization = 0.7;
  Duration slo{0};  ///< of lanes without one
  TailQuantile tail = TailQuantile::p95;
  Duration backlog_time = std::chrono::seconds(5);
};

/// Of a lane with known service times.
[[nodiscard]] Demand demand_of(const LaneLoad& lane, const Aims& aims) noexcept;

/// What goes through one set of slots.
struct Traffic {
  double load = 0;  ///< slots busy on average
  double batches_per_s = 0;
  double squared_spread = 0;  ///< of batch times, weighted by load

  void add(const Demand& demand) noexcept;
  /// Nanoseconds that one request in twenty (a hundred) waits for a slot, or longer; infinite where
  /// the slots cannot keep up.
  [[nodiscard]] double wait_ns(std::uint32_t servers, TailQuantile tail) const noexcept;
};

}  // namespace tidegate::staffing
