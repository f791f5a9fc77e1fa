#include "engine/profile_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>

#include "base/sha256.hpp"
#include "engine/json_reading.hpp"

namespace tidegate {
namespace {

constexpr std::int64_t kVersion = 1;

std::string_view layout_name(BatchLayout layout) { return layout == BatchLayout::packed ? "packed" : "padded"; }

std::optional<LatencyMemory::Level> read_level(const JsonTree& tree) {
  LatencyMemory::Level level;
  const auto samples = number(member(tree, "samples"));
  const JsonTree* const numbers = member(tree, "coefficients_ns");
  const auto* list = numbers == nullptr ? nullptr : numbers->as<JsonTree::Array>();
  if (!samples || *samples > 1e15 || list == nullptr || list->size() != level.coefficients.size()) return std::nullopt;
  level.samples = static_cast<std::uint64_t>(*samples);
  // A batch may take a day and a token of it no more than that.
  constexpr double kMost = 1e14;
  double sum = 0;
  for (std::size_t i = 0; i < list->size(); ++i) {
    const auto value = number(&(*list)[i]);
    if (!value || *value > kMost) return std::nullopt;
    level.coefficients[i] = *value;
    sum += *value;
  }
  if (level.samples > 0 && sum <= 0) return std::nullopt;
  return level;
}

}  // namespace

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (colon != std::string::npos && line.starts_with("model name")) return line.substr(colon + 2);
  }
  return "unknown";
}

ProfileKey profile_key(const ModelInfo& info) {
  return {info.fingerprint, processor_name(), info.threads, info.layout};
}

std::string profile_name(const ProfileKey& key) {
  Sha256 digest;
  digest.update(std::as_bytes(std::span(key.fingerprint))).update_field(key.processor).update_u64(key.threads);
  digest.update_field(layout_name(key.layout));
  constexpr std::size_t kDigits = 16;
  return "tidegate-profile-" + to_hex(digest.finish()).substr(0, kDigits) + ".json";
}

std::string read_small_file(const std::string& path) {
  // Far more than a profile needs; a larger file is none.
  constexpr std::size_t kLargest = 64 << 10;
  std::ifstream file(path, std::ios::binary);
  std::string text(kLargest + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(std::max<std::streamsize>(0, file.gcount())));
  return text;
}

std::string path_beside(const CalibrationOptions& options, const ModelInfo& info, const std::string& name) {
  const std::string& folder = options.folder.empty() ? info.folder : options.folder;
  return folder.empty() || !info.deterministic ? std::string() : folder + "/" + name;
}

std::string write_profile(const ProfileKey& key, const LatencyMemory& memory) {
  const auto real = [](double value) { return JsonTree{JsonTree::Real{fmt::format("{:.9e}", value)}}; };
  JsonTree::Array levels;
  for (const LatencyMemory::Level& level : memory.levels) {
    JsonTree::Array coefficients;
    for (const double value : level.coefficients) coefficients.push_back(real(value));
    levels.push_back({JsonTree::Object{{"samples", {level.samples}}, {"coefficients_ns", {std::move(coefficients)}}}});
  }
  return write_json_tree({JsonTree::Object{{"tidegate_latency_profile", {kVersion}},
                                           {"fingerprint", {to_hex(key.fingerprint)}},
                                           {"processor", {key.processor}},
                                           {"threads", {std::int64_t{key.threads}}},
                                           {"layout", {std::string(layout_name(key.layout))}},
                                           {"tail95", real(memory.tail95)},
                                           {"tail99", real(memory.tail99)},
                                           {"levels", {std::move(levels)}}}}) +
         "\n";
}

std::optional<LatencyMemory> read_profile(std::string_view text, const ProfileKey& key) {
  const auto tree = parse_json_tree(text);
  if (!tree) return std::nullopt;
  if (!is_number(member(*tree, "tidegate_latency_profile"), kVersion) ||
      !is_text(member(*tree, "fingerprint"), to_hex(key.fingerprint)) ||
      !is_text(member(*tree, "processor"), key.processor) || !is_number(member(*tree, "threads"), key.threads) ||
      !is_text(member(*tree, "layout"), layout_name(key.layout))) {
    return std::nullopt;
  }
  LatencyMemory memory;
  const auto tail95 = number(member(*tree, "tail95"));
  const auto tail99 = number(member(*tree, "tail99"));
  const JsonTree* const levels = member(*tree, "levels");
  const auto* list = levels == nullptr ? nullptr : levels->as<JsonTree::Array>();
  constexpr double kLongestTail = 1000;
  if (!tail95 || !tail99 || *tail95 > kLongestTail || *tail99 > kLongestTail) return std::nullopt;
  if (list == nullptr || list->size() != memory.levels.size()) return std::nullopt;
  memory.tail95 = *tail95;
  memory.tail99 = *tail99;
  std::uint64_t samples = 0;
  for (std::size_t i = 0; i < list->size(); ++i) {
    const auto level = read_level((*list)[i]);
    if (!level) return std::nullopt;
    memory.levels[i] = *level;
    samples += level->samples;
  }
  return samples > 0 ? std::optional(memory) : std::nullopt;
}

}  // namespace tidegate
