// The queue under load: the default decision beside batching by a time window, in one engine and one run.
//
// Models of one engine, equal but for their batching, take turns under the same Poisson arrivals of texts of mixed
// lengths, at parts of what the machine can do. "default" decides by the learned times; "linger N" holds a batch
// back for N ms or until it is full (max_queue_delay, prediction off), as servers with a batching window do.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "encoder_load.hpp"
#include "open_loop.hpp"

namespace {

using namespace tidegate;
using nlohmann::json;

struct Arguments {
  load::EncoderLoad load{.mean_tokens = 54};
  std::string json_file;
  std::uint32_t max_batch_size = 32;
  std::vector<std::uint32_t> lingers_ms{5, 10, 50};
  std::vector<double> loads{0.5, 0.7, 0.8, 0.9, 1.0, 1.2};
  double seconds = 2;
  std::uint32_t rounds = 6;
  std::size_t explain = 0;
};

/// Ratios within this count as equal: the rounds of one policy differ by more.
constexpr double kEqual = 0.03;
constexpr std::size_t kTexts = 4096;
constexpr std::size_t kCapacityWindow = 256;

struct Policy {
  std::string name;  ///< of its model in the engine, too
  BatchingOptions batching;
};

struct Measured {
  std::vector<double> latencies_ms;  ///< of all rounds
  std::vector<double> rates, p50s, p99s;
  double batches = 0;  ///< sum over rounds of the mean batch
  std::uint64_t refused = 0;
};

using load::quantile;
double median(const std::vector<double>& values) { return quantile(values, 0.5); }

Duration duration_of(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

/// One line that changes, on a terminal.
void progress(const std::string& text) {
  static const bool terminal = isatty(STDERR_FILENO) == 1;
  fmt::print(stderr, "{}{}{}", terminal ? "\r\033[K" : "", text, terminal ? "" : "\n");
}

std::vector<Policy> policies(const Arguments& arguments) {
  BatchingOptions batching;
  batching.max_batch_size = arguments.max_batch_size;
  std::vector<Policy> all{{"default", batching}};
  batching.prediction = Prediction::off;
  for (const std::uint32_t ms : arguments.lingers_ms) {
    batching.max_queue_delay = std::chrono::milliseconds(ms);
    all.push_back({fmt::format("linger {} ms", ms), batching});
  }
  return all;
}

Result<Engine> make_engine(const Arguments& arguments, const std::vector<Policy>& all) {
  auto engine = Engine::create({.cache = {.memory = {.capacity_bytes = 0}}});
  if (!engine) return engine;
  for (const Policy& policy : all) {
    progress("loading a model for " + policy.name);
    auto replicas = arguments.load.replicas();
    if (!replicas) return std::move(replicas).error();
    ModelOptions model;
    model.batching = policy.batching;
    model.admission.max_queued_tokens = 1ULL << 40;  // a backlog counts as latency, not as refusals
    model.admission.max_queued_items = 1 << 20;
    if (auto added = engine->add_model(policy.name, *std::move(replicas), model); !added) return added.error();
  }
  return engine;
}

class Bench {
 public:
  Bench(const Arguments& arguments, Engine& engine, std::vector<Policy> all, const load::MixedTexts& texts)
      : arguments_(arguments), engine_(engine), all_(std::move(all)), texts_(texts) {}

  /// Of each policy, with many requests always in flight; the highest is what loads are parts of.
  Result<std::vector<double>> capacities() {
    std::vector<std::vector<double>> rates(all_.size());
    for (std::uint32_t round = 0; round <= arguments_.rounds; ++round) {
      for (std::size_t p = 0; p < all_.size(); ++p) {
        progress(fmt::format("capacity, round {} of {}: {}", round, arguments_.rounds, all_[p].name));
        const auto rate = load::closed_loop(engine_, all_[p].name, texts_.texts, kCapacityWindow,
                                            duration_of(arguments_.seconds / 2));
        if (!rate) return rate.error();
        if (round > 0) rates[p].push_back(*rate);  // the first warms up and teaches
      }
    }
    std::vector<double> medians;
    for (const auto& some : rates) medians.push_back(median(some));
    return medians;
  }

  /// Every policy in turns, another one first each round; equal arrivals within a round.
  Result<std::vector<Measured>> at(double rate) {
    std::vector<Measured> all(all_.size());
    for (std::uint32_t round = 0; round < arguments_.rounds; ++round) {
      for (std::size_t turn = 0; turn < all_.size(); ++turn) {
        const std::size_t p = (turn + round) % all_.size();
        progress(fmt::format("{:.0f} texts/s, round {} of {}: {}", rate, round + 1, arguments_.rounds, all_[p].name));
        auto slice = load::open_loop(engine_, all_[p].name, texts_.texts, rate, duration_of(arguments_.seconds),
                                     1000 * (round + 1));
        if (!slice) return std::move(slice).error();
        Measured& sum = all[p];
        sum.rates.push_back(slice->texts_per_second);
        sum.p50s.push_back(quantile(slice->latencies_ms, 0.5));
        sum.p99s.push_back(quantile(slice->latencies_ms, 0.99));
        sum.batches += slice->mean_batch;
        sum.refused += slice->refused;
        sum.latencies_ms.insert(sum.latencies_ms.end(), slice->latencies_ms.begin(), slice->latencies_ms.end());
      }
    }
    return all;
  }

  const std::vector<Policy>& policies() const { return all_; }

 private:
  const Arguments& arguments_;
  Engine& engine_;
  std::vector<Policy> all_;
  const load::MixedTexts& texts_;
};

/// A median of rounds and between which of them it lies with 95 % (the sign test; of fewer than six rounds, all of
/// them).
struct Ratio {
  double median = 1, low = 1, high = 1;
};

/// Of the rounds, each over the same round of the other: noise that lasts longer than a round falls out.
Ratio ratio(const std::vector<double>& ours, const std::vector<double>& theirs) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < ours.size(); ++i) ratios.push_back(ours[i] / theirs[i]);
  std::sort(ratios.begin(), ratios.end());
  std::size_t outside = 0;
  double beyond = std::pow(0.5, ratios.size());  // that so few of the rounds are on one side of the median
  for (double ways = 1; beyond <= 0.025; ++outside) {
    ways *= static_cast<double>(ratios.size() - outside) / static_cast<double>(outside + 1);
    beyond += ways * std::pow(0.5, ratios.size());
  }
  outside -= outside > 0 ? 1 : 0;
  return {quantile(ratios, 0.5), ratios[outside], ratios[ratios.size() - 1 - outside]};
}

