// tidegate: the program. Exit codes: 0 success, 1 failure, 2 bad usage.
#include <fmt/core.h>

#include <exception>
#include <map>

#include "command.hpp"
#include "tidegate/version.hpp"

namespace {

int run(int argc, char** argv) {
  CLI::App app("Runs, measures and checks text models through the Tidegate library");
  app.set_version_flag("--version", std::string("tidegate ") + tidegate::version_string());
  app.require_subcommand(1);
  app.footer("Every command takes --help and --json. Exit codes: 0 success, 1 failure, 2 bad usage.");
  using namespace tidegate::program;
  const Action actions[] = {add_encode(app), add_tokenize(app), add_bench(app),
                            add_doctor(app), add_simulate(app), add_cache(app)};
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const auto subcommands = app.get_subcommands(nullptr);
  for (std::size_t i = 0; i < subcommands.size(); ++i) {
    if (!subcommands[i]->parsed()) continue;
    const auto outcome = actions[i]();
    if (outcome) return *outcome;
    fmt::print(stderr, "tidegate {}: {}\n", subcommands[i]->get_name(), outcome.error().text());
    return outcome.error().code() == tidegate::ErrorCode::invalid_argument ? 2 : 1;
  }
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "tidegate: {}\n", error.what());
    return 1;
  }
}
