// tidegate bench: the ladder one by one, batched, cached on one set of texts.
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>

#include "bench_profile.hpp"
#include "bench_stream.hpp"
#include "command.hpp"
#include "model_options.hpp"
#include "output.hpp"
#include "text_source.hpp"
#include "tidegate/redis_cache.hpp"
#include "windowed_client.hpp"

namespace tidegate::program {
namespace {

struct Arguments : ModelArguments {
  std::string input;
  std::size_t texts = 1000;
  std::size_t explain = 0;    ///< decisions of the queue to print
  double advise_slo_ms = -1;  ///< replicas for the last step's load; 0 = without an SLO, below = no advice
  std::string redis;          ///< address of a server; empty = none
  bool json = false;
  StreamBenchArguments stream;
};

struct Step {
  const char* name;
  std::size_t window;  ///< requests in flight
  CacheMode cache;
};

struct Measured {
  double texts_per_second = 0, p50_ms = 0, p99_ms = 0, mean_batch = 0;
  std::map<std::string, std::size_t> variants{};  ///< answers that each computed; "" = from the cache
};

double quantile(std::vector<double> values, double q) {
  const auto at = static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<std::size_t>(at)];
}

/// A step that is through sooner sends the texts again: the start of its threads would be most of it.
constexpr double kLeastSeconds = 0.5;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Result<Measured> measure(Engine& engine, const Step& step, const std::vector<std::string>& texts) {
  std::vector<double> latencies;
  std::vector<double> batches;
  std::map<std::string, std::size_t> variants;
  const auto started = std::chrono::steady_clock::now();
  WindowedClient client(engine, step.window, [&](std::size_t, const Response& response) -> Result<void> {
    latencies.push_back(std::chrono::duration<double, std::milli>(response.timing.total).count());
    batches.push_back(response.timing.batch_size);
    ++variants[response.variant];
    return {};
  });
  ProgressBar progress(step.name, texts.size(), "texts");
  for (bool sent = true; sent && (batches.empty() || seconds_since(started) < kLeastSeconds);) {
    for (std::size_t i = 0; sent && i < texts.size(); ++i) {
      sent = client.send(i, texts[i], {.cache = step.cache});
      progress.update(std::min(client.answered(), texts.size()));
    }
    if (client.finish()) break;
  }
  if (auto failure = client.finish()) return std::move(failure->error);
  const double seconds = seconds_since(started);
  const auto answers = static_cast<double>(batches.size());
  return Measured{answers / seconds, quantile(latencies, 0.5), quantile(latencies, 0.99),
                  std::accumulate(batches.begin(), batches.end(), 0.0) / answers, std::move(variants)};
}

struct TextSet {
  std::string name;  ///< printed with the figures
  std::vector<std::string> texts;
};

Result<TextSet> choose_texts(const Arguments& arguments) {
  TextSet set;
  if (arguments.input.empty()) {
    set.texts = generated_sentences(arguments.texts, 1);
    set.name = fmt::format("{} generated sentences, seed 1", set.texts.size());
  } else {
    auto lines = read_lines(arguments.input);
    if (!lines) return std::move(lines).error();
    lines->lines.resize(std::min(lines->lines.size(), arguments.texts));
    set.texts.assign(lines->lines.begin(), lines->lines.end());
    set.name = fmt::format("first {} lines of {}", set.texts.size(), lines->name);
  }
  if (set.texts.empty()) return Error(ErrorCode::invalid_argument, "there is no text to measure with");
  return set;
}

constexpr const char* kHeader = "{:<12} {:>10} {:>10} {:>10} {:>10} {:>11} {:>8}\n";
constexpr const char* kLine = "{:<12} {:>10.0f} {:>10.0f} {:>10.3f} {:>10.3f} {:>11.1f} {:>7.1f}x\n";

/// Measures the steps and prints each as it is done, or nothing with --json.
Result<nlohmann::json> climb(Engine& engine, const Arguments& arguments, const std::vector<std::string>& texts,
                             double tokens_a_text) {
  const std::size_t window = std::size_t{2} * arguments.max_batch_size;
  const Step steps[] = {{"one by one", 1, CacheMode::bypass},
                        {"batched", window, CacheMode::refresh},
                        {"cached", window, CacheMode::use}};
  if (!arguments.json) fmt::print(kHeader, "step", "texts/s", "tokens/s", "p50 ms", "p99 ms", "mean batch", "gain");
  nlohmann::json results = nlohmann::json::array();
  double base = 0;
  for (const Step& step : steps) {
    const auto measured = measure(engine, step, texts);
    if (!measured) return measured.error();
    if (base == 0) base = measured->texts_per_second;
    const double gain = measured->texts_per_second / base;
    const double tokens_per_second = measured->texts_per_second * tokens_a_text;
    results.push_back({{"step", step.name},
                       {"texts_per_second", measured->texts_per_second},
                       {"tokens_per_second", tokens_per_second},
                       {"p50_ms", measured->p50_ms},
                       {"p99_ms", measured->p99_ms},
                       {"mean_batch", measured->mean_batch},
                       {"variants", measured->variants},
                       {"in_flight", step.window},
                       {"gain", gain}});
    if (arguments.json) continue;
    fmt::print(kLine, step.name, measured->texts_per_second, tokens_per_second, measured->p50_ms, measured->p99_ms,
               measured->mean_batch, gain);
  }
  return results;
}

/// The last decisions of the queue, one a line.
Result<std::vector<std::string>> explain(const Engine& engine, std::size_t most) {
  const auto decisions = engine.explain("model");
  if (!decisions) return decisions.error();
  std::vector<std::string> lines;
  for (std::size_t i = decisions->size() - std::min(most, decisions->size()); i < decisions->size(); ++i) {
    lines.push_back(to_text((*decisions)[i]));
  }
  return lines;
}

/// How many replicas the policy would have for the load of the last seconds, and why; empty without --advise.
Result<std::string> advise(const Engine& engine, double slo_ms) {
  if (slo_ms < 0) return std::string();
  auto snapshot = engine.scaling_snapshot("model");
  if (!snapshot) return std::move(snapshot).error();
  ServiceTimeOptions options;
  options.slo = Duration(static_cast<Duration::rep>(slo_ms * 1e6));
  options.behavior.down.window = Duration::zero();  // the load now, not the most of the past minutes
  const auto policy = make_service_time_policy(options);
  if (!policy) return policy.error();
  ScalingState seen;
  seen.seen = true;
  const ScalingDecision decision = (*policy)->decide(*snapshot, std::move(seen));
  return fmt::format("{} replicas now, {} by service times\n{}", snapshot->spec_replicas, decision.replicas,
                     decision.explain());
}

nlohmann::json redis_json(const RedisCacheStats& stats) {
  return {{"hits", stats.hits},
          {"absent", stats.absent},
          {"timeouts", stats.timeouts},
          {"silence", stats.silent},
          {"connection_lost", stats.lost},
          {"breaker_open", stats.refused},
          {"breaker_openings", stats.breaker_openings},
          {"written", stats.written}};
}

/// What is measured, on what.
void print_head(const Engine& engine, const Arguments& arguments, std::string_view set, const ModelInfo& info) {
  fmt::print("texts: {}; {} threads, {}, batches of at most {}\n", set, info.threads, arguments.precision,
             arguments.max_batch_size);
  for (const std::string& note : info.notes) fmt::print("  {}\n", note);
  if (arguments.cores > 0) fmt::print("{}", engine.shape("model")->why);
}

Result<int> bench(const Arguments& arguments) {
  const auto chosen = choose_texts(arguments);
  if (!chosen) return chosen.error();
  const auto& [set, texts] = *chosen;
  CacheOptions cache;
  cache.memory.capacity_bytes = 1ULL << 30;
  std::shared_ptr<RedisCache> redis;
  if (!arguments.redis.empty()) {
    RedisCacheOptions options;
    options.address = arguments.redis;
    options.name_space = "bench";
    auto made = make_redis_cache(options);
    if (!made) return std::move(made).error();
    redis = *std::move(made);
    cache.memory.capacity_bytes = 0;
    cache.tiers.push_back(redis);
  }
  auto engine = open_engine(arguments, cache);
  if (!engine) return std::move(engine).error();
  const auto info = engine->model_info("model");
  if (!info) return info.error();
  const std::size_t batch_size = std::min<std::size_t>(arguments.max_batch_size, kLargestProfileBatch);
  const auto profile = load_with_bar(arguments, [&texts = texts, batch_size](const TextEncoderOptions& options) {
    return profile_text_encoder(options, texts, batch_size);
  });
  if (!profile) return profile.error();
  if (!arguments.json) print_head(*engine, arguments, set, *info);
  const Step warm_up{"warm-up", 1, CacheMode::bypass};
  const std::vector<std::string> few(
      texts.begin(), texts.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(32, texts.size())));
  if (auto warm = measure(*engine, warm_up, few); !warm) return std::move(warm).error();
  const double tokens_a_text = static_cast<double>(profile->tokens) / static_cast<double>(texts.size());
  auto steps = climb(*engine, arguments, texts, tokens_a_text);
  if (!steps) return std::move(steps).error();
  const auto decisions = explain(*engine, arguments.explain);
  if (!decisions) return decisions.error();
  const auto advice = advise(*engine, arguments.advise_slo_ms);
  if (!advice) return advice.error();
  if (!arguments.json) {
    fmt::print("{}", *advice);
    for (const std::string& line : *decisions) fmt::print("{}\n", line);
    if (redis != nullptr) fmt::print("redis: {}\n", redis_json(redis->redis_stats()).dump());
    print_profile(*profile);
    return 0;
  }
  print_json({{"text_set", set},
              {"texts", texts.size()},
              {"tokens", profile->tokens},
              {"threads", arguments.threads},
              {"precision", arguments.precision},
              {"notes", info->notes},
              {"max_batch_size", arguments.max_batch_size},
              {"steps", *steps},
              {"decisions", *decisions},
              {"advice", *advice},
              {"redis", redis != nullptr ? redis_json(redis->redis_stats()) : nlohmann::json()},
              {"profile", profile_json(*profile)}});
  return 0;
}

}  // namespace

