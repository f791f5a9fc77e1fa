// tidegate bench --stream: chunks of a synthetic iterative model, one stream after the
// other and together.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>

#include "tidegate/result.hpp"

namespace tidegate::program {

struct StreamBenchArguments {
  std::size_t streams = 0;  ///< 0 = no streams are measured
  std::size_t in_flight = 32;
  std::uint32_t chunks = 64;
  std::uint32_t base_us = 2000;
  std::uint32_t per_token_us = 20;
  std::uint32_t prompt_chunk = 0;
};

/// Adds --stream and the options of the model it uses.
void add_stream_options(CLI::App& command, StreamBenchArguments& arguments);

/// Measures and prints; `json`: one JSON object.
enum class Print : std::uint8_t { table, json };
[[nodiscard]] Result<int> bench_streams(const StreamBenchArguments& arguments, std::uint32_t max_batch_size,
                                        Print print);

}  // namespace tidegate::program
