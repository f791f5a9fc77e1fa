// The options every command that loads a model shares, and the engine they make.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "output.hpp"
#include "tidegate/tidegate.hpp"

namespace tidegate::program {

struct ModelArguments {
  std::string model;
  std::string precision = "f32";
  std::string isa;
  std::string pack_folder;
  std::string calibration;    ///< file; empty = none
  std::uint32_t threads = 0;  ///< set from the machine by add_model_options
  std::uint32_t cores = 0;    ///< above 0: divided into replicas and threads by measuring, whatever `threads` says
  std::uint32_t max_batch_size = 32;
};

/// Adds --model, --precision, --isa, --pack-folder, --calibration, --threads, --cores and
/// --max-batch-size.
void add_model_options(CLI::App& command, ModelArguments& arguments);

/// The options of the model; `bar` (1000 parts) shows how far packing is and must outlive
/// the load. Errors: of reading the calibration file; invalid_argument (it holds no text,
/// or the precision needs none).
[[nodiscard]] Result<TextEncoderOptions> encoder_options(const ModelArguments& arguments, ProgressBar& bar);

/// Calls `load` with the options of the model and a bar. Errors: of both.
template <class Load>
auto load_with_bar(const ModelArguments& arguments, Load load) -> decltype(load(TextEncoderOptions())) {
  ProgressBar bar("packing", 1000, "");
  auto options = encoder_options(arguments, bar);
  if (!options) return std::move(options).error();
  return load(*options);
}

/// An engine that serves the model under the name "model". Errors: of load_with_bar.
[[nodiscard]] Result<Engine> open_engine(const ModelArguments& arguments, const CacheOptions& cache);

/// Cores this process may use: affinity and cgroup quota, at least 1.
[[nodiscard]] std::uint32_t usable_cores();

/// The cgroup's CPU quota in cores; 0 = none.
[[nodiscard]] double cgroup_cpu_quota();

}  // namespace tidegate::program
