// eventually: waits for what another thread will do.
#pragma once

#include <chrono>
#include <thread>

namespace tidegate::test {

constexpr int kSpins = 1000;

/// True as soon as the condition holds; false after a time no test should need.
template <class Condition>
[[nodiscard]] bool eventually(const Condition& condition) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(120);
  for (int turn = 0; !condition(); ++turn) {
    if (std::chrono::steady_clock::now() > until) return false;
    if (turn < kSpins) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(200));  // leaves the core to whom it waits for
    }
  }
  return true;
}

}  // namespace tidegate::test
