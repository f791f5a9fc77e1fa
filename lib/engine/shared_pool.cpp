#include "engine/shared_pool.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/pipeline.hpp"

namespace tidegate {

PoolLane::PoolLane(std::shared_ptr<SharedPool> pool, double weight, std::weak_ptr<Pipeline> owner,
                   std::shared_ptr<Visits> visits)
    : pool_(std::move(pool)), visits_(std::move(visits)) {
  MutexLock lock(pool_->mutex_);
  pool_->owners_.reserve(pool_->owners_.size() + 1);
  lane_ = pool_->arbiter_.add(weight);
  const auto index = static_cast<std::size_t>(lane_);
  if (index == pool_->owners_.size()) pool_->owners_.emplace_back();
  pool_->owners_[index] = std::move(owner);
}

PoolLane::~PoolLane() {
  {
    MutexLock lock(pool_->mutex_);
    pool_->arbiter_.remove(lane_);
    pool_->owners_[static_cast<std::size_t>(lane_)].reset();
  }
  tell_offers();
}

bool PoolLane::take() noexcept {
  MutexLock lock(pool_->mutex_);
  return pool_->arbiter_.take(lane_);
}

void PoolLane::decline() noexcept {
  MutexLock lock(pool_->mutex_);
  pool_->arbiter_.decline(lane_);
}

void PoolLane::charge(Duration predicted) noexcept {
  MutexLock lock(pool_->mutex_);
  pool_->arbiter_.charge(lane_, predicted);
}

void PoolLane::give_back(Duration predicted, Duration actual, Backlog backlog) noexcept {
  MutexLock lock(pool_->mutex_);
  pool_->arbiter_.give_back(lane_, predicted, actual, backlog);
}

bool PoolLane::has_offers() const noexcept {
  MutexLock lock(pool_->mutex_);
  return pool_->arbiter_.has_offers();
}

void PoolLane::tell_offers() noexcept {
  const std::shared_ptr<SharedPool> pool = pool_;
  const std::shared_ptr<Visits> visits = visits_;
  for (;;) {
    const Visits::Visit visit(*visits);
    std::shared_ptr<Pipeline> owner;
    {
      MutexLock lock(pool->mutex_);
      const auto lane = pool->arbiter_.next_offer();
      if (!lane) return;
      owner = pool->owners_[static_cast<std::size_t>(*lane)].lock();
    }
    // One that is on its way out gives the slot back when it is gone.
    if (owner != nullptr) owner->slot_offered();
  }
}

Result<std::shared_ptr<SharedPool>> PoolTable::find_or_add(const PoolOptions& options) {
  MutexLock lock(mutex_);
  std::weak_ptr<SharedPool>& known = pools_[options.name];
  std::shared_ptr<SharedPool> pool = known.lock();
  if (pool == nullptr) {
    pool = std::make_shared<SharedPool>(options.slots);
    known = pool;
  }
  if (pool->slots() != options.slots) {
    return Error(ErrorCode::invalid_argument,
                 fmt::format("pool.slots is {}, but pool '{}' has {} slots already; give the same to all its models",
                             options.slots, options.name, pool->slots()));
  }
  return pool;
}

}  // namespace tidegate