struct Verdict {
  Ratio rate{1e9, 1e9, 1e9}, p50{0, 0, 0}, p99{0, 0, 0};  ///< the worst ratio of the default to any window

  std::string_view word() const {
    if (rate.median >= 1 - kEqual && p50.median <= 1 + kEqual && p99.median <= 1 + kEqual) return "better or equal";
    return rate.high < 1 || p50.low > 1 || p99.low > 1 ? "worse" : "not told apart";
  }
};

Verdict judge(const std::vector<Measured>& all) {
  const auto higher = [](const Ratio& a, const Ratio& b) { return a.median < b.median; };
  Verdict verdict;
  for (std::size_t p = 1; p < all.size(); ++p) {
    verdict.rate = std::min(verdict.rate, ratio(all[0].rates, all[p].rates), higher);
    verdict.p50 = std::max(verdict.p50, ratio(all[0].p50s, all[p].p50s), higher);
    verdict.p99 = std::max(verdict.p99, ratio(all[0].p99s, all[p].p99s), higher);
  }
  return verdict;
}

std::string text_of(const Ratio& one) { return fmt::format("{:.3f} ({:.3f}-{:.3f})", one.median, one.low, one.high); }
json json_of(const Ratio& one) { return {{"median", one.median}, {"low", one.low}, {"high", one.high}}; }

json row_of(const std::string& policy, const Measured& one) {
  return {{"policy", policy},
          {"texts_per_second", median(one.rates)},
          {"texts_per_second_rounds", one.rates},
          {"p50_ms", quantile(one.latencies_ms, 0.5)},
          {"p50_ms_rounds", one.p50s},
          {"p99_ms", quantile(one.latencies_ms, 0.99)},
          {"p99_ms_rounds", one.p99s},
          {"mean_batch", one.batches / static_cast<double>(one.rates.size())},
          {"refused", one.refused}};
}

void print_row(double load, const std::string& policy, const Measured& one) {
  fmt::print("| {:.1f} | {} | {:.0f} | {:.1f} | {:.1f} ({:.1f}-{:.1f}) | {:.1f} |\n", load, policy, median(one.rates),
             quantile(one.latencies_ms, 0.5), quantile(one.latencies_ms, 0.99),
             *std::min_element(one.p99s.begin(), one.p99s.end()), *std::max_element(one.p99s.begin(), one.p99s.end()),
             one.batches / static_cast<double>(one.rates.size()));
  std::fflush(stdout);
}

