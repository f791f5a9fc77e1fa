// What a caller that waits for its answer needs to run the batch of its request itself.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <utility>

#include "queue/scheduler_core.hpp"
#include "router/router.hpp"
#include "tidegate/request.hpp"
#include "tidegate/result.hpp"

namespace tidegate {

class Pipeline;

/// While it lives, a batch of `pipeline` that is dispatched on this thread and holds the
/// thread's own request stays here instead of going to a worker.
class Leading {
 public:
  explicit Leading(const Pipeline& pipeline) noexcept : pipeline_(pipeline), outer_(innermost) { innermost = this; }
  ~Leading() { innermost = outer_; }
  Leading(const Leading&) = delete;
  Leading& operator=(const Leading&) = delete;

  /// The one of this thread for `pipeline`, or nullptr.
  [[nodiscard]] static Leading* of(const Pipeline& pipeline) noexcept {
    return innermost != nullptr && &innermost->pipeline_ == &pipeline ? innermost : nullptr;
  }

  void own(const void* work) noexcept { work_ = work; }

  /// Whether the batch was taken. It is moved from then on.
  [[nodiscard]] bool take(RunBatch& batch, Router& router) noexcept {
    if (work_ == nullptr || batch_) return false;
    if (std::find(batch.works.begin(), batch.works.end(), work_) == batch.works.end()) return false;
    lease_ = router.acquire();
    if (!lease_) return false;
    batch_.emplace(std::move(batch));
    return true;
  }

  [[nodiscard]] std::optional<RunBatch>& batch() noexcept { return batch_; }
  [[nodiscard]] std::optional<ReplicaLease>& lease() noexcept { return lease_; }

 private:
  static inline thread_local constinit Leading* innermost = nullptr;
  const Pipeline& pipeline_;
  Leading* const outer_;
  const void* work_ = nullptr;
  std::optional<RunBatch> batch_{};
  std::optional<ReplicaLease> lease_{};
};

/// The end of a request that a thread waits for.
class AwaitedEnd {
 public:
  void set(Result<Response> result) noexcept {
    result_.emplace(std::move(result));
    ended_.store(1, std::memory_order_release);
    ended_.notify_one();
  }
  /// Once. Blocks until `set`.
  [[nodiscard]] Result<Response> wait() noexcept {
    while (ended_.load(std::memory_order_acquire) == 0) ended_.wait(0, std::memory_order_acquire);
    return *std::move(result_);
  }

 private:
  std::optional<Result<Response>> result_{};
  std::atomic<std::uint32_t> ended_{0};
};

}  // namespace tidegate
