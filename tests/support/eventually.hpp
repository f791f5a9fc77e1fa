// eventually: waits for what another thread will do.
#pragma once

#include <chrono>
#include <thread>

namespace tidegate::test {

/// True as soon as the condition holds; false after a time no test should need.
template <class Condition>
[[nodiscard]] bool eventually(const Condition& condition) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(120);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::yield();
  }
  return true;
}

}  // namespace tidegate::test
