// tidegate cache: fills, shows and clears the cache tiers that a description names.
#include <fmt/core.h>

#include <fstream>
#include <future>
#include <memory>
#include <sstream>

#include "cache_warm.hpp"
#include "command.hpp"
#include "output.hpp"

namespace tidegate::program {
namespace {

struct Arguments : CacheArguments {
  std::string tag;
  std::int64_t wait_ms = 5000;
};

/// Whether the server answers at all: one look-up for a key that nobody has.
Result<bool> redis_answers(RedisCacheOptions options) {
  options.get_budget = std::max<Duration>(options.get_budget, options.connect_budget);
  const auto tier = make_redis_cache(options);
  if (!tier) return tier.error();
  std::promise<void> answered;
  (*tier)->get_many(std::vector<CacheKey>(1), kNoDeadline, [&](const auto&) { answered.set_value(); });
  answered.get_future().wait();
  const RedisCacheStats stats = (*tier)->redis_stats();
  return stats.absent + stats.hits + stats.expired + stats.corrupt + stats.forged + stats.failed > 0;
}

Result<nlohmann::json> disk_facts(const DiskCacheOptions& options) {
  DiskCacheOptions once = options;
  once.trouble = DiskTrouble::refuse;
  const auto tier = open_disk_cache(once, make_steady_clock());
  if (!tier && tier.error().code() == ErrorCode::busy) {
    return Error(ErrorCode::busy,
                 fmt::format("cache.disk.folder '{}' is in use by another process; ask that one for its metrics "
                             "(tidegate_cache_entries, tidegate_cache_bytes), or stop it first",
                             options.folder));
  }
  if (!tier) return tier.error();
  const CacheTierStats stats = (*tier)->stats();
  return nlohmann::json{{"folder", options.folder},
                        {"entries", stats.entries},
                        {"bytes", stats.bytes},
                        {"resets", stats.resets},
                        {"troubled", stats.troubled}};
}

Result<int> show(const Arguments& arguments) {
  const auto config = read_description(arguments);
  if (!config) return config.error();
  nlohmann::json facts = nlohmann::json::object();
  if (!config->redis.address.empty()) {
    const auto answers = redis_answers(config->redis);
    if (!answers) return answers.error();
    facts["redis"] = {{"address", config->redis.address}, {"answers", *answers}};
  }
  if (!config->disk.folder.empty()) {
    auto disk = disk_facts(config->disk);
    if (!disk) return std::move(disk).error();
    facts["disk"] = *std::move(disk);
  }
  if (const std::string& file = config->engine.cache.snapshot.file; !file.empty()) {
    const CacheSnapshotStats stats = inspect_cache_snapshot(file);
    facts["snapshot"] = {{"file", file}, {"answers", stats.restored}, {"skipped", stats.skipped}};
  }
  if (arguments.json) {
    print_json(facts);
    return 0;
  }
  if (facts.empty()) fmt::print("nothing outlives a process: no Redis, no disk folder, no snapshot\n");
  for (const auto& [tier, values] : facts.items()) {
    fmt::print("{}\n", tier);
    for (const auto& [name, value] : values.items()) {
      fmt::print("  {:<9} {}\n", name, value.is_string() ? value.get<std::string>() : value.dump());
    }
  }
  return 0;
}

Result<int> clear(const Arguments& arguments) {
  const auto config = read_description(arguments);
  if (!config) return config.error();
  const auto cleared =
      invalidate_described(*config, {arguments.model, arguments.tag, {}}, std::chrono::milliseconds(arguments.wait_ms));
  if (!cleared) return cleared.error();
  if (arguments.json) {
    print_json({{"cleared", true}, {"model", arguments.model}, {"tag", arguments.tag}});
  } else {
    fmt::print("cleared {}{}; running processes follow within 5 s of requests\n",
               arguments.model.empty() ? "every described model" : "model '" + arguments.model + "'",
               arguments.tag.empty() ? "" : ", tag '" + arguments.tag + "'");
  }
  return 0;
}

void add_common(CLI::App& command, Arguments& arguments) {
  command.add_option("--config", arguments.config, "Description of the engine (JSON), as the servers use it")
      ->required();
  command.add_option("--model", arguments.model, "Name of one described model");
  command.add_flag("--json", arguments.json, "Print one JSON object");
}

}  // namespace

Result<EngineConfig> read_description(const CacheArguments& arguments) {
  std::ifstream file(arguments.config, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    return Error(ErrorCode::not_found, fmt::format("cannot read the description '{}'", arguments.config));
  }
  auto config = parse_config(text.str());
  if (!config) return Error(config.error().code(), fmt::format("{}: {}", arguments.config, config.error().message()));
  return config;
}

Action add_cache(CLI::App& app) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("cache", "Fill, show or clear the caches that outlive a process");
  command->require_subcommand(1);
  command->footer("Each takes --json.");
  CLI::App* warm =
      command->add_subcommand("warm", "Run the texts of a file, so that tiers and snapshot hold the answers");
  add_common(*warm, *arguments);
  warm->add_option("--input", arguments->input, "Texts, one a line, or - for standard input")->required();
  CLI::App* stats = command->add_subcommand("stats", "What the tiers hold");
  add_common(*stats, *arguments);
  CLI::App* erase = command->add_subcommand(
      "clear", "Make models forget: tiers are told, running processes follow, the snapshot is removed");
  add_common(*erase, *arguments);
  erase->add_option("--tag", arguments->tag, "Only answers asked for with this cache tag");
  erase->add_option("--wait-ms", arguments->wait_ms, "How long a tier may take to be told")
      ->check(CLI::Range(1, 3'600'000))
      ->capture_default_str();
  return [arguments, warm, stats]() -> Result<int> {
    if (warm->parsed()) return warm_cache(*arguments);
    return stats->parsed() ? show(*arguments) : clear(*arguments);
  };
}

}  // namespace tidegate::program
