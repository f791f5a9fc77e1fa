#include "cache/rocksdb/write_queue.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace tidegate::disk {
namespace {

Change forgotten() {
  Change change;
  change.after_forgetting = true;
  return change;
}

}  // namespace

bool WriteQueue::make_room(const CacheKey& key, std::uint64_t cost) {
  const auto older = waiting_.find(key);
  const std::uint64_t freed = older != waiting_.end() ? older->second.cost() : 0;
  if (bytes_ - freed + cost > limit_) return false;
  bytes_ = bytes_ - freed + cost;
  return true;
}

bool WriteQueue::put(const CacheKey& key, Change change) {
  {
    MutexLock lock(mutex_);
    if (start_over_ || !make_room(key, change.cost())) return false;
    Change& place = waiting_[key];
    const bool was_forgotten = place.after_forgetting;
    place = std::move(change);
    place.after_forgetting = was_forgotten;
    wake_ = true;
  }
  something_.notify_one();
  return true;
}

void WriteQueue::forget(const CacheKey& key) {
  {
    MutexLock lock(mutex_);
    wake_ = true;
    if (start_over_) return;
    if (make_room(key, forgotten().cost())) {
      waiting_.insert_or_assign(key, forgotten());
    } else {
      start_over_ = true;
      waiting_.clear();
      bytes_ = 0;
    }
  }
  something_.notify_one();
}

std::optional<Change> WriteQueue::find(const CacheKey& key) const {
  MutexLock lock(mutex_);
  for (const Changes* changes : {&waiting_, &writing_}) {
    const auto found = changes->find(key);
    if (found != changes->end()) return found->second;
  }
  return std::nullopt;
}

bool WriteQueue::park(const CacheKey& key, Parked& look_up) {
  MutexLock lock(mutex_);
  const bool waits = std::ranges::any_of(std::array{&waiting_, &writing_}, [&](const Changes* changes) {
    const auto found = changes->find(key);
    return found != changes->end() && found->second.durable;
  });
  if (!waits || refused_) return false;
  parked_.push_back(std::move(look_up));
  return true;
}

std::vector<Parked> WriteQueue::take_parked() {
  MutexLock lock(mutex_);
  return std::exchange(parked_, {});
}

bool WriteQueue::starting_over() const {
  MutexLock lock(mutex_);
  return start_over_;
}

void WriteQueue::ask_flush() {
  {
    MutexLock lock(mutex_);
    flush_ = true;
    wake_ = true;
  }
  something_.notify_one();
}

void WriteQueue::close() {
  {
    MutexLock lock(mutex_);
    close_ = true;
    wake_ = true;
  }
  something_.notify_one();
}

Work WriteQueue::wait() {
  MutexLock lock(mutex_);
  while (!wake_) lock.wait(something_);
  wake_ = false;
  writing_ = std::exchange(waiting_, {});
  bytes_ = 0;
  return {&writing_, std::exchange(flush_, false), start_over_, close_};
}

void WriteQueue::done() {
  Changes finished;  // freed without the lock: a record's deleter may not be ours
  MutexLock lock(mutex_);
  finished.swap(writing_);
  refused_ = false;
}

std::uint64_t WriteQueue::put_back() {
  Changes finished;
  std::uint64_t dropped = 0;
  MutexLock lock(mutex_);
  finished.swap(writing_);
  refused_ = true;
  try {
    for (auto& [key, change] : finished) {
      if (change.durable && !waiting_.contains(key)) {
        const std::uint64_t cost = change.cost();
        waiting_.emplace(key, std::move(change));
        bytes_ += cost;
        continue;
      }
      if (!change.forgets() && !change.durable) ++dropped;
      if (!change.after_forgetting) continue;
      const auto [place, added] = waiting_.try_emplace(key, forgotten());
      place->second.after_forgetting = true;
      if (added) bytes_ += place->second.cost();
    }
  } catch (...) {
    start_over_ = true;  // there is no memory to remember what is forgotten
  }
  if (start_over_ || bytes_ > limit_) {
    start_over_ = true;
    waiting_.clear();
    bytes_ = 0;
  }
  return dropped;
}

void WriteQueue::started_over() {
  MutexLock lock(mutex_);
  start_over_ = false;
}

bool WriteQueue::owes_anything() const {
  MutexLock lock(mutex_);
  const auto owes = [](const Changes::value_type& change) {
    return change.second.after_forgetting || change.second.durable;
  };
  return start_over_ || std::any_of(waiting_.begin(), waiting_.end(), owes);
}

}  // namespace tidegate::disk
