// SharedPool: execution slots that several models of an engine share.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.hpp"
#include "engine/visits.hpp"
#include "queue/slot_arbiter.hpp"
#include "tidegate/queue.hpp"
#include "tidegate/result.hpp"

namespace tidegate {

class Pipeline;

/// A SlotArbiter with a lock, and whom to tell of its offers. Thread-safe.
class SharedPool {
 public:
  explicit SharedPool(std::uint32_t slots) : slots_(slots), arbiter_(slots) {}

  [[nodiscard]] std::uint32_t slots() const noexcept { return slots_; }

 private:
  friend class PoolLane;
  const std::uint32_t slots_;
  mutable Mutex mutex_;  // leaf; taken under a pipeline's
  SlotArbiter arbiter_ TIDEGATE_GUARDED_BY(mutex_);
  std::vector<std::weak_ptr<Pipeline>> owners_ TIDEGATE_GUARDED_BY(mutex_);  ///< by lane
};

/// The place of one model in a pool.
class PoolLane final : public SlotLender {
 public:
  /// May throw std::bad_alloc.
  PoolLane(std::shared_ptr<SharedPool> pool, double weight, std::weak_ptr<Pipeline> owner,
           std::shared_ptr<Visits> visits);
  ~PoolLane() override;
  PoolLane(const PoolLane&) = delete;
  PoolLane& operator=(const PoolLane&) = delete;

  // Under the pipeline's lock.
  [[nodiscard]] bool take() noexcept override;
  void decline() noexcept override;
  void charge(Duration predicted) noexcept override;
  void give_back(Duration predicted, Duration actual, Backlog backlog) noexcept override;
  [[nodiscard]] bool has_offers() const noexcept;

  /// Outside every lock: whoever was offered a slot, in whichever pipeline, starts its batch.
  void tell_offers() noexcept;

 private:
  const std::shared_ptr<SharedPool> pool_;
  const std::shared_ptr<Visits> visits_;
  LaneId lane_{};
};

/// The pools of an engine by name. Thread-safe.
class PoolTable {
 public:
  /// A pool lives as long as its models. Errors: invalid_argument (its models disagree about
  /// the number of slots). May throw std::bad_alloc.
  [[nodiscard]] Result<std::shared_ptr<SharedPool>> find_or_add(const PoolOptions& options);

 private:
  Mutex mutex_;  // leaf
  std::map<std::string, std::weak_ptr<SharedPool>> pools_ TIDEGATE_GUARDED_BY(mutex_);
};

}  // namespace tidegate
