// The options every command that loads a model shares, and the engine they make.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "tidegate/tidegate.hpp"

namespace tidegate::program {

struct ModelArguments {
  std::string model;
  std::string precision = "f32";
  std::uint32_t threads = 0;  ///< set from the machine by add_model_options
  std::uint32_t max_batch_size = 32;
};

/// Adds --model, --precision, --threads and --max-batch-size.
void add_model_options(CLI::App& command, ModelArguments& arguments);

/// An engine that serves the model under the name "model". Errors: of the load.
[[nodiscard]] Result<Engine> open_engine(const ModelArguments& arguments, const CacheOptions& cache);

/// Cores this process may use: affinity and cgroup quota, at least 1.
[[nodiscard]] std::uint32_t usable_cores();

/// The cgroup's CPU quota in cores; 0 = none.
[[nodiscard]] double cgroup_cpu_quota();

}  // namespace tidegate::program
