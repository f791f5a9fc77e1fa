#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "tidegate/simulator.hpp"

using namespace tidegate;
using nlohmann::json;

namespace {

std::optional<json> shared_cases() {
  std::ifstream file(TIDEGATE_TEST_SHARED_DIR "/hpa_cases.json", std::ios::binary);
  if (!file) {
    MESSAGE("no hpa_cases.json under " TIDEGATE_TEST_SHARED_DIR ": the shared cases were not replayed");
    return std::nullopt;
  }
  return json::parse(file);
}

CaseReport replay(const json& file) {
  auto report = replay_hpa_cases(file.dump());
  REQUIRE_MESSAGE(report.has_value(), (report ? "" : report.error().text()));
  return *std::move(report);
}

std::string complaint(const json& file) {
  const auto report = replay_hpa_cases(file.dump());
  return report ? "" : report.error().text();
}

/// A file of one case that agrees.
json small_file() {
  return json::parse(R"({"schema_version": 1, "cases": [
    {"id": "one", "kind": "reconcile",
     "input": {"min": 1, "max": 9, "spec_replicas": 2, "recommendations": [],
       "metrics": [{"mode": "utilization", "resource": "cpu", "target": 50}],
       "pods": [{"name": "a", "usage": 900, "request": 1000}, {"name": "b", "usage": 900, "request": 1000}]},
     "expect": {"desired": 4, "reasons": {"ScalingActive": "ValidMetricFound"}}}]})");
}

/// Another value of the same type.
json changed(const json& value) {
  if (value.is_number()) return value.get<std::int64_t>() + 1;
  if (value.is_string()) return value.get<std::string>() + "?";
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_array()) {
    json longer = value;
    longer.push_back("ghost");
    return longer;
  }
  return "?";
}

}  // namespace

TEST_CASE("hpa cases: every shared case agrees") {
  const auto file = shared_cases();
  if (!file) return;
  const CaseReport report = replay(*file);
  CHECK_MESSAGE(report.failures.empty(), report.text());
  CHECK(report.total >= 145);
  CHECK(report.agreeing() == report.total);
}

TEST_CASE("hpa cases: changing any one expected result makes exactly that case fail, at that field") {
  const auto file = shared_cases();
  if (!file) return;
  for (const json& original : (*file)["cases"]) {
    for (const auto& [key, value] : original["expect"].items()) {
      json one = {{"schema_version", 1}, {"cases", {original}}};
      json& target = one["cases"][0]["expect"][key];
      std::string field = key;
      if (value.is_object()) {
        const std::string inner = value.begin().key();
        target[inner] = changed(value.begin().value());
        field += "." + inner;
      } else {
        target = changed(value);
      }
      const CaseReport report = replay(one);
      REQUIRE(report.failures.size() == 1);
      CHECK(report.failures[0].id == original["id"]);
      CHECK(report.failures[0].field == field);
      CHECK(report.failures[0].expected != report.failures[0].got);
    }
  }
}

TEST_CASE("hpa cases: other rules than the controller's make cases fail") {
  const auto file = shared_cases();
  if (!file) return;
  const auto failures_with = [&](auto&& change) {
    json mutated = *file;
    for (json& one : mutated["cases"]) change(one["kind"].get<std::string>(), one["input"]);
    return replay(mutated).failures.size();
  };
  CHECK(failures_with([](const std::string& kind, json& input) {
          if (kind == "metric") input["tolerance"] = 0.2;
          if (kind == "reconcile" && input.contains("config")) input["config"]["tolerance"] = 0.2;
        }) > 0);
  CHECK(failures_with([](const std::string&, json& input) {
          if (input.contains("config")) input["config"]["downscale_window_s"] = 0;
        }) > 0);
  CHECK(failures_with([](const std::string&, json& input) {
          if (input.contains("config")) input["config"]["cpu_init_period_s"] = 0;
          if (input.contains("cpu_init_period_s")) input["cpu_init_period_s"] = 0;
        }) > 0);
  CHECK(failures_with([](const std::string& kind, json& input) {
          if (kind == "clamp_rules") input["scale_up_factor"] = 2;
        }) > 0);
  CHECK(failures_with([](const std::string&, json& input) {
          for (const char* key : {"scale_up", "scale_down", "rules"}) {
            if (input.contains(key)) input[key]["select"] = "Min";
          }
        }) > 0);
}

