// ThreadPool: stopped by several threads at once.
#include "base/thread_pool.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <vector>

using namespace tidegate;

TEST_CASE("thread pool: threads that stop it at the same time join each of its threads once") {
  for (int round = 0; round < 200; ++round) {
    std::atomic<int> ran{0};
    ThreadPool pool("pool", 2);
    for (int i = 0; i < 4; ++i) pool.post([&] { ++ran; });
    std::atomic<int> ready{0};
    std::vector<std::thread> stoppers;
    for (int n = 0; n < 3; ++n) {
      stoppers.emplace_back([&] {
        ++ready;
        while (ready.load() < 3) std::this_thread::yield();
        (void)pool.stop(Duration::max());
      });
    }
    for (std::thread& one : stoppers) one.join();
    CHECK(ran.load() == 4);
  }
}
