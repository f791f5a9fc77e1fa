// LaneLoad: what the queue of one model knows of its load, for those who size replicas.
#pragma once

#include <cstdint>
#include <string>

#include "tidegate/latency.hpp"
#include "tidegate/time.hpp"

namespace tidegate {

/// Mean rates over a while, per second.
struct LaneRate {
  double items = 0;  ///< rows
  double tokens = 0;
  double squares = 0;  ///< squared lengths, as in LatencyProfile
};

/// Of one model. Arrivals are requests that need a computation of their own, with those refused for
/// want of room or time: joined and cached ones cost no replica anything.
struct LaneLoad {
  std::string model{};
  std::string pool{};        ///< lanes of one pool share their slots; empty = its own
  LatencyProfile service{};  ///< s(tokens) with as many batches at a time as there are slots
  Duration observed{0};      ///< how long arrivals have been counted; zero = nothing is known of them
  LaneRate arrivals_10s{};
  LaneRate arrivals_60s{};
  LaneRate served_10s{};       ///< in batches that have ended
  double utilization_10s = 0;  ///< share of the slots' time in which batches ran, 0 to 1
  std::uint64_t queued_items = 0;
  std::uint64_t queued_tokens = 0;
  std::uint32_t slots = 0;  ///< batches that run at a time now, all replicas together
  std::uint32_t slots_per_replica = 1;
  std::uint32_t max_batch_size = 32;
  std::uint64_t max_batch_tokens = 16384;
  Duration slo{0};  ///< arrival to answer (ModelOptions::slo); 0 = none
};

}  // namespace tidegate
