#include "bench_stream.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <numeric>

#include "output.hpp"
#include "stream_client.hpp"
#include "text_source.hpp"

namespace tidegate::program {
namespace {

struct Step {
  const char* name;
  std::size_t in_flight;
};

struct Measured {
  double chunks_per_second = 0, first_p50 = 0, first_p99 = 0, between_p50 = 0, between_p99 = 0, chunks_per_step = 0;
};

/// 0 where there are no values.
double quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  const auto at = static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<std::size_t>(at)];
}

Result<Engine> open_engine(const StreamBenchArguments& arguments, std::uint32_t max_batch_size) {
  SyntheticOptions model;
  model.base = std::chrono::microseconds(arguments.base_us);
  model.per_token = std::chrono::microseconds(arguments.per_token_us);
  model.steps = arguments.chunks;
  model.chunk = arguments.prompt_chunk;
  auto runner = make_synthetic_runner(model);
  if (!runner) return std::move(runner).error();
  auto engine = Engine::create();
  if (!engine) return engine;
  ModelOptions options;
  options.batching.max_batch_size = max_batch_size;
  std::vector<Replica> replicas;
  replicas.push_back({*std::move(runner), {}});
  if (auto added = engine->add_model("synthetic", std::move(replicas), options); !added) {
    return std::move(added).error();
  }
  return engine;
}

Result<Measured> measure(const StreamBenchArguments& arguments, std::uint32_t max_batch_size, const Step& step,
                         const std::vector<std::string>& texts) {
  auto engine = open_engine(arguments, max_batch_size);
  if (!engine) return std::move(engine).error();
  const auto started = std::chrono::steady_clock::now();
  StreamClient client(*engine, step.in_flight);
  ProgressBar progress(step.name, texts.size(), "streams");
  for (const std::string& text : texts) {
    if (!client.open(text)) break;
    progress.update(client.ended());
  }
  const auto times = client.finish();
  if (!times) return times.error();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  const MetricsSnapshot metrics = engine->metrics();
  const double chunks = metrics.value("tidegate_chunks_total");
  return Measured{chunks / seconds,
                  quantile(times->first_chunk, 0.5),
                  quantile(times->first_chunk, 0.99),
                  quantile(times->between, 0.5),
                  quantile(times->between, 0.99),
                  chunks / std::max(1.0, metrics.value("tidegate_batches_total"))};
}

constexpr const char* kHeader = "{:<12} {:>10} {:>10} {:>14} {:>14} {:>14} {:>14} {:>11} {:>8}\n";
constexpr const char* kLine = "{:<12} {:>10} {:>10.0f} {:>14.3f} {:>14.3f} {:>14.3f} {:>14.3f} {:>11.1f} {:>7.1f}x\n";

}  // namespace

void add_stream_options(CLI::App& command, StreamBenchArguments& arguments) {
  const auto count = [&](const char* name, auto& value, const char* text, std::uint32_t least, std::uint32_t most) {
    return command.add_option(name, value, text)->check(CLI::Range(least, most))->capture_default_str();
  };
  CLI::Option* const stream =
      command.add_option("--stream", arguments.streams, "Measure so many streams of a synthetic model instead")
          ->check(CLI::Range(1, 1'000'000));
  count("--in-flight", arguments.in_flight, "With --stream: streams at a time", 1, 100'000)->needs(stream);
  count("--chunks", arguments.chunks, "With --stream: chunks of a stream", 2, 1'000'000)->needs(stream);
  count("--base-us", arguments.base_us, "With --stream: microseconds of a step", 0, 10'000'000)->needs(stream);
  count("--per-token-us", arguments.per_token_us, "With --stream: microseconds a token adds", 0, 1'000'000)
      ->needs(stream);
  count("--prompt-chunk", arguments.prompt_chunk, "With --stream: most tokens of a text in one step; 0 = all", 0,
        1'000'000)
      ->needs(stream);
}

Result<int> bench_streams(const StreamBenchArguments& arguments, std::uint32_t max_batch_size, Print print) {
  const std::vector<std::string> texts = generated_sentences(arguments.streams, 1);
  const Step steps[] = {{"one by one", 1}, {"together", arguments.in_flight}};
  if (print == Print::table) {
    fmt::print("streams: {} of {} chunks; a step takes {} us and {} us a token; at most {} items in one\n",
               arguments.streams, arguments.chunks, arguments.base_us, arguments.per_token_us, max_batch_size);
    fmt::print(kHeader, "step", "in flight", "chunks/s", "first p50 ms", "first p99 ms", "between p50 ms",
               "between p99 ms", "chunks/step", "gain");
  }
  nlohmann::json results = nlohmann::json::array();
  double base = 0;
  for (const Step& step : steps) {
    const auto measured = measure(arguments, max_batch_size, step, texts);
    if (!measured) return measured.error();
    if (base == 0) base = measured->chunks_per_second;
    const double gain = measured->chunks_per_second / base;
    results.push_back({{"step", step.name},
                       {"in_flight", step.in_flight},
                       {"chunks_per_second", measured->chunks_per_second},
                       {"first_chunk_p50_ms", measured->first_p50},
                       {"first_chunk_p99_ms", measured->first_p99},
                       {"between_chunks_p50_ms", measured->between_p50},
                       {"between_chunks_p99_ms", measured->between_p99},
                       {"chunks_per_step", measured->chunks_per_step},
                       {"gain", gain}});
    if (print == Print::json) continue;
    fmt::print(kLine, step.name, step.in_flight, measured->chunks_per_second, measured->first_p50, measured->first_p99,
               measured->between_p50, measured->between_p99, measured->chunks_per_step, gain);
  }
  if (print == Print::table) return 0;
  print_json({{"streams", arguments.streams},
              {"chunks", arguments.chunks},
              {"base_us", arguments.base_us},
              {"per_token_us", arguments.per_token_us},
              {"prompt_chunk", arguments.prompt_chunk},
              {"max_batch_size", max_batch_size},
              {"steps", results}});
  return 0;
}

}  // namespace tidegate::program