Action add_bench(CLI::App& app) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("bench", "Measure texts/s and latency: one by one, batched, cached; or chunks of streams");
  add_model_options(*command, *arguments);
  command->get_option("--model")->required(false);
  add_stream_options(*command, arguments->stream);
  command->add_option("--input", arguments->input, "Text file, or - for standard input; default: generated sentences");
  command->add_option("--texts", arguments->texts, "Most texts to use")
      ->check(CLI::Range(1, 10'000'000))
      ->capture_default_str();
  command->add_option("--explain", arguments->explain, "Print why the last so many batches are as they are")
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  command
      ->add_option("--advise-slo-ms", arguments->advise_slo_ms,
                   "Print how many replicas the load of the last seconds needs to be answered within this; 0 = no SLO")
      ->check(CLI::Range(0.0, 3.6e6));
  command->add_option("--redis", arguments->redis,
                      "Redis server (host:port or unix:/path) that caches instead of the memory");
  command->add_flag("--json", arguments->json, "Print one JSON object");
  return [arguments]() -> Result<int> {
    if (arguments->stream.streams > 0) {
      return bench_streams(arguments->stream, arguments->max_batch_size, arguments->json ? Print::json : Print::table);
    }
    if (arguments->model.empty()) return Error(ErrorCode::invalid_argument, "--model is required, or --stream");
    return bench(*arguments);
  };
}

}  // namespace tidegate::program
