// ManualExecutor: runs tasks when the test says so, on the test's thread.
#pragma once

#include <deque>
#include <mutex>

#include "tidegate/callback.hpp"

namespace tidegate::test {

class ManualExecutor final : public Executor {
 public:
  void post(UniqueFunction<void()> task) override {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }

  /// Runs the oldest task; false if there is none.
  bool run_one() { return run_at(0); }

  /// Runs the i-th waiting task out of turn.
  bool run_at(std::size_t i) {
    UniqueFunction<void()> task;
    {
      const std::lock_guard lock(mutex_);
      if (i >= tasks_.size()) return false;
      task = std::move(tasks_[i]);
      tasks_.erase(tasks_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    task();
    return true;
  }

  std::size_t run_all() {
    std::size_t count = 0;
    while (run_one()) ++count;
    return count;
  }

  [[nodiscard]] std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return tasks_.size();
  }

 private:
  mutable std::mutex mutex_;
  std::deque<UniqueFunction<void()>> tasks_;
};

}  // namespace tidegate::test
