#include "simulate_queue.hpp"

#include <fmt/core.h>

#include "output.hpp"

namespace tidegate::program {
namespace {

double ms(Duration time) { return std::chrono::duration<double, std::milli>(time).count(); }

void print(const QueueReplay& replay, std::size_t explained) {
  const double items =
      replay.batches == 0 ? 0.0 : static_cast<double>(replay.batched_items) / static_cast<double>(replay.batches);
  fmt::print("requests   {}\nanswered   {} ({} in time)\nrefused    {}\nexpired    {}\ndropped    {}\n",
             replay.requests, replay.answered, replay.in_time, replay.refused, replay.expired, replay.dropped);
  fmt::print("batches    {} of {:.2f} items\nspan       {:.3f} s, slots busy {:.1f} %\n", replay.batches, items,
             ms(replay.span) / 1000, replay.busy * 100);
  fmt::print("goodput    {:.1f} requests/s\n", replay.goodput());
  fmt::print("wait       p50 {:.3f} ms, p99 {:.3f} ms\ntotal      p50 {:.3f} ms, p99 {:.3f} ms\n", ms(replay.wait_p50),
             ms(replay.wait_p99), ms(replay.total_p50), ms(replay.total_p99));
  const std::size_t first = replay.decisions.size() - std::min(explained, replay.decisions.size());
  for (std::size_t i = first; i < replay.decisions.size(); ++i) fmt::print("{}\n", to_text(replay.decisions[i]));
}

void print_as_json(const QueueReplay& replay, std::size_t explained) {
  nlohmann::json document = {{"requests", replay.requests},         {"answered", replay.answered},
                             {"in_time", replay.in_time},           {"refused", replay.refused},
                             {"expired", replay.expired},           {"dropped", replay.dropped},
                             {"batches", replay.batches},           {"batched_items", replay.batched_items},
                             {"span_ms", ms(replay.span)},          {"busy", replay.busy},
                             {"goodput_per_s", replay.goodput()},   {"wait_p50_ms", ms(replay.wait_p50)},
                             {"wait_p99_ms", ms(replay.wait_p99)},  {"total_p50_ms", ms(replay.total_p50)},
                             {"total_p99_ms", ms(replay.total_p99)}};
  const std::size_t first = replay.decisions.size() - std::min(explained, replay.decisions.size());
  nlohmann::json decisions = nlohmann::json::array();
  for (std::size_t i = first; i < replay.decisions.size(); ++i) decisions.push_back(to_text(replay.decisions[i]));
  if (explained > 0) document["decisions"] = std::move(decisions);
  print_json(document);
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
  return trace;
}

Result<int> simulate_queue(QueueArguments arguments, bool as_json) {
  QueueReplayOptions& replay = arguments.replay;
  constexpr double kMicro = 1000;
  replay.service.base_ns = arguments.base_us * kMicro;
  replay.service.per_token_ns = arguments.token_us * kMicro;
  replay.service.per_square_ns = arguments.square_ns;
  replay.service.per_row_ns = arguments.row_us * kMicro;
  replay.batching.max_queue_delay = std::chrono::microseconds(arguments.queue_delay_us);
  const auto trace = read_queue_trace(arguments.trace);
  if (!trace) return trace.error();
  ProgressBar bar("simulating", trace->size(), "requests");
  replay.progress = [&](double done) {
    bar.update(static_cast<std::uint64_t>(done * static_cast<double>(trace->size())));
  };
  const auto report = replay_queue(*trace, replay);
  if (!report) return report.error();
  as_json ? print_as_json(*report, arguments.explain) : print(*report, arguments.explain);
  return 0;
}

}  // namespace tidegate::program
