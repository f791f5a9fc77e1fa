// tidegate simulate: replays recorded autoscaling cases on the policy that runs live.
#include <fmt/core.h>

#include <fstream>
#include <memory>
#include <sstream>

#include "command.hpp"
#include "output.hpp"
#include "tidegate/simulator.hpp"

namespace tidegate::program {
namespace {

struct Arguments {
  std::string cases;
  bool json = false;
};

Result<int> simulate(const Arguments& arguments) {
  std::ifstream file(arguments.cases, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    return Error(ErrorCode::not_found, fmt::format("cannot read the case file '{}'", arguments.cases));
  }
  const auto report = replay_hpa_cases(text.str());
  if (!report) {
    return Error(report.error().code(), fmt::format("{}: {}", arguments.cases, report.error().message()));
  }
  if (arguments.json) {
    nlohmann::json failures = nlohmann::json::array();
    for (const CaseFailure& failure : report->failures) {
      failures.push_back({{"id", failure.id},
                          {"kind", failure.kind},
                          {"field", failure.field},
                          {"expected", failure.expected},
                          {"got", failure.got}});
    }
    print_json({{"cases", report->total}, {"agree", report->agreeing()}, {"failures", failures}});
  } else {
    fmt::print("{}\n", report->text());
  }
  return report->failures.empty() ? 0 : 1;
}

}  // namespace

Action add_simulate(CLI::App& app) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("simulate", "Replay a file of HorizontalPodAutoscaler cases on the hpa policy");
  command->add_option("--cases", arguments->cases, "Case file (JSON)")->required();
  command->add_flag("--json", arguments->json, "Print one JSON object");
  return [arguments] { return simulate(*arguments); };
}

}  // namespace tidegate::program
