// Streams of the C ABI under threads: exactly one end each, whatever cancels, closes or shuts down.
#include <atomic>
#include <map>
#include <random>
#include <thread>

#include "stream_model.hpp"

using namespace capi_test;

namespace {

enum class Ending { complete, shutdown, close };

struct Tally {
  std::atomic<int> opened{0};
  std::atomic<int> ended{0};
  std::atomic<int> wrong{0};
  std::atomic<int> loops_done{0};
};

struct Open {
  StreamHandle stream;
  int chunks = 0;
};

/// Takes what is there; true at the end.
bool take(Open& open, Tally& tally) {
  for (;;) {
    tidegate_result* raw = nullptr;
    const tidegate_status status = tidegate_stream_next(open.stream.get(), &raw, nullptr);
    const ResultHandle item(raw);
    if (status == TIDEGATE_EMPTY) return false;
    if (status == TIDEGATE_DONE) {
      ++tally.ended;
      return true;
    }
    if (status != TIDEGATE_OK || first_number(raw) != static_cast<float>(open.chunks++)) {
      ++tally.wrong;
      return true;
    }
  }
}

/// An event loop of its own: opens streams and takes from those it is told of.
void loop(const Runtime& runtime, unsigned seed, int rounds, Ending ending, Tally& tally) {
  std::mt19937 random(seed);
  const Queue cq = make_queue(runtime);
  std::map<std::uint64_t, Open> open;
  std::uint64_t tag = 0;
  bool refused = false;
  std::thread canceller;
  while (!refused || !open.empty()) {
    if (static_cast<int>(tag) == rounds) refused = true;
    if (!refused && open.size() < 6) {
      auto options = initialised<tidegate_request_options>();
      if (random() % 5 == 0) options.timeout_ns = 1 + static_cast<std::int64_t>(random() % 2'000'000);
      const RequestHandle request = make_request(runtime, "a " + std::to_string(1 + random() % 12), &options);
      auto wishes = initialised<tidegate_stream_options>();
      wishes.buffer_chunks = static_cast<std::uint32_t>(1 + random() % 3);
      tidegate_stream* raw = nullptr;
      const tidegate_status status = tidegate_stream_open(request.get(), &wishes, cq.get(), ++tag, &raw, nullptr);
      if (status == TIDEGATE_OK) {
        ++tally.opened;
        open[tag].stream.reset(raw);
        if (random() % 4 == 0) {
          if (canceller.joinable()) canceller.join();
          // Joined before any stream it may hold is released.
          canceller = std::thread([raw] { (void)tidegate_stream_cancel(raw); });
        }
      } else if (status == TIDEGATE_E_SHUTTING_DOWN) {
        refused = true;
      } else if (status != TIDEGATE_E_DEADLINE && status != TIDEGATE_E_OVERLOADED) {
        ++tally.wrong;
      }
      if (ending == Ending::close && static_cast<int>(tag) == rounds / 2) (void)tidegate_cq_close(cq.get());
      continue;
    }
    const tidegate_completion record = next(cq);
    const auto found = open.find(record.tag);
    if (record.kind != TIDEGATE_COMPLETION_STREAM || found == open.end()) {
      ++tally.wrong;
      continue;
    }
    if (take(found->second, tally)) {
      if (canceller.joinable()) canceller.join();
      open.erase(found);
    }
  }
  if (canceller.joinable()) canceller.join();
  ++tally.loops_done;
}

void play(Ending ending, unsigned seed) {
  StepModel model;
  Gate destroyed;
  model.destroyed = [&] { destroyed.open(); };
  Tally tally;
  {
    const Runtime runtime = make_runtime();
    REQUIRE(add_steps(runtime, model, R"({"replica.concurrency": 2, "batching.max_batch_size": 4})") == TIDEGATE_OK);
    std::vector<std::thread> loops;
    for (unsigned n = 0; n < 3; ++n) {
      loops.emplace_back([&, n] { loop(runtime, seed * 10 + n, 150, ending, tally); });
    }
    if (ending == Ending::shutdown) {
      while (tally.ended.load() < 60 && tally.loops_done.load() < 3) std::this_thread::yield();
      (void)tidegate_runtime_shutdown(runtime.get(), 500'000, nullptr);
    }
    for (std::thread& one : loops) one.join();
    CHECK(tidegate_runtime_shutdown(runtime.get(), TIDEGATE_FOREVER, nullptr) == TIDEGATE_OK);
  }
  destroyed.pass();  // a step that the shutdown's bound has cut off may end after it
  CHECK(tally.wrong.load() == 0);
  CHECK(tally.opened.load() > 0);
  CHECK(tally.opened.load() == tally.ended.load());
  CHECK(model.states.load() == 0);
}

}  // namespace

TEST_CASE("streams exactly once: each has one end under cancels from other threads and deadlines") {
  for (unsigned seed = 1; seed <= 3; ++seed) play(Ending::complete, seed);
}

TEST_CASE("streams exactly once: when the runtime is shut down in the middle") {
  for (unsigned seed = 11; seed <= 14; ++seed) play(Ending::shutdown, seed);
}

TEST_CASE("streams exactly once: when their queues are closed in the middle") {
  for (unsigned seed = 21; seed <= 24; ++seed) play(Ending::close, seed);
}

TEST_CASE("streams: a second consumer is told busy while one waits, and cancel from another thread ends the wait") {
  StepModel model;
  Gate gate;
  model.before_step = [&](const std::string&) { gate.pass(); };
  const Runtime runtime = make_runtime();
  REQUIRE(add_steps(runtime, model) == TIDEGATE_OK);
  const StreamHandle stream = open_stream(runtime, "a 5");
  gate.await(1);
  std::thread consumer([&] {
    tidegate_status status = TIDEGATE_E_BUSY;
    while (status == TIDEGATE_E_BUSY) status = tidegate_stream_wait(stream.get(), TIDEGATE_FOREVER);
    CHECK(status == TIDEGATE_OK);
  });
  tidegate_result* item = nullptr;
  while (tidegate_stream_next(stream.get(), &item, nullptr) != TIDEGATE_E_BUSY) std::this_thread::yield();
  CHECK(tidegate_stream_wait(stream.get(), 0) == TIDEGATE_E_BUSY);
  CHECK(tidegate_stream_cancel(stream.get()) == TIDEGATE_OK);
  consumer.join();  // the model is still in its step
  Given given;
  given.take_all(stream.get());
  CHECK(given.end == TIDEGATE_E_CANCELLED);
  gate.open();
}

TEST_CASE("streams: a wait is bounded") {
  StepModel model;
  Gate gate;
  model.before_step = [&](const std::string&) { gate.pass(); };
  const Runtime runtime = make_runtime();
  REQUIRE(add_steps(runtime, model) == TIDEGATE_OK);
  const StreamHandle stream = open_stream(runtime, "a 1");
  CHECK(tidegate_stream_wait(stream.get(), 0) == TIDEGATE_EMPTY);
  CHECK(tidegate_stream_wait(stream.get(), 1'000'000) == TIDEGATE_EMPTY);
  CHECK(tidegate_stream_wait(stream.get(), -1) == TIDEGATE_E_INVALID);
  gate.open();
  Given given;
  given.take_all(stream.get());
  CHECK(given.chunks == 1);
}
