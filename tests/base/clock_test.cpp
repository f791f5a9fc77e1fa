#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <thread>
#include <vector>

#include "base/thread_pool.hpp"
#include "tidegate/time.hpp"

using namespace tidegate;

TEST_CASE("steady clock: alarms ring in order, none before its time") {
  const auto clock = make_steady_clock();
  const TimePoint start = clock->now();
  std::vector<int> order;
  std::promise<TimePoint> last;
  clock->call_at(start + std::chrono::milliseconds(20), [&] {
    order.push_back(2);
    last.set_value(clock->now());
  });
  clock->call_at(start + std::chrono::milliseconds(5), [&] { order.push_back(1); });
  clock->call_at(start - std::chrono::hours(1), [&] { order.push_back(0); });
  CHECK(last.get_future().get() >= start + std::chrono::milliseconds(20));
  CHECK(order == std::vector<int>{0, 1, 2});
}

TEST_CASE("steady clock: its coarse time is never ahead of the exact one, and behind by its most at most") {
  const auto clock = make_steady_clock();
  for (int reading = 0; reading < 10'000; ++reading) {
    const TimePoint before = clock->now();
    const TimePoint coarse = clock->coarse_now();
    if (coarse > clock->now() || coarse < before - Clock::kMostLag) FAIL_CHECK(reading);
  }
}

TEST_CASE("steady clock: a cancelled alarm does not ring, and only once can it be cancelled") {
  const auto clock = make_steady_clock();
  std::atomic<bool> rang = false;
  const AlarmId id = clock->call_at(clock->now() + std::chrono::milliseconds(250), [&] { rang = true; });
  CHECK(clock->cancel(id));
  CHECK_FALSE(clock->cancel(id));
  std::promise<void> later;
  clock->call_at(clock->now() + std::chrono::milliseconds(300), [&] { later.set_value(); });
  later.get_future().get();
  CHECK_FALSE(rang);
}

TEST_CASE("steady clock: alarms far away do not keep it alive") {
  auto held = std::make_shared<int>(1);
  {
    const auto clock = make_steady_clock();
    clock->call_at(clock->now() + std::chrono::hours(24), [held] {});
    CHECK(held.use_count() == 2);
  }
  CHECK(held.use_count() == 1);
}

TEST_CASE("thread pool: runs what is queued before it stops, and nothing after") {
  std::atomic<int> ran = 0;
  ThreadPool pool("test", 3);
  for (int i = 0; i < 100; ++i) pool.post([&] { ++ran; });
  CHECK(pool.stop(Duration::max()) == 0);
  CHECK(ran == 100);
  pool.post([&] { ++ran; });
  CHECK(pool.stop(Duration::max()) == 0);
  CHECK(ran == 100);
}

TEST_CASE("thread pool: a stuck task is left behind at the bound and ends by itself") {
  auto open = std::make_shared<std::promise<void>>();
  auto done = std::make_shared<std::promise<void>>();
  auto finished = done->get_future();
  std::promise<void> entered;
  {
    ThreadPool pool("test", 1);
    pool.post([&entered, gate = open->get_future().share(), done] {
      entered.set_value();
      gate.wait();
      done->set_value();
    });
    entered.get_future().get();
    CHECK(pool.stop(Duration::zero()) == 1);
  }
  open->set_value();
  finished.get();
}

TEST_CASE("thread pool: may be stopped from one of its own threads") {
  std::promise<std::uint32_t> left;
  auto pool = std::make_shared<ThreadPool>("test", 2);
  pool->post([&left, pool] { left.set_value(pool->stop(Duration::max())); });
  CHECK(left.get_future().get() == 1);
}
