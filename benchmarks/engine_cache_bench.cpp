// What the cache gives an engine where texts repeat: the same stream of requests with and without it.
//
// Requests name texts by Zipf's law, one sender keeps a window of them in flight. Without the cache the stream is cut
// off after a time, as nothing changes along it; with it the stream runs to its end, from an empty cache on.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "mixed_texts.hpp"
#include "open_loop.hpp"
#include "tidegate/modules.hpp"

namespace {

using namespace tidegate;
using nlohmann::json;

struct Arguments {
  std::string model, input, precision = "int8";
  std::uint32_t threads = std::max(1U, std::thread::hardware_concurrency());
  std::uint64_t cache_bytes = 1ULL << 30;
  std::size_t requests = 1'000'000, texts = 100'000, window = 64;
  double exponent = 1.0, mean_tokens = 20, uncached_seconds = 10;
  bool as_json = false;
};

constexpr const char* kModel = "model";

void say(const Arguments& arguments, const std::string& what) {
  if (!arguments.as_json) fmt::print(stderr, "{}\n", what);
}

double quantile(std::vector<double>& values, double q) {
  const auto at = static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<std::size_t>(at)];
}

/// `requests` numbers below `texts`, the number n with weight 1 / (n + 1)^exponent.
std::vector<std::uint32_t> zipf_order(const Arguments& arguments) {
  std::vector<double> sums(arguments.texts);
  double sum = 0;
  for (std::size_t i = 0; i < sums.size(); ++i) {
    sums[i] = sum += std::pow(static_cast<double>(i + 1), -arguments.exponent);
  }
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> draw(0, sum);
  std::vector<std::uint32_t> order(arguments.requests);
  for (std::uint32_t& one : order) {
    one = static_cast<std::uint32_t>(std::lower_bound(sums.begin(), sums.end() - 1, draw(random)) - sums.begin());
  }
  return order;
}

Result<Engine> make_engine(const Arguments& arguments) {
  CacheOptions cache;
  cache.memory.capacity_bytes = arguments.cache_bytes;
  auto engine = Engine::create({.cache = cache});
  if (!engine) return engine;
  TextEncoderOptions options;
  options.folder = arguments.model;
  options.precision = precision_of(arguments.precision).value_or(Precision::f32);  // CLI11 has checked the name
  options.threads = arguments.threads;
  auto runner = load_text_encoder(options);
  if (!runner) return std::move(runner).error();
  std::vector<Replica> replicas;
  replicas.push_back({*std::move(runner), {}});
  if (auto added = engine->add_model(kModel, std::move(replicas)); !added) return added.error();
  return engine;
}

json row_of(const char* name, load::Slice& slice) {
  const std::size_t answers = slice.latencies_ms.size();
  return {{"cache", name},
          {"requests", answers},
          {"texts_per_second", slice.texts_per_second},
          {"p50_us", quantile(slice.latencies_ms, 0.5) * 1000},
          {"p99_us", quantile(slice.latencies_ms, 0.99) * 1000},
          {"answered_from_cache", 1 - static_cast<double>(slice.computed) / static_cast<double>(answers)}};
}

Result<int> run(const Arguments& arguments) {
  const auto sentences = load::read_sentences(arguments.input);
  if (!sentences) return sentences.error();
  const auto tokenizer = load_tokenizer(arguments.model);
  if (!tokenizer) return tokenizer.error();
  say(arguments, fmt::format("making {} texts", arguments.texts));
  auto texts = load::make_mixed_texts(*sentences, **tokenizer, arguments.texts, arguments.mean_tokens, 1);
  if (!texts) return texts.error();
  // Short ones repeat; a text of its own number each is what the law is about.
  for (std::size_t i = 0; i < texts->texts.size(); ++i) texts->texts[i] += ' ' + std::to_string(i);
  const std::vector<std::uint32_t> order = zipf_order(arguments);
  auto engine = make_engine(arguments);
  if (!engine) return engine.error();
  const auto limit = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(arguments.uncached_seconds));
  say(arguments, fmt::format("without the cache, {} s", arguments.uncached_seconds));
  auto plain = load::closed_loop(*engine, kModel, texts->texts, order, arguments.window, CacheMode::bypass, limit);
  if (!plain) return plain.error();
  say(arguments, fmt::format("with the cache, {} requests", order.size()));
  auto cached =
      load::closed_loop(*engine, kModel, texts->texts, order, arguments.window, CacheMode::use, Duration::max());
  if (!cached) return cached.error();
  const double gain = cached->texts_per_second / plain->texts_per_second;
  const std::size_t asked = std::unordered_set<std::uint32_t>(order.begin(), order.end()).size();
  const json rows = {row_of("off", *plain), row_of("on", *cached)};
  if (arguments.as_json) {
    fmt::print("{}\n", json{{"requests", order.size()},
                            {"texts", arguments.texts},
                            {"texts_asked_for", asked},
                            {"exponent", arguments.exponent},
                            {"precision", arguments.precision},
                            {"threads", arguments.threads},
                            {"rows", rows},
                            {"gain", gain}}
                           .dump());
    return 0;
  }
  fmt::print("| cache | requests | texts/s | p50, us | p99, us | from the cache |\n|---|---|---|---|---|---|\n");
  for (const json& row : rows) {
    fmt::print("| {} | {} | {:.0f} | {:.1f} | {:.1f} | {:.1f} % |\n", row["cache"].get<std::string>(),
               row["requests"].get<std::size_t>(), row["texts_per_second"].get<double>(), row["p50_us"].get<double>(),
               row["p99_us"].get<double>(), 100 * row["answered_from_cache"].get<double>());
  }
  fmt::print("{} of {} texts were asked for; {:.1f} times as many texts/s with the cache\n", asked, arguments.texts,
             gain);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Repeated texts (Zipf) through one engine, without and with the cache");
  app.add_option("--model", arguments.model, "sentence-transformers folder")->required();
  app.add_option("--input", arguments.input, "Sentences, one a line, to make texts of; - for standard input")
      ->required();
  app.add_option("--precision", arguments.precision, "Number format of the products")
      ->check(CLI::IsMember({"f32", "bf16", "int8", "auto"}))
      ->capture_default_str();
  app.add_option("--threads", arguments.threads, "Cores one batch may use")->check(CLI::Range(1, 256));
  app.add_option("--cache-bytes", arguments.cache_bytes, "Budget of the memory tier")->capture_default_str();
  app.add_option("--requests", arguments.requests, "Of the stream")->check(CLI::Range(1, 100'000'000));
  app.add_option("--texts", arguments.texts, "That there are")->check(CLI::Range(1, 10'000'000));
  app.add_option("--exponent", arguments.exponent, "Of Zipf's law")->check(CLI::Range(0.0, 4.0))->capture_default_str();
  app.add_option("--window", arguments.window, "Requests in flight")->check(CLI::Range(1, 100'000));
  app.add_option("--mean-tokens", arguments.mean_tokens, "Of a text")->check(CLI::Range(3.0, 200.0));
  app.add_option("--uncached-seconds", arguments.uncached_seconds,
                 "After which the stream without the cache is cut off")
      ->check(CLI::Range(0.1, 3600.0));
  app.add_flag("--json", arguments.as_json, "Print one JSON object");
  CLI11_PARSE(app, argc, argv);
  const auto code = run(arguments);
  if (!code) {
    fmt::print(stderr, "engine_cache_bench: {}\n", code.error().text());
    return 1;
  }
  return *code;
}
