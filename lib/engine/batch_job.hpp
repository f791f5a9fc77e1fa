// BatchJob: a batch on its way to the thread that runs it. BatchJobPool: one for each slot.
#pragma once

#include <atomic>
#include <cassert>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "queue/scheduler_core.hpp"
#include "router/router.hpp"
#include "tidegate/runner.hpp"

namespace tidegate {

struct PendingRequest;

/// Its lists keep their room from batch to batch.
struct BatchJob {
  BatchId id{};
  std::vector<void*> works;      ///< Work*
  std::vector<BatchItem> items;  ///< while it computes
  std::optional<ReplicaLease> lease;
  PendingRequest* leader = nullptr;  ///< whose caller runs it; null = a worker
  TimePoint computed{};              ///< the model's answers are where they belong
  BatchJob* next = nullptr;

  /// What whoever may run the batch must show to take it: good for one, once.
  [[nodiscard]] std::uint64_t ticket() const noexcept { return ticket_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool take(std::uint64_t ticket) noexcept {
    // Relaxed: the executor orders the rest.
    return ticket_.compare_exchange_strong(ticket, ticket + 1, std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint64_t> ticket_{0};
};

/// Each running batch has a slot of the scheduler's, so as many jobs as slots are enough:
/// a job is put back before its slot is. Thread-compatible.
class BatchJobPool {
 public:
  /// For so many slots. May throw std::bad_alloc.
  void make_room(std::size_t slots) {
    while (jobs_.size() < slots) {
      free_.reserve(jobs_.size() + 1);
      jobs_.push_back(std::make_unique<BatchJob>());
      free_.push_back(jobs_.back().get());
    }
  }

  [[nodiscard]] BatchJob& take() noexcept {
    assert(!free_.empty());
    BatchJob& job = *free_.back();
    free_.pop_back();
    return job;
  }

  /// Tickets that are still about find it taken, for ever.
  void put_back(BatchJob& job) noexcept {
    static_cast<void>(job.take(job.ticket()));
    job.works.clear();
    job.leader = nullptr;
    job.next = nullptr;
    free_.push_back(&job);  // within the capacity reserved by make_room()
  }

 private:
  std::vector<std::unique_ptr<BatchJob>> jobs_;
  std::vector<BatchJob*> free_;
};

}  // namespace tidegate
