// QueueHost: drives a SchedulerCore in virtual time, as the engine does in real time.
#pragma once

#include <queue>
#include <random>
#include <span>
#include <vector>

#include "queue/batch_shape.hpp"
#include "queue/scheduler_core.hpp"
#include "simulator/replica_fleet.hpp"
#include "tidegate/simulator.hpp"

namespace tidegate {

/// At one moment batches end first, then time passes, then replicas come and go, then requests arrive.
class QueueHost {
 public:
  QueueHost(std::span<const QueueArrival> trace, const QueueReplayOptions& options);

  /// To the end of the last request. Once.
  [[nodiscard]] QueueReplay run();

 private:
  struct Request {
    TimePoint started{};  ///< its batch
  };
  struct Running {
    TimePoint end{};
    std::uint64_t number = 0;  ///< in order of their start
    BatchId id{};
    Duration time{0};
    /// The one that ends last is the greatest.
    bool operator<(const Running& other) const noexcept {
      return end != other.end ? end > other.end : number > other.number;
    }
  };

  void arrive(std::size_t i);
  void scale();
  void follow();  ///< does what the core asks for
  void end(const Complete& complete);
  void start(const RunBatch& batch);
  [[nodiscard]] Duration service_time(const BatchShape& shape);
  [[nodiscard]] double drawn_ratio();
  void finish_report();
  [[nodiscard]] std::size_t index_of(const void* waiter) const noexcept;

  const std::span<const QueueArrival> trace_;
  const QueueReplayOptions& options_;
  SchedulerCore core_;
  ReplicaFleet fleet_;
  TimePoint now_{};
  std::vector<Request> requests_;
  std::priority_queue<Running> running_;
  std::mt19937_64 random_;
  Duration busy_{0};
  TimePoint last_end_{};
  std::vector<Duration> waits_, totals_;
  QueueReplay report_;
};

}  // namespace tidegate