Result<void> print_decisions(const Engine& engine, const Policy& policy, std::size_t most) {
  const auto decisions = engine.explain(policy.name);
  if (!decisions) return decisions.error();
  for (std::size_t i = decisions->size() - std::min(most, decisions->size()); i < decisions->size(); ++i)
    fmt::print("  {}\n", to_text((*decisions)[i]));
  return {};
}

/// Measures one load of the curve and prints it.
Result<json> climb(Bench& bench, const Engine& engine, const Arguments& arguments, double load, double capacity) {
  const auto all = bench.at(load * capacity);
  if (!all) return all.error();
  json rows = json::array();
  for (std::size_t p = 0; p < all->size(); ++p) {
    print_row(load, bench.policies()[p].name, (*all)[p]);
    rows.push_back(row_of(bench.policies()[p].name, (*all)[p]));
  }
  const Verdict verdict = judge(*all);
  fmt::print("| {:.1f} | worst ratio of the default to a window: {} | {} | {} | {} | |\n", load, verdict.word(),
             text_of(verdict.rate), text_of(verdict.p50), text_of(verdict.p99));
  if (arguments.explain > 0) {
    if (auto told = print_decisions(engine, bench.policies()[0], arguments.explain); !told) return told.error();
  }
  return json{
      {"load", load},
      {"offered", load * capacity},
      {"policies", rows},
      {"worst_ratio",
       {{"texts_per_second", json_of(verdict.rate)}, {"p50", json_of(verdict.p50)}, {"p99", json_of(verdict.p99)}}},
      {"verdict", verdict.word()}};
}

Result<int> run(const Arguments& arguments) {
  const auto texts = arguments.load.texts(kTexts);
  if (!texts) return texts.error();
  auto engine = make_engine(arguments, policies(arguments));
  if (!engine) return engine.error();
  Bench bench(arguments, *engine, policies(arguments), *texts);
  const auto capacities = bench.capacities();
  if (!capacities) return capacities.error();
  const double capacity = *std::max_element(capacities->begin(), capacities->end());
  fmt::print("{} texts of {:.1f} tokens on average, {}, {} threads, batches of at most {}\n", texts->texts.size(),
             texts->mean_tokens, arguments.load.precision, arguments.load.threads, arguments.max_batch_size);
  json curve = json::array(), capacity_rows = json::object();
  for (std::size_t p = 0; p < capacities->size(); ++p) {
    fmt::print("capacity, {}: {:.0f} texts/s\n", bench.policies()[p].name, (*capacities)[p]);
    capacity_rows[bench.policies()[p].name] = (*capacities)[p];
  }
  fmt::print("\n| load | policy | texts/s | p50, ms | p99, ms (rounds) | mean batch |\n|---|---|---|---|---|---|\n");
  for (const double load : arguments.loads) {
    auto point = climb(bench, *engine, arguments, load, capacity);
    if (!point) return std::move(point).error();
    curve.push_back(*std::move(point));
  }
  if (arguments.json_file.empty()) return 0;
  std::ofstream out(arguments.json_file);
  out << json{{"model", arguments.load.model},     {"precision", arguments.load.precision},
              {"threads", arguments.load.threads}, {"mean_tokens", texts->mean_tokens},
              {"rounds", arguments.rounds},        {"seconds", arguments.seconds},
              {"capacity", capacity_rows},         {"curve", curve}}
             .dump(1)
      << '\n';
  if (!out.flush()) return Error(ErrorCode::internal, "--json " + arguments.json_file + " could not be written");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Load curves: the default queue beside batching by a time window, Poisson arrivals, mixed lengths");
  arguments.load.add_to(app);
  app.add_option("--max-batch-size", arguments.max_batch_size, "Most texts in one batch, of every policy")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--linger-ms", arguments.lingers_ms, "Windows")->delimiter(',')->capture_default_str();
  app.add_option("--loads", arguments.loads, "Parts of the capacity to offer")->delimiter(',')->capture_default_str();
  app.add_option("--seconds", arguments.seconds, "Arrivals of one slice")->check(CLI::Range(0.1, 600.0));
  app.add_option("--rounds", arguments.rounds, "Slices of each policy at each load")->check(CLI::Range(1, 100));
  app.add_option("--explain", arguments.explain, "Print the last so many decisions of the default at each load");
  app.add_option("--json", arguments.json_file, "Write everything measured to this file");
  CLI11_PARSE(app, argc, argv);
  const auto code = run(arguments);
  if (isatty(STDERR_FILENO) == 1) fmt::print(stderr, "\r\033[K");
  return load::exit_code("queue_load_bench", code);
}