TEST_CASE("hpa cases: the report names case, kind, field, expected and got") {
  json file = small_file();
  CHECK(replay(file).text() == "1 of 1 cases agree\n");
  file["cases"][0]["expect"]["desired"] = 5;
  CHECK(replay(file).text() == "0 of 1 cases agree\none (reconcile): desired: expected 5, got 4\n");
  file["cases"][0]["expect"] = {{"reasons", {{"ScalingActive", "Magic"}}}};
  CHECK(replay(file).text() ==
        "0 of 1 cases agree\none (reconcile): reasons.ScalingActive: expected \"Magic\", got \"ValidMetricFound\"\n");
  file["cases"][0]["expect"] = {{"colour", "blue"}};
  CHECK(replay(file).failures.at(0).got == "nothing");
}

TEST_CASE("hpa cases: a file with no cases agrees with nothing") {
  CHECK(replay({{"schema_version", 1}, {"cases", json::array()}}).text() == "0 of 0 cases agree\n");
}

TEST_CASE("hpa cases: a file that is not one is refused") {
  const auto refused = [](std::string_view text) {
    const auto report = replay_hpa_cases(text);
    return report ? std::string("accepted") : report.error().text();
  };
  CHECK(refused("") == "invalid_argument: case file: not JSON");
  CHECK(refused("{\"schema_version\": 1, \"cases\": [") == "invalid_argument: case file: not JSON");
  CHECK(refused(std::string(100000, '[')) == "invalid_argument: case file: not JSON");
  CHECK(refused(std::string(100000, '[') + std::string(100000, ']')) == "invalid_argument: case file: not JSON");
  CHECK(refused("[]") == "invalid_argument: case file: (case): must be an object");
  CHECK(refused("{\"schema_version\": 2, \"cases\": []}") == "version_mismatch: case file: schema_version is not 1");
  CHECK(refused("{\"cases\": []}") == "invalid_argument: case file: schema_version: is missing");
  CHECK(refused("{\"schema_version\": 1}") == "invalid_argument: case file: cases: is missing");
  CHECK(refused("{\"schema_version\": 1, \"cases\": 7}") == "invalid_argument: case file: cases: must be a list");
  CHECK(refused("{\"schema_version\": 1, \"cases\": [7]}") ==
        "invalid_argument: case file: case \"#0\", field (case): must be an object");
}

TEST_CASE("hpa cases: a malformed case is an error that names the case and the field") {
  struct Damage {
    const char* pointer;
    json value;
    const char* says;
  };
  const std::vector<Damage> damages = {
      {"/id", 3, "case \"#0\", field id: must be a string"},
      {"/kind", "dance", "case \"one\", field kind: unknown kind \"dance\""},
      {"/input", json(), "case \"one\", field input: is missing"},
      {"/expect", json::array(), "case \"one\", field expect: must be an object"},
      {"/expect", json::object(), "case \"one\", field expect: must name at least one result"},
      {"/input/min", "two", "case \"one\", field input.min: must be an integer below 2^63"},
      {"/input/min", 1.5, "case \"one\", field input.min: must be an integer below 2^63"},
      {"/input/min", 1e300, "case \"one\", field input.min: must be an integer below 2^63"},
      {"/input/max", 3000000000, "case \"one\", field input.max: must be an integer below 2^31"},
      {"/input/max", json(), "case \"one\", field input.max: is missing"},
      {"/input/max", 0, "hpa policy: max_replicas must be at least 1 and at least min_replicas"},
      {"/input/pods", 4, "case \"one\", field input.pods: must be a list"},
      {"/input/pods/1", "b", "case \"one\", field input.pods[1]: must be an object"},
      {"/input/pods/1/name", json(), "case \"one\", field input.pods[1].name: is missing"},
      {"/input/pods/1/phase", "Lost", "case \"one\", field input.pods[1].phase: must be Pending"},
      {"/input/pods/1/ready", "yes", "case \"one\", field input.pods[1].ready: must be true or false"},
      {"/input/pods/0/start_age_s", 1e12, "case \"one\", field input.pods[0].start_age_s: must be a number of seconds"},
      {"/input/metrics/0/target", 0, "hpa policy: metrics[0].target must be greater than 0"},
      {"/input/metrics/0/values", 5, "case \"one\", field input.metrics[0].values: must be a list of integers"},
      {"/input/recommendations", {{{"value", 3}}}, "case \"one\", field input.recommendations[0].age_s: is missing"},
      {"/input/scale_up", {{"select", "Most"}}, "case \"one\", field input.scale_up.select: must be Max, Min"},
      {"/input/scale_up",
       {{"policies", {{{"type", "Cows"}, {"value", 1}, {"period_s", 1}}}}},
       "case \"one\", field input.scale_up.policies[0].type: must be Pods or Percent"},
  };
  for (const Damage& damage : damages) {
    json file = small_file();
    file["cases"][0][json::json_pointer(damage.pointer)] = damage.value;
    CAPTURE(damage.pointer);
    CHECK(complaint(file).find(damage.says) != std::string::npos);
  }
}
