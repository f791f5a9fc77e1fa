// Many streams on real threads: consumers that pull, wait, poll, fall silent and vanish.
#include <doctest/doctest.h>

#include <atomic>
#include <random>
#include <thread>

#include "engine/stream_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kStreams = 200;
#else
constexpr int kStreams = 400;
#endif
constexpr int kConsumers = 4;

struct Tally {
  std::atomic<int> ended{0}, out_of_order{0}, short_answers{0};
};

/// Pulls by callbacks; owns its stream until the end.
struct Puller : std::enable_shared_from_this<Puller> {
  std::optional<Stream> stream;
  Tally* tally = nullptr;
  std::uint64_t expected = 0, chunks = 0;
  std::promise<void> done;

  void ask() {
    const auto accepted =
        stream->next([self = shared_from_this()](StreamEvent event) { self->take(std::move(event)); });
    if (!accepted) done.set_value();
  }
  void take(StreamEvent event) {
    if (const auto* chunk = std::get_if<Chunk>(&event)) {
      if (chunk->index != chunks++) ++tally->out_of_order;
      ask();
      return;
    }
    ++tally->ended;
    if (std::get<Result<Response>>(event) && chunks != expected) ++tally->short_answers;
    done.set_value();
  }
};

class Consumer {
 public:
  Consumer(Engine& engine, Tally& tally, std::uint32_t seed) : engine_(engine), tally_(tally), random_(seed) {}

  void run() {
    for (int i = 0; i < kStreams; ++i) one();
    for (const auto& puller : pullers_) puller->done.get_future().wait();
  }

 private:
  std::uint32_t pick(std::uint32_t low, std::uint32_t high) { return low + random_() % (high - low + 1); }

  void one() {
    const std::uint32_t steps = pick(1, 30);
    RequestOptions options;
    if (pick(0, 9) == 0) options.deadline = std::chrono::steady_clock::now() + std::chrono::microseconds(pick(1, 2000));
    options.priority = static_cast<Priority>(pick(0, 2));
    auto stream = engine_.stream({"", "a " + std::to_string(steps), options}, {.buffer_chunks = pick(1, 4)});
    if (!stream) return;  // late or full
    switch (pick(0, 4)) {
      case 0: return;  // vanishes at once
      case 1: return leave_after(*stream, pick(0, 3));
      case 2: return poll(*stream, steps);
      case 3: return wait(*stream, steps);
      default: break;
    }
    const auto puller = std::make_shared<Puller>();
    puller->stream.emplace(*std::move(stream));
    puller->tally = &tally_;
    puller->expected = steps;
    pullers_.push_back(puller);
    puller->ask();
  }

  void check(StreamEvent& event, std::uint64_t& chunks, std::uint32_t steps, bool& ended) {
    if (const auto* chunk = std::get_if<Chunk>(&event)) {
      if (chunk->index != chunks++) ++tally_.out_of_order;
      return;
    }
    ended = true;
    ++tally_.ended;
    if (std::get<Result<Response>>(event) && chunks != steps) ++tally_.short_answers;
  }

  void wait(Stream& stream, std::uint32_t steps) {
    bool ended = false;
    for (std::uint64_t chunks = 0; !ended;) {
      StreamEvent event = stream.wait_next();
      check(event, chunks, steps, ended);
    }
  }

  void poll(Stream& stream, std::uint32_t steps) {
    bool ended = false;
    for (std::uint64_t chunks = 0; !ended;) {
      auto event = stream.try_next();
      event ? check(*event, chunks, steps, ended) : std::this_thread::yield();
    }
  }

  static void leave_after(Stream& stream, std::uint32_t chunks) {
    while (chunks-- > 0 && std::holds_alternative<Chunk>(stream.wait_next())) {
    }
    stream.cancel();
  }

  Engine& engine_;
  Tally& tally_;
  std::mt19937 random_;
  std::vector<std::shared_ptr<Puller>> pullers_;
};

}  // namespace

TEST_CASE("engine stream threads: every stream that is followed ends once and in order, and nothing is left") {
  const auto alive = std::make_shared<std::atomic<int>>(0);
  Tally tally;
  std::atomic<int> answers{0};
  {
    auto engine = *Engine::create();
    std::vector<Replica> set;
    for (int i = 0; i < 2; ++i) {
      set.push_back({std::make_unique<StepRunner>(StepRunner::OnStep(), alive), {.concurrency = 2}});
    }
    ModelOptions options;
    options.batching.max_batch_size = 8;
    REQUIRE(engine.add_model("step", std::move(set), options));
    std::vector<std::thread> threads;
    for (int i = 0; i < kConsumers; ++i) {
      threads.emplace_back([&, i] { Consumer(engine, tally, static_cast<std::uint32_t>(i)).run(); });
    }
    threads.emplace_back([&] {
      for (int i = 0; i < kStreams; ++i) {
        const auto answer = engine.infer_and_wait({"", "b " + std::to_string(1 + i % 7), {}});
        if (answer && answer->outputs.size() == static_cast<std::size_t>(2 + i % 7)) ++answers;
      }
    });
    for (std::thread& thread : threads) thread.join();
    CHECK(engine.drain(std::chrono::minutes(1)).failed == 0);
    const MetricsSnapshot metrics = engine.metrics();
    for (const char* gauge : {"tidegate_requests_in_flight", "tidegate_queue_items", "tidegate_running_batches",
                              "tidegate_kept_items", "tidegate_parked_items"}) {
      CHECK(metrics.value(gauge) == 0);
    }
  }
  CHECK(tally.ended > kStreams);
  CHECK(tally.out_of_order == 0);
  CHECK(tally.short_answers == 0);
  CHECK(answers == kStreams);
  CHECK(alive->load() == 0);
}

TEST_CASE(
    "engine stream threads: an engine that goes away ends the streams, on their callbacks and for those who wait") {
  for (int round = 0; round < 20; ++round) {
    Tally tally;
    const auto puller = std::make_shared<Puller>();
    std::optional<Stream> waited;
    std::thread waiter;
    {
      EngineOptions options;
      options.drain_timeout = Duration::zero();
      auto engine = *Engine::create(std::move(options));
      std::vector<Replica> set;
      set.push_back({std::make_unique<StepRunner>(), {}});
      REQUIRE(engine.add_model("step", std::move(set)));
      puller->stream.emplace(*engine.stream({"", std::string("a 1000000000"), {}}));
      puller->tally = &tally;
      puller->ask();
      waited.emplace(*engine.stream({"", std::string("b 1000000000"), {}}));
      waiter = std::thread([&] {
        while (std::holds_alternative<Chunk>(waited->wait_next())) {
        }
        ++tally.ended;
      });
    }
    waiter.join();
    // A callback asked for while the completion thread was stopping is refused; the end is there.
    puller->done.get_future().wait();
    while (auto event = puller->stream->try_next()) {
      if (std::holds_alternative<Result<Response>>(*event)) ++tally.ended;
    }
    CHECK(tally.ended == 2);
    puller->stream.reset();
  }
}
