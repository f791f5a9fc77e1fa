// The queue in virtual time: the same decisions as live, and what it reports.
#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "engine/engine_rig.hpp"
#include "support/temporary_folder.hpp"
#include "tidegate/simulator.hpp"

using namespace tidegate;
using namespace tidegate::test;
using namespace std::chrono_literals;

namespace {

LatencyProfile service_of(double base_us, double per_token_us, double per_row_us = 0) {
  LatencyProfile service;
  service.base_ns = base_us * 1000;
  service.per_token_ns = per_token_us * 1000;
  service.per_row_ns = per_row_us * 1000;
  return service;
}

/// Bursts, three classes, tenants, deadlines of some.
std::vector<QueueArrival> random_trace(std::uint32_t seed, std::size_t requests, Duration gap) {
  std::mt19937 random(seed);
  std::exponential_distribution<double> gaps(1.0 / static_cast<double>(gap.count()));
  std::vector<QueueArrival> trace;
  Duration at{0};
  for (std::size_t i = 0; i < requests; ++i) {
    if (random() % 4 != 0) at += Duration(static_cast<std::int64_t>(gaps(random)) + 1);
    QueueArrival arrival;
    arrival.at = at;
    arrival.tokens = 1 + random() % (random() % 5 == 0 ? 200 : 20);
    arrival.priority = static_cast<Priority>(random() % 3);
    arrival.tenant = std::string(random() % 3, 't');
    if (random() % 3 == 0) arrival.deadline = Duration(500'000 + static_cast<std::int64_t>(random() % 20'000'000));
    trace.push_back(arrival);
  }
  return trace;
}

/// The live engine on a manual clock; its batches last as long as the simulator's.
class LiveQueue {
 public:
  LiveQueue(const std::vector<QueueArrival>& trace, const QueueReplayOptions& options)
      : trace_(trace), options_(options), rig_({options.batching, options.admission, {}}, {}, {}, options.slots) {}

  void run() {
    const TimePoint start = rig_.clock->now();
    std::size_t next = 0;
    for (;;) {
      const TimePoint arrival = next < trace_.size() ? start + trace_[next].at : kNoDeadline;
      const auto first = std::min_element(ends_.begin(), ends_.end());
      const TimePoint end = ends_.empty() ? kNoDeadline : *first;
      const TimePoint alarm = rig_.clock->next_alarm();
      if (arrival == kNoDeadline && end == kNoDeadline && open_ == 0) return;
      if (end <= std::min(arrival, alarm)) {
        const auto task = static_cast<std::size_t>(first - ends_.begin());
        rig_.clock->advance_to(end);
        ends_.erase(first);
        REQUIRE(rig_.workers->run_at(task));
      } else if (alarm <= arrival) {
        rig_.clock->advance_to(alarm);
      } else {
        rig_.clock->advance_to(arrival);
        ask(trace_[next++]);
      }
      watch_new_batches();
      rig_.completions->run_all();
    }
  }

  [[nodiscard]] std::vector<BatchDecision> decisions() const { return *rig_.engine->explain(); }
  std::uint64_t answered = 0;
  std::uint64_t refused = 0;

 private:
  void ask(const QueueArrival& arrival) {
    RequestOptions options;
    options.cache = CacheMode::bypass;
    options.priority = arrival.priority;
    options.tenant = arrival.tenant;
    if (arrival.deadline != Duration::max()) options.deadline = rig_.clock->now() + arrival.deadline;
    const auto accepted =
        rig_.engine->infer({"", std::string(arrival.tokens, 'x'), options}, [this](const Result<Response>& result) {
          --open_;
          answered += result ? 1 : 0;
        });
    if (accepted) {
      ++open_;
    } else {
      ++refused;
    }
  }

  void watch_new_batches() {
    const std::vector<BatchDecision> decisions = rig_.engine->explain().value();
    for (const BatchDecision& one : decisions) {
      if (one.number <= seen_) continue;
      seen_ = one.number;
      ends_.push_back(one.formed +
                      options_.service.predict(static_cast<double>(one.rows), static_cast<double>(one.tokens), 0).mean);
    }
    REQUIRE(rig_.workers->size() == ends_.size());
  }

  const std::vector<QueueArrival>& trace_;
  const QueueReplayOptions& options_;
  EngineRig rig_;
  std::vector<TimePoint> ends_;  ///< of the tasks that wait in the executor, in its order
  std::uint64_t seen_ = 0;
  int open_ = 0;
};

void check_equal(const BatchDecision& a, const BatchDecision& b) {
  CHECK(to_text(a) == to_text(b));
  CHECK(a.formed == b.formed);
  CHECK(a.actual == b.actual);
  CHECK(a.predicted == b.predicted);
  CHECK(a.slack == b.slack);
}

}  // namespace

TEST_CASE("queue 4.13/20: simulator and live engine form the same batches from the same trace") {
  struct Way {
    std::uint32_t slots;
    Duration delay;
    double base_us;
    Duration gap;
  };
  const Way ways[] = {{1, 0ns, 2000, 400us}, {2, 0ns, 1000, 150us}, {1, 3ms, 500, 1ms}, {3, 200us, 100, 80us}};
  std::uint32_t seed = 1;
  for (const Way& way : ways) {
    CAPTURE(seed);
    const auto trace = random_trace(++seed, 4000, way.gap);
    QueueReplayOptions options;
    options.batching.max_batch_size = 16;
    options.batching.max_batch_tokens = 600;
    options.batching.max_queue_delay = way.delay;
    options.admission.max_queued_items = 120;
    options.slots = way.slots;
    options.service = service_of(way.base_us, 15, 30);
    const auto simulated = replay_queue(trace, options);
    REQUIRE(simulated);
    LiveQueue live(trace, options);
    live.run();
    const auto decisions = live.decisions();
    CHECK(simulated->answered == live.answered);
    CHECK(simulated->refused == live.refused);
    REQUIRE(simulated->decisions.size() == decisions.size());
    CHECK(decisions.size() > 100);
    for (std::size_t i = 0; i < decisions.size(); ++i) check_equal(simulated->decisions[i], decisions[i]);
  }
}

TEST_CASE("queue replay: every request is counted once, and the counts are those of a queue one can reckon by hand") {
  // One slot of 1 ms a batch of one: the second waits for the first, the third finds it free.
  const std::vector<QueueArrival> trace{{0ns}, {400us}, {5ms}};
  QueueReplayOptions options;
  options.batching.max_batch_size = 1;
  options.service = service_of(1000, 0);
  const auto replay = replay_queue(trace, options);
  REQUIRE(replay);
  CHECK(replay->answered == 3);
  CHECK(replay->in_time == 3);
  CHECK(replay->batches == 3);
  CHECK(replay->span == 6ms);
  CHECK(replay->wait_p50 == 0ns);
  CHECK(replay->wait_p99 == 600us);
  CHECK(replay->total_p99 == 1600us);
  CHECK(replay->busy == doctest::Approx(0.5));
  CHECK(replay->goodput() == doctest::Approx(500));

  const auto busy = random_trace(9, 3000, 100us);
  options.batching.max_batch_size = 8;
  options.admission.max_queued_items = 40;
  const auto many = replay_queue(busy, options);
  REQUIRE(many);
  CHECK(many->requests == busy.size());
  CHECK(many->answered + many->refused + many->expired + many->dropped == busy.size());
  CHECK(many->refused > 0);
  CHECK(many->expired > 0);
}

TEST_CASE("queue replay: a queue of one server waits as the theory of queues says") {
  // Constant service of 1 ms at a load of 0.8.
  std::mt19937_64 random(3);
  std::exponential_distribution<double> gaps(0.8e-6);
  std::vector<QueueArrival> trace;
  double at = 0;
  for (int i = 0; i < 200'000; ++i) trace.push_back({Duration(static_cast<std::int64_t>(at += gaps(random)))});
  QueueReplayOptions options;
  options.batching.max_batch_size = 1;
  options.admission.max_queued_items = 100'000;
  options.service = service_of(1000, 0);
  const auto replay = replay_queue(trace, options);
  REQUIRE(replay);
  CHECK(replay->busy == doctest::Approx(0.8).epsilon(0.02));
  // Quantiles of the wait in M/D/1 at this load, from Erlang's series.
  CHECK(std::chrono::duration<double, std::milli>(replay->wait_p50).count() == doctest::Approx(1.276).epsilon(0.06));
  CHECK(std::chrono::duration<double, std::milli>(replay->wait_p99).count() == doctest::Approx(10.36).epsilon(0.08));
}

TEST_CASE("queue replay: equal seeds give equal runs, other seeds others, and times follow the tails") {
  const auto trace = random_trace(4, 2000, 2ms);
  QueueReplayOptions options;
  options.service = service_of(1000, 10);
  options.service.tail95 = 1.5;
  options.service.tail99 = 2.5;
  options.seed = 11;
  const auto first = replay_queue(trace, options);
  const auto second = replay_queue(trace, options);
  options.seed = 12;
  const auto third = replay_queue(trace, options);
  REQUIRE((first && second && third));
  CHECK(first->total_p99 == second->total_p99);
  CHECK(first->span == second->span);
  CHECK(first->total_p50 != third->total_p50);
  CHECK(first->total_p99 > first->wait_p99);
}

TEST_CASE("queue replay: options that make no sense are refused by name") {
  const std::vector<QueueArrival> trace{{1ms}};
  const std::vector<QueueArrival> backwards{{2ms}, {1ms}};
  QueueReplayOptions options;
  CHECK(replay_queue(trace, options).error().message().find("service time") != std::string::npos);
  options.service = service_of(1000, 0);
  CHECK(replay_queue(trace, options));
  CHECK(replay_queue(backwards, options).error().message().find("request 2") != std::string::npos);
  options.slots = 0;
  CHECK(replay_queue(trace, options).error().message().find("slots") != std::string::npos);
}

TEST_CASE("queue trace: columns in any order, optional ones empty, comments left out") {
  const TemporaryFolder folder;
  folder.write("trace.csv",
               "# made by hand\n"
               "tokens, time_us,deadline_us,class,tenant\r\n"
               "12,0,,,\n"
               "\n"
               "7,1500,20000,batch,alice\n");
  const auto trace = read_queue_trace(folder.file("trace.csv"));
  REQUIRE(trace);
  REQUIRE(trace->size() == 2);
  CHECK(trace->at(0).tokens == 12);
  CHECK(trace->at(0).deadline == Duration::max());
  CHECK(trace->at(0).priority == Priority::interactive);
  CHECK(trace->at(1).at == 1500us);
  CHECK(trace->at(1).deadline == 20ms);
  CHECK(trace->at(1).priority == Priority::batch);
  CHECK(trace->at(1).tenant == "alice");
}

TEST_CASE("queue trace: what is wrong is named with its line") {
  const TemporaryFolder folder;
  const auto trouble = [&](std::string_view text) {
    folder.write("trace.csv", text);
    const auto trace = read_queue_trace(folder.file("trace.csv"));
    REQUIRE(!trace);
    CHECK(trace.error().code() == ErrorCode::corrupt_data);
    return std::string(trace.error().message());
  };
  const auto has = [](const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; };
  CHECK(has(trouble(""), "no request"));
  CHECK(has(trouble("time_us\n1\n"), ":1: column 'tokens'"));
  CHECK(has(trouble("time_us,tokens,colour\n"), "'colour'"));
  CHECK(has(trouble("time_us,tokens\n1\n"), ":2: 1 fields"));
  CHECK(has(trouble("time_us,tokens\n1,0\n"), "tokens is '0'"));
  CHECK(has(trouble("time_us,tokens\n1,5x\n"), "tokens is '5x'"));
  CHECK(has(trouble("time_us,tokens\n5,1\n4,1\n"), ":3: time_us is before"));
  CHECK(has(trouble("time_us,tokens,class\n5,1,urgent\n"), "class is 'urgent'"));
  CHECK(has(trouble("time_us,tokens,deadline_us\n5,1,-3\n"), "deadline_us is '-3'"));
  CHECK(read_queue_trace(folder.file("absent.csv")).error().code() == ErrorCode::not_found);
}
