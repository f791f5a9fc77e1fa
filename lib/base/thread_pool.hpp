// ThreadPool: worker threads that park when idle and can be left behind when stuck.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tidegate/callback.hpp"
#include "tidegate/time.hpp"

namespace tidegate {

/// A fixed number of threads over one queue, first in first out. Thread-safe.
/// Library threads block all signals, so the host's handlers run on its own threads.
class ThreadPool final : public Executor {
 public:
  /// `name` (at most 15 bytes) labels the threads for debuggers and profilers.
  /// Throws std::system_error, with no thread left running, if the system has none to give.
  ThreadPool(std::string name, std::uint32_t threads);
  /// As `stop` with no bound, unless `stop` was called.
  ~ThreadPool() override;

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// Queues a task. After `stop` the task is destroyed unrun.
  void post(UniqueFunction<void()> task) override;

  /// Runs what is queued, then ends the threads; waits for `bound` at most
  /// (Duration::max() = until they end; zero = not at all).
  /// A thread still inside a task by then is detached: it owns what it needs and
  /// ends by itself. Answers how many were left behind. Idempotent. When called
  /// from one of its own threads, that thread is among those left behind.
  std::uint32_t stop(Duration bound);

 private:
  struct State;
  std::shared_ptr<State> state_;
  std::vector<std::thread> threads_;
};

}  // namespace tidegate
