#include "cache_warm.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <chrono>

#include "output.hpp"
#include "text_source.hpp"
#include "windowed_client.hpp"

namespace tidegate::program {
namespace {

/// The description, as filling wants it: every answer is kept at once, and only one model is loaded.
Result<EngineConfig> for_warming(EngineConfig config, const std::string& model) {
  config.engine.cache.bypass = CacheBypass::never;
  config.engine.cache.lookup_budget = std::chrono::seconds(1);  // a slow tier is still faster than the model
  config.disk.admission = DiskAdmission::all;
  config.disk.write_bytes_per_second = 0;
  config.disk.trouble = DiskTrouble::refuse;
  if (!model.empty()) std::erase_if(config.models, [&](const ModelConfig& one) { return one.name != model; });
  if (config.models.size() == 1) return config;
  return Error(ErrorCode::invalid_argument,
               model.empty() ? fmt::format("the description has {} models; name one with --model", config.models.size())
                             : fmt::format("--model '{}': the description has no such model", model));
}

struct Outcome {
  std::uint64_t texts = 0, hits = 0, computed = 0;
  double seconds = 0;
};

Result<Outcome> run_texts(Engine& engine, const TextLines& text, std::uint32_t max_batch_size) {
  Outcome outcome;
  std::atomic<std::uint64_t> hits{0};  // relaxed: read after all answers
  const auto started = std::chrono::steady_clock::now();
  std::optional<WindowedClient::Failure> failure;
  {
    WindowedClient client(engine, std::size_t{4} * max_batch_size, [&](std::size_t, const Response& response) {
      if (response.source == AnswerSource::cache) hits.fetch_add(1, std::memory_order_relaxed);
      return Result<void>();
    });
    ProgressBar progress("warming", text.lines.size(), "texts");
    for (std::size_t i = 0; i < text.lines.size(); ++i) {
      if (text.lines[i].empty()) continue;
      ++outcome.texts;
      if (!client.send(i, std::string(text.lines[i]), {})) break;
      progress.update(client.answered());
    }
    failure = client.finish();
  }
  if (failure) {
    return Error(failure->error.code(),
                 fmt::format("{} line {}: {}", text.name, failure->index + 1, failure->error.message()));
  }
  outcome.hits = hits.load(std::memory_order_relaxed);
  outcome.computed = outcome.texts - outcome.hits;
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  return outcome;
}

}  // namespace

Result<int> warm_cache(const CacheArguments& arguments) {
  auto described = read_description(arguments);
  if (!described) return std::move(described).error();
  const auto config = for_warming(*std::move(described), arguments.model);
  if (!config) return config.error();
  const auto text = read_lines(arguments.input);
  if (!text) return text.error();
  auto engine = create_engine(*config);
  if (!engine) return std::move(engine).error();
  const auto outcome = run_texts(*engine, *text, config->models.front().options.batching.max_batch_size);
  if (!outcome) return outcome.error();
  engine->drain(std::chrono::minutes(1));
  const bool has_snapshot = !config->engine.cache.snapshot.file.empty();
  const CacheSnapshotStats snapshot = engine->snapshot_stats();
  const std::vector<CacheTierStats> tiers = engine->cache_stats();
  std::uint64_t dropped = 0;
  nlohmann::json stored = nlohmann::json::array();
  for (const CacheTierStats& tier : tiers) {
    stored.push_back(tier.inserted);
    dropped += tier.dropped + tier.failed;
  }
  const double rate = static_cast<double>(outcome->texts) / std::max(outcome->seconds, 1e-9);
  if (arguments.json) {
    print_json({{"texts", outcome->texts},
                {"hits", outcome->hits},
                {"computed", outcome->computed},
                {"stored", stored},
                {"dropped", dropped},
                {"snapshot_written", snapshot.written},
                {"seconds", outcome->seconds},
                {"texts_per_second", rate}});
  } else {
    fmt::print("{} texts in {:.3f} s: {:.0f} texts/s, {} were there, {} computed\n", outcome->texts, outcome->seconds,
               rate, outcome->hits, outcome->computed);
    for (std::size_t i = 0; i < tiers.size(); ++i) fmt::print("tier {}: {} stored\n", i, tiers[i].inserted);
    if (dropped > 0) fmt::print("{} answers were dropped by a tier; run it again for them\n", dropped);
    if (has_snapshot) fmt::print("snapshot: {} answers\n", snapshot.written);
  }
  if (snapshot.failed == 0) return 0;
  return Error(ErrorCode::io_error, fmt::format("the snapshot '{}' could not be written; is there room on the disk?",
                                                config->engine.cache.snapshot.file));
}

}  // namespace tidegate::program
