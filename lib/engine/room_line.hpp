// RoomLine: the callers who wait for room in the queue of one model.
#pragma once

#include <condition_variable>
#include <cstdint>

#include "queue/shared_room.hpp"

namespace tidegate {

/// One caller. Guarded by the lock of the line's owner.
struct RoomPlace {
  explicit RoomPlace(Priority its_priority) noexcept : priority(its_priority) {}

  const Priority priority;
  std::condition_variable condition;
  bool called = true;       ///< the caller is to try; at first by himself, as room may have come meanwhile
  bool expired = false;     ///< for the last time
  SharedRoom::Place claim;  ///< taken where it is the room of all models that is lacking
  RoomPlace* previous = nullptr;
  RoomPlace* next = nullptr;

  void call() noexcept {
    called = true;
    condition.notify_one();
  }
};

/// By class, then by arrival. The first one is called whenever there may be room, and calls the next by leaving.
/// Thread-compatible; allocates nothing.
class RoomLine {
 public:
  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  [[nodiscard]] std::uint32_t size() const noexcept { return size_; }

  /// Whether somebody comes before a request of this class, whose own place, if it has one, is `own`.
  [[nodiscard]] bool comes_before(Priority priority, const RoomPlace* own) const noexcept {
    return first_ != nullptr && first_ != own && first_->priority <= priority;
  }

  void call_first() noexcept {
    if (first_ != nullptr) first_->call();
  }
  void call_all() noexcept {
    for (RoomPlace* one = first_; one != nullptr; one = one->next) one->call();
  }

  void enter(RoomPlace& place) noexcept {
    RoomPlace* before = nullptr;
    for (RoomPlace* one = first_; one != nullptr && one->priority <= place.priority; one = one->next) before = one;
    place.previous = before;
    place.next = before == nullptr ? first_ : before->next;
    (before == nullptr ? first_ : before->next) = &place;
    if (place.next != nullptr) place.next->previous = &place;
    ++size_;
  }

  void leave(RoomPlace& place) noexcept {
    (place.previous == nullptr ? first_ : place.previous->next) = place.next;
    if (place.next != nullptr) place.next->previous = place.previous;
    --size_;
    call_first();
  }

 private:
  RoomPlace* first_ = nullptr;
  std::uint32_t size_ = 0;
};

/// Where a thread must not wait for room: in a completion callback, in a model. They nest.
class NoWaiting {
 public:
  NoWaiting() noexcept { ++depth_; }
  ~NoWaiting() { --depth_; }
  NoWaiting(const NoWaiting&) = delete;
  NoWaiting& operator=(const NoWaiting&) = delete;

  [[nodiscard]] static bool here() noexcept { return depth_ > 0; }

 private:
  static inline thread_local constinit unsigned depth_ = 0;
};

}  // namespace tidegate
