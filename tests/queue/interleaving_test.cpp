// Every order of a few concurrent actions, within small bounds: no schedule is left to luck.
#include <doctest/doctest.h>

#include <array>
#include <vector>

#include "queue/reference_model.hpp"
#include "queue/scheduler_driver.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

enum class Act : std::uint8_t { submit, cancel, done, drain, fail, expire };
using Thread = std::vector<Act>;  ///< acts that keep their order among themselves

struct Bounds {
  std::uint32_t slots = 1;
  Ticks delay = 0;
  bool equal_requests = false;
};

/// One actor per thread: it submits one request and cancels that same request.
void play(const Bounds& bounds, const std::vector<Thread>& threads, const std::vector<std::uint8_t>& order) {
  Setup setup;
  setup.batching = {2, 100, Duration(bounds.delay)};
  setup.slots = bounds.slots;
  SchedulerDriver driver(setup);
  ReferenceModel model(setup);
  std::vector<std::uint32_t> request_of(threads.size());
  std::vector<std::size_t> position(threads.size(), 0);
  std::uint32_t first_running = 0;
  for (const std::uint8_t actor : order) {
    switch (threads[actor][position[actor]++]) {
      case Act::submit: {
        request_of[actor] = static_cast<std::uint32_t>(driver.requests.size());
        const std::optional<std::uint8_t> key =
            bounds.equal_requests ? std::optional<std::uint8_t>(1) : std::optional<std::uint8_t>();
        const Deadline deadline = actor == 0 ? at(1005) : kNoDeadline;
        driver.submit({}, deadline, key);
        model.submit(driver.now, {}, deadline, key);
        break;
      }
      case Act::cancel:
        if (driver.cancel(request_of[actor]) != model.cancel(driver.now, request_of[actor])) FAIL("cancel differs");
        break;
      case Act::done:
        if (first_running == driver.batches.size()) continue;
        driver.done(first_running);
        model.done(driver.now, first_running++);
        break;
      case Act::drain:
        driver.begin_drain();
        model.begin_drain(driver.now);
        break;
      case Act::fail:
        driver.fail_remaining();
        model.fail_remaining(driver.now);
        break;
      case Act::expire:
        driver.advance(5);
        model.advance(driver.now);
        break;
    }
    expect_equal(driver.last, model.take());
  }
  driver.finish_all();
}

std::uint64_t play_all(const Bounds& bounds, const std::vector<Thread>& threads) {
  std::vector<std::size_t> position(threads.size(), 0);
  std::vector<std::uint8_t> order;
  std::uint64_t played = 0;
  const auto extend = [&](const auto& self) -> void {
    bool complete = true;
    for (std::size_t actor = 0; actor < threads.size(); ++actor) {
      if (position[actor] == threads[actor].size()) continue;
      complete = false;
      ++position[actor];
      order.push_back(static_cast<std::uint8_t>(actor));
      self(self);
      order.pop_back();
      --position[actor];
    }
    if (!complete) return;
    play(bounds, threads, order);
    ++played;
  };
  extend(extend);
  return played;
}

const std::array<Bounds, 6> kBounds{
    {{1, 0, false}, {1, 0, true}, {1, 5, false}, {1, 5, true}, {2, 0, true}, {0, 0, true}}};

}  // namespace

TEST_CASE(
    "queue 4.13/48: every interleaving of two requests with cancel, completion, expiry and drain ends each once") {
  const std::vector<Thread> threads{
      {Act::submit, Act::cancel}, {Act::submit, Act::cancel}, {Act::done, Act::done}, {Act::drain}, {Act::expire}};
  for (const Bounds& bounds : kBounds) CHECK(play_all(bounds, threads) == 5040);  // 8! / 2!^3
}

TEST_CASE(
    "queue 4.13/48: every interleaving of two requests with cancel, completion, drain and failure ends each once") {
  const std::vector<Thread> threads{
      {Act::submit, Act::cancel}, {Act::submit, Act::cancel}, {Act::done, Act::done}, {Act::drain, Act::fail}};
  for (const Bounds& bounds : kBounds) CHECK(play_all(bounds, threads) == 2520);  // 8! / 2!^4
}

TEST_CASE("queue 4.13/48: every interleaving of three requests with cancel, completion and failure ends each once") {
  const std::vector<Thread> threads{
      {Act::submit, Act::cancel}, {Act::submit, Act::cancel}, {Act::submit, Act::cancel}, {Act::done}, {Act::fail}};
  for (const Bounds& bounds : kBounds) CHECK(play_all(bounds, threads) == 5040);  // 8! / 2!^3
}
