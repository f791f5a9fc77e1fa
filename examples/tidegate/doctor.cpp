// tidegate doctor: what this machine has and what Tidegate can use of it.
#include <fmt/core.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <sstream>

#include "command.hpp"
#include "model_options.hpp"
#include "output.hpp"

namespace tidegate::program {
namespace {

/// Value of the first "key : value" line of a /proc file.
std::string proc_value(const char* path, const std::string& key) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind(key, 0) != 0) continue;
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::size_t start = line.find_first_not_of(" \t", colon + 1);
    return start == std::string::npos ? "" : line.substr(start);
  }
  return "";
}

nlohmann::json instruction_sets() {
  static constexpr const char* kOfInterest[] = {"sse4_2",   "avx",      "avx2",        "fma",         "f16c",
                                                "avx_vnni", "avx512f",  "avx512_vnni", "avx512_bf16", "avx512_fp16",
                                                "amx_bf16", "amx_int8", "sha_ni"};
  std::istringstream flags(proc_value("/proc/cpuinfo", "flags"));
  const std::vector<std::string> present{std::istream_iterator<std::string>(flags), {}};
  nlohmann::json found = nlohmann::json::array();
  for (const char* name : kOfInterest) {
    if (std::find(present.begin(), present.end(), name) != present.end()) found.push_back(name);
  }
  return found;
}

/// Bytes the cgroup allows; null = no limit.
nlohmann::json cgroup_memory_limit() {
  std::ifstream file("/sys/fs/cgroup/memory.max");
  std::uint64_t bytes = 0;
  if (file >> bytes) return bytes;
  return nullptr;
}

std::uint64_t memory_bytes(const char* key) {
  return std::strtoull(proc_value("/proc/meminfo", key).c_str(), nullptr, 10) * 1024;
}

nlohmann::json examine() {
  nlohmann::json report;
  report["tidegate"] = {{"version", version_string()}, {"build_id", build_id()}};
  const double quota = cgroup_cpu_quota();
  report["cpu"] = {{"model", proc_value("/proc/cpuinfo", "model name")},
                   {"usable_cores", usable_cores()},
                   {"cgroup_quota_cores", quota > 0 ? nlohmann::json(quota) : nlohmann::json(nullptr)},
                   {"instruction_sets", instruction_sets()}};
  report["memory"] = {{"total_bytes", memory_bytes("MemTotal")},
                      {"available_bytes", memory_bytes("MemAvailable")},
                      {"cgroup_limit_bytes", cgroup_memory_limit()}};
  report["modules"] = nlohmann::json::array();
  for (const ModuleReport& module : probe_modules()) {
    nlohmann::json facts = nlohmann::json::object();
    for (const auto& [key, value] : module.facts) facts[key] = value;
    report["modules"].push_back({{"name", module.name},
                                 {"path", module.path},
                                 {"usable", module.trouble.empty()},
                                 {"trouble", module.trouble},
                                 {"facts", facts}});
  }
  return report;
}

void print_report(const nlohmann::json& report) {
  const auto& cpu = report["cpu"];
  fmt::print("tidegate   {} ({})\n", report["tidegate"]["version"].get<std::string>(),
             report["tidegate"]["build_id"].get<std::string>());
  fmt::print("cpu        {}, {} usable cores", cpu["model"].get<std::string>(), cpu["usable_cores"].get<int>());
  if (!cpu["cgroup_quota_cores"].is_null())
    fmt::print(", cgroup quota {:.2f}", cpu["cgroup_quota_cores"].get<double>());
  fmt::print("\nsets      ");
  for (const auto& name : cpu["instruction_sets"]) fmt::print(" {}", name.get<std::string>());
  constexpr double kGiB = 1024.0 * 1024 * 1024;
  const auto& memory = report["memory"];
  fmt::print("\nmemory     {:.1f} GiB, {:.1f} GiB available", memory["total_bytes"].get<double>() / kGiB,
             memory["available_bytes"].get<double>() / kGiB);
  if (!memory["cgroup_limit_bytes"].is_null()) {
    fmt::print(", cgroup limit {:.1f} GiB", memory["cgroup_limit_bytes"].get<double>() / kGiB);
  }
  fmt::print("\n");
  for (const auto& module : report["modules"]) {
    const bool usable = module["usable"].get<bool>();
    fmt::print("module     {}: {}\n", module["name"].get<std::string>(),
               usable ? module["path"].get<std::string>() : "not usable: " + module["trouble"].get<std::string>());
    for (const auto& [key, value] : module["facts"].items())
      fmt::print("           {} {}\n", key, value.get<std::string>());
  }
}

}  // namespace

Action add_doctor(CLI::App& app) {
  const auto json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("doctor", "Show CPU, limits, memory, modules and versions");
  command->add_flag("--json", *json, "Print one JSON object");
  return [json]() -> Result<int> {
    const nlohmann::json report = examine();
    *json ? print_json(report) : print_report(report);
    return 0;
  };
}

}  // namespace tidegate::program
