// What the cache gives an engine where texts repeat: the same stream of requests with and without it.
//
// Requests name texts by Zipf's law, one sender keeps a window of them in flight. Without the cache the stream is cut
// off after a time, as nothing changes along it; with it the stream runs to its end, from an empty cache on.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <unordered_set>
#include <vector>

#include "encoder_load.hpp"
#include "open_loop.hpp"

namespace {

using namespace tidegate;
using nlohmann::json;

struct Arguments {
  load::EncoderLoad load{};
  std::uint64_t cache_bytes = 1ULL << 30;
  std::size_t requests = 1'000'000, texts = 100'000, window = 64;
  double exponent = 1.0, uncached_seconds = 10;
  bool as_json = false;
};

constexpr const char* kModel = "model";

void say(const Arguments& arguments, const std::string& what) {
  if (!arguments.as_json) fmt::print(stderr, "{}\n", what);
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
  auto replicas = arguments.load.replicas();
  if (!replicas) return std::move(replicas).error();
  if (auto added = engine->add_model(kModel, *std::move(replicas)); !added) return added.error();
  return engine;
}

json row_of(const char* name, const load::Slice& slice) {
  const std::size_t answers = slice.latencies_ms.size();
  return {{"cache", name},
          {"requests", answers},
          {"texts_per_second", slice.texts_per_second},
          {"p50_us", load::quantile(slice.latencies_ms, 0.5) * 1000},
          {"p99_us", load::quantile(slice.latencies_ms, 0.99) * 1000},
          {"answered_from_cache", 1 - static_cast<double>(slice.computed) / static_cast<double>(answers)}};
}

Result<int> run(const Arguments& arguments) {
  say(arguments, fmt::format("making {} texts", arguments.texts));
  auto texts = arguments.load.texts(arguments.texts);
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
                            {"precision", arguments.load.precision},
                            {"threads", arguments.load.threads},
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
  arguments.load.add_to(app);
  app.add_option("--cache-bytes", arguments.cache_bytes, "Budget of the memory tier")->capture_default_str();
  app.add_option("--requests", arguments.requests, "Of the stream")->check(CLI::Range(1, 100'000'000));
  app.add_option("--texts", arguments.texts, "That there are")->check(CLI::Range(1, 10'000'000));
  app.add_option("--exponent", arguments.exponent, "Of Zipf's law")->check(CLI::Range(0.0, 4.0))->capture_default_str();
  app.add_option("--window", arguments.window, "Requests in flight")->check(CLI::Range(1, 100'000));
  app.add_option("--uncached-seconds", arguments.uncached_seconds,
                 "After which the stream without the cache is cut off")
      ->check(CLI::Range(0.1, 3600.0));
  app.add_flag("--json", arguments.as_json, "Print one JSON object");
  CLI11_PARSE(app, argc, argv);
  return load::exit_code("engine_cache_bench", run(arguments));
}
