#include "simulate_queue.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <fstream>

#include "output.hpp"

namespace tidegate::program {
namespace {

double ms(Duration time) { return std::chrono::duration<double, std::milli>(time).count(); }

double mean_replicas(const QueueReplay& replay) {
  const double seconds = ms(replay.span) / 1000;
  return seconds > 0 ? replay.replica_seconds / seconds : 1;
}

/// Percent of all requests.
double share_within(const QueueReplay& replay) {
  return replay.requests == 0 ? 0 : 100 * static_cast<double>(replay.within_slo) / static_cast<double>(replay.requests);
}

void print(const QueueReplay& replay, std::size_t explained, Duration slo) {
  const double items =
      replay.batches == 0 ? 0.0 : static_cast<double>(replay.batched_items) / static_cast<double>(replay.batches);
  fmt::print("requests   {}\nanswered   {} ({} in time)\nrefused    {}\nexpired    {}\ndropped    {}\n",
             replay.requests, replay.answered, replay.in_time, replay.refused, replay.expired, replay.dropped);
  fmt::print("batches    {} of {:.2f} items\nspan       {:.3f} s, slots busy {:.1f} %\n", replay.batches, items,
             ms(replay.span) / 1000, replay.busy * 100);
  fmt::print("goodput    {:.1f} requests/s\n", replay.goodput());
  if (slo > Duration::zero()) {
    fmt::print("slo        {:.2f} % answered within {:.3f} ms\n", share_within(replay), ms(slo));
  }
  if (replay.most_replicas > 1 || !replay.changes.empty()) {
    fmt::print("replicas   {:.2f} on average, {} at most, {} changes\n", mean_replicas(replay), replay.most_replicas,
               replay.changes.size());
    const std::size_t shown = std::min(explained, replay.changes.size());
    for (std::size_t i = replay.changes.size() - shown; i < replay.changes.size(); ++i) {
      const ReplicaChange& change = replay.changes[i];
      fmt::print("at {:.3f} s: {} -> {} replicas\n{}", ms(change.at) / 1000, change.from, change.to, change.why);
    }
  }
  fmt::print("wait       p50 {:.3f} ms, p99 {:.3f} ms\ntotal      p50 {:.3f} ms, p99 {:.3f} ms\n", ms(replay.wait_p50),
             ms(replay.wait_p99), ms(replay.total_p50), ms(replay.total_p99));
  const std::size_t first = replay.decisions.size() - std::min(explained, replay.decisions.size());
  for (std::size_t i = first; i < replay.decisions.size(); ++i) fmt::print("{}\n", to_text(replay.decisions[i]));
}

void print_as_json(const QueueReplay& replay, std::size_t explained) {
  nlohmann::json document = {{"requests", replay.requests},
                             {"answered", replay.answered},
                             {"in_time", replay.in_time},
                             {"refused", replay.refused},
                             {"expired", replay.expired},
                             {"dropped", replay.dropped},
                             {"batches", replay.batches},
                             {"batched_items", replay.batched_items},
                             {"span_ms", ms(replay.span)},
                             {"busy", replay.busy},
                             {"goodput_per_s", replay.goodput()},
                             {"wait_p50_ms", ms(replay.wait_p50)},
                             {"wait_p99_ms", ms(replay.wait_p99)},
                             {"total_p50_ms", ms(replay.total_p50)},
                             {"total_p99_ms", ms(replay.total_p99)},
                             {"within_slo", replay.within_slo},
                             {"replica_seconds", replay.replica_seconds},
                             {"most_replicas", replay.most_replicas}};
  nlohmann::json changes = nlohmann::json::array();
  for (const ReplicaChange& change : replay.changes) {
    changes.push_back({{"at_ms", ms(change.at)}, {"from", change.from}, {"to", change.to}, {"why", change.why}});
  }
  document["replica_changes"] = std::move(changes);
  const std::size_t first = replay.decisions.size() - std::min(explained, replay.decisions.size());
  nlohmann::json decisions = nlohmann::json::array();
  for (std::size_t i = first; i < replay.decisions.size(); ++i) decisions.push_back(to_text(replay.decisions[i]));
  if (explained > 0) document["decisions"] = std::move(decisions);
  print_json(document);
}

/// What an engine has kept of a model's speed, as tidegate-profile-*.json: its most learned level.
Result<LatencyProfile> read_profile(const std::string& path) {
  std::ifstream file(path);
  const nlohmann::json document = nlohmann::json::parse(file, nullptr, false);
  try {
    LatencyProfile profile;
    profile.tail95 = document.at("tail95").get<double>();
    profile.tail99 = document.at("tail99").get<double>();
    for (const nlohmann::json& level : document.at("levels")) {
      const auto samples = level.at("samples").get<std::uint64_t>();
      if (samples <= profile.samples) continue;
      const auto numbers = level.at("coefficients_ns").get<std::array<double, 4>>();
      profile.samples = samples;
      profile.base_ns = numbers[0];
      profile.per_token_ns = numbers[1];
      profile.per_square_ns = numbers[2];
      profile.per_row_ns = numbers[3];
    }
    return profile;
  } catch (const nlohmann::json::exception& error) {
    return Error(file.is_open() ? ErrorCode::corrupt_data : ErrorCode::not_found,
                 fmt::format("--service-profile '{}' is no tidegate-profile-*.json: {}", path, error.what()));
  }
}

/// Of --service-profile, or of the --service-* options.
Result<void> set_service(const QueueArguments& arguments, LatencyProfile& service) {
  if (!arguments.service_profile.empty()) {
    auto kept = read_profile(arguments.service_profile);
    if (!kept) return std::move(kept).error();
    service = *kept;
    return {};
  }
  constexpr double kMicro = 1000;
  service.base_ns = arguments.base_us * kMicro;
  service.per_token_ns = arguments.token_us * kMicro;
  service.per_square_ns = arguments.square_ns;
  service.per_row_ns = arguments.row_us * kMicro;
  return {};
}

Duration from_ms(double time) { return Duration(static_cast<Duration::rep>(std::min(time * 1e6, 9e18))); }

Result<void> set_scaling(const QueueArguments& arguments, QueueReplayOptions& replay) {
  replay.slo = from_ms(arguments.slo_ms);
  if (!arguments.autoscale) return {};
  ServiceTimeOptions options = arguments.scaling;
  options.behavior.down.window = from_ms(arguments.scale_down_window_s * 1000);
  auto policy = make_service_time_policy(options);
  if (!policy) return std::move(policy).error();
  replay.scaling = *std::move(policy);
  replay.scaling_interval = from_ms(arguments.scaling_interval_ms);
  replay.replica_start = from_ms(arguments.replica_start_ms);
  return {};
}

void add_scaling_options(CLI::App& command, QueueArguments& arguments, CLI::Option* trace) {
  CLI::Option* const autoscale =
      command.add_flag("--autoscale", arguments.autoscale, "Replicas follow the queue's service times")->needs(trace);
  const auto option = [&](const char* name, auto& value, const char* text, CLI::Option* needed) {
    command.add_option(name, value, text)->needs(needed)->check(CLI::NonNegativeNumber)->capture_default_str();
  };
  option("--slo-ms", arguments.slo_ms, "Wished time from arrival to answer; 0 = none", trace);
  option("--target-utilization", arguments.scaling.target_utilization, "Busy share of the slots at most", autoscale);
  option("--min-replicas", arguments.scaling.min_replicas, "Least replicas", autoscale);
  option("--max-replicas", arguments.scaling.max_replicas, "Most replicas", autoscale);
  option("--scaling-interval-ms", arguments.scaling_interval_ms, "Time between two decisions", autoscale);
  option("--replica-start-ms", arguments.replica_start_ms, "Time a new replica takes to start", autoscale);
  option("--scale-down-window-s", arguments.scale_down_window_s, "A shrink goes no lower than the most wanted since",
         autoscale);
}

}  // namespace

CLI::Option* add_queue_options(CLI::App& command, QueueArguments& arguments) {
  QueueReplayOptions& replay = arguments.replay;
  CLI::Option* trace = command.add_option("--queue-trace", arguments.trace,
                                          "Arrivals (CSV): time_us,tokens and, if wanted, class, tenant, deadline_us");
  const auto number = [&](const char* name, auto& value, const char* text) {
    command.add_option(name, value, text)->needs(trace)->check(CLI::NonNegativeNumber)->capture_default_str();
  };
  number("--service-base-us", arguments.base_us, "Time every batch takes");
  number("--service-token-us", arguments.token_us, "Time each token adds");
  number("--service-square-ns", arguments.square_ns, "Time each squared length of a row adds");
  number("--service-row-us", arguments.row_us, "Time each row adds");
  number("--service-tail95", replay.service.tail95, "Slowest of twenty batches over the mean; needs --seed");
  number("--service-tail99", replay.service.tail99, "Slowest of a hundred over the mean; needs --seed");
  number("--seed", replay.seed, "Draws the times of batches; 0 = each takes its mean");
  number("--slots", replay.slots, "Batches that run at a time");
  number("--max-batch-size", replay.batching.max_batch_size, "Most items of a batch");
  number("--max-batch-tokens", replay.batching.max_batch_tokens, "Most tokens of a batch");
  number("--queue-delay-us", arguments.queue_delay_us, "How long a free slot waits for company");
  number("--max-queued", replay.admission.max_queued_items, "Most requests waiting");
  number("--explain", arguments.explain, "Print the last N decisions, 256 at most");
  command
      .add_option("--service-profile", arguments.service_profile,
                  "Times that an engine has kept (tidegate-profile-*.json) instead of --service-*")
      ->needs(trace);
  add_scaling_options(command, arguments, trace);
  return trace;
}

Result<int> simulate_queue(QueueArguments arguments, bool as_json) {
  QueueReplayOptions& replay = arguments.replay;
  if (auto set = set_service(arguments, replay.service); !set) return std::move(set).error();
  if (auto set = set_scaling(arguments, replay); !set) return std::move(set).error();
  replay.batching.max_queue_delay = std::chrono::microseconds(arguments.queue_delay_us);
  const auto trace = read_queue_trace(arguments.trace);
  if (!trace) return trace.error();
  ProgressBar bar("simulating", trace->size(), "requests");
  replay.progress = [&](double done) {
    bar.update(static_cast<std::uint64_t>(done * static_cast<double>(trace->size())));
  };
  const auto report = replay_queue(*trace, replay);
  if (!report) return report.error();
  as_json ? print_as_json(*report, arguments.explain) : print(*report, arguments.explain, replay.slo);
  return 0;
}

}  // namespace tidegate::program
