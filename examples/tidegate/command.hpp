// One subcommand of the program: declares its options, then runs.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "tidegate/result.hpp"

namespace tidegate::program {

/// What a subcommand answers: the process's exit code, or the error to print.
using Action = std::function<Result<int>()>;

// Each adds its subcommand to `app` and answers what to run when it was chosen.
[[nodiscard]] Action add_bench(CLI::App& app);
[[nodiscard]] Action add_cache(CLI::App& app);
[[nodiscard]] Action add_doctor(CLI::App& app);
[[nodiscard]] Action add_encode(CLI::App& app);
[[nodiscard]] Action add_simulate(CLI::App& app);
[[nodiscard]] Action add_tokenize(CLI::App& app);

}  // namespace tidegate::program
