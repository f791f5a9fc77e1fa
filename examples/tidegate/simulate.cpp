// tidegate simulate: replays what was recorded on the policies that run live: autoscaling
// cases, the keys a cache was asked for, or the arrivals of requests.
#include <fmt/core.h>

#include <fstream>
#include <map>
#include <memory>
#include <sstream>

#include "command.hpp"
#include "output.hpp"
#include "simulate_queue.hpp"
#include "tidegate/cache_workload.hpp"
#include "tidegate/simulator.hpp"

namespace tidegate::program {
namespace {

constexpr std::uint64_t kEmbeddingBytes = 1536;  // 384 numbers
constexpr std::uint64_t kWorkloadRequests = 300'000;

struct Arguments {
  std::string cases;
  std::string cache_trace;
  std::string policy{to_string(CachePolicy::s3_fifo)};
  CacheReplayOptions replay;
  QueueArguments queue;
  std::string workload, preset = "large";
  bool json = false;
};

Result<int> simulate_cases(const Arguments& arguments) {
  std::ifstream file(arguments.cases, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    return Error(ErrorCode::not_found, fmt::format("cannot read the case file '{}'", arguments.cases));
  }
  const auto report = replay_hpa_cases(text.str());
  if (!report) {
    return Error(report.error().code(), fmt::format("{}: {}", arguments.cases, report.error().message()));
  }
  if (arguments.json) {
    nlohmann::json failures = nlohmann::json::array();
    for (const CaseFailure& failure : report->failures) {
      failures.push_back({{"id", failure.id},
                          {"kind", failure.kind},
                          {"field", failure.field},
                          {"expected", failure.expected},
                          {"got", failure.got}});
    }
    print_json({{"cases", report->total}, {"agree", report->agreeing()}, {"failures", failures}});
  } else {
    fmt::print("{}\n", report->text());
  }
  return report->failures.empty() ? 0 : 1;
}

Result<int> simulate_cache(Arguments arguments) {
  const auto policy = cache_policy_of(arguments.policy);
  if (!policy) {
    return Error(ErrorCode::invalid_argument,
                 fmt::format("--policy '{}' is unknown; there are s3_fifo, lru, lfu, w_tiny_lfu and ttl_only",
                             arguments.policy));
  }
  arguments.replay.policy = *policy;
  const auto replay = replay_cache_trace(arguments.cache_trace, arguments.replay);
  if (!replay) return replay.error();
  if (arguments.json) {
    print_json({{"policy", arguments.policy},
                {"capacity", arguments.replay.capacity},
                {"requests", replay->requests},
                {"keys", replay->keys},
                {"misses", replay->misses},
                {"evicted", replay->evicted},
                {"rejected", replay->rejected},
                {"hit_ratio", replay->hit_ratio()}});
  } else {
    fmt::print("requests   {}\nkeys       {}\nmisses     {}\nevicted    {}\nrejected   {}\nhit ratio  {:.4f}\n",
               replay->requests, replay->keys, replay->misses, replay->evicted, replay->rejected, replay->hit_ratio());
  }
  return 0;
}

Result<int> simulate_workload(const Arguments& arguments) {
  const CacheWorkload workload = *cache_workload_of(arguments.workload);  // CLI11 has checked the names
  CacheOptions cache = with_preset({}, *cache_preset_of(arguments.preset), kEmbeddingBytes);
  cache.memory.policy = cache_policy_of(arguments.policy).value_or(cache.memory.policy);
  const auto report = replay_cache_workload(workload, cache, kEmbeddingBytes, kWorkloadRequests);
  if (arguments.json) {
    print_json({{"workload", arguments.workload},
                {"preset", arguments.preset},
                {"policy", to_string(cache.memory.policy)},
                {"requests", report.requests},
                {"hits", report.hits},
                {"hit_ratio", report.hit_ratio()},
                {"entries", report.entries},
                {"bytes", report.bytes},
                {"capacity_bytes", cache.memory.capacity_bytes}});
  } else {
    fmt::print("requests   {}\nhits       {}\nhit ratio  {:.4f} (such services report {:.2f} to {:.2f})\n",
               report.requests, report.hits, report.hit_ratio(), workload.least_hits, workload.most_hits);
    fmt::print("entries    {}\nbytes      {} of {}\n", report.entries, report.bytes, cache.memory.capacity_bytes);
  }
  return 0;
}

Result<int> simulate(const Arguments& arguments) {
  if (!arguments.workload.empty()) return simulate_workload(arguments);
  if (!arguments.cases.empty()) return simulate_cases(arguments);
  if (!arguments.cache_trace.empty()) return simulate_cache(arguments);
  if (!arguments.queue.trace.empty()) return simulate_queue(arguments.queue, arguments.json);
  return Error(ErrorCode::invalid_argument,
               "nothing to replay; give --cases FILE, --cache-trace FILE, --cache-workload NAME or --queue-trace FILE");
}

}  // namespace

Action add_simulate(CLI::App& app) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "simulate",
      "Replay recorded autoscaling cases, cache keys or arrivals of requests on the policies that run live");
  CLI::Option* cases = command->add_option("--cases", arguments->cases, "HorizontalPodAutoscaler cases (JSON)");
  CLI::Option* trace = command->add_option("--cache-trace", arguments->cache_trace,
                                           "Cache trace: oracleGeneral binary, or a key a line");
  cases->excludes(trace);
  add_queue_options(*command, arguments->queue)->excludes(cases)->excludes(trace);
  CLI::Option* capacity =
      command
          ->add_option("--capacity", arguments->replay.capacity, "Bytes such as 128MiB, or entries for a trace of keys")
          ->transform(CLI::AsSizeValue(false));
  trace->needs(capacity);
  capacity->needs(trace);
  command->add_option("--policy", arguments->policy, "s3_fifo, lru, lfu, w_tiny_lfu or ttl_only")
      ->capture_default_str();
  command->add_option("--trace-format", arguments->replay.format, "auto, oracle or keys; auto goes by the file's name")
      ->transform(
          CLI::CheckedTransformer(std::map<std::string, CacheTraceFormat>{{"auto", CacheTraceFormat::automatic},
                                                                          {"oracle", CacheTraceFormat::oracle_general},
                                                                          {"keys", CacheTraceFormat::keys}}))
      ->needs(trace);
  CLI::Option* workload =
      command->add_option("--cache-workload", arguments->workload, "Made-up requests: financial, queries or concepts")
          ->check(CLI::IsMember({"financial", "queries", "concepts"}))
          ->excludes(cases)
          ->excludes(trace);
  command->add_option("--preset", arguments->preset, "Cache of that workload: small or large")
      ->check(CLI::IsMember({"small", "large"}))
      ->capture_default_str()
      ->needs(workload);
  command->add_flag("--json", arguments->json, "Print one JSON object");
  return [arguments] { return simulate(*arguments); };
}

}  // namespace tidegate::program
