// simulate --queue-trace: recorded arrivals on the queue that runs live.
#pragma once

#include <string>

#include "command.hpp"
#include "tidegate/simulator.hpp"

namespace tidegate::program {

struct QueueArguments {
  std::string trace;
  QueueReplayOptions replay;
  double base_us = 0;
  double token_us = 0;
  double square_ns = 0;
  double row_us = 0;
  std::uint64_t queue_delay_us = 0;
  std::size_t explain = 0;  ///< decisions to print
  std::string service_profile;
  bool autoscale = false;
  ServiceTimeOptions scaling;
  double slo_ms = 0;
  double replica_start_ms = 0;
  double scaling_interval_ms = 2000;
  double scale_down_window_s = 300;
};

/// Declares its options; answers the one that chooses it.
CLI::Option* add_queue_options(CLI::App& command, QueueArguments& arguments);

[[nodiscard]] Result<int> simulate_queue(QueueArguments arguments, bool as_json);

}  // namespace tidegate::program
