#include "queue/shared_room.hpp"

#include <algorithm>
#include <utility>

namespace tidegate {
namespace {

constexpr std::uint64_t cap_of(std::uint64_t option) noexcept { return option == 0 ? SharedRoom::kNoCap : option; }

/// Of `wanted`, what the cap leaves no room for. `used` is within the cap.
std::uint64_t beyond(std::uint64_t used, std::uint64_t wanted, std::uint64_t cap) noexcept {
  return wanted > cap - used ? wanted - (cap - used) : 0;
}

std::uint64_t sum(std::uint64_t a, std::uint64_t b) noexcept {
  return a > SharedRoom::kNoCap - b ? SharedRoom::kNoCap : a + b;
}

}  // namespace

SharedRoom::SharedRoom(const EngineQueueOptions& caps) noexcept
    : caps_{cap_of(caps.max_queued_items), cap_of(caps.max_queued_tokens), cap_of(caps.max_queued_bytes)} {}

SharedRoom::Taken SharedRoom::judge(const QueueAmount& wanted, const QueueAmount& replaceable,
                                    const Asker& asker) const noexcept {
  // Claims stand by class, so the first that does not go before the asker ends the search.
  const Place* const first = first_;
  if (first != nullptr && first->claims_ && first != asker.claim && first->priority_ <= asker.priority) {
    return {Verdict::others_wait, {}, used_.items, caps_.items};
  }
  const QueueAmount missing{beyond(used_.items, wanted.items, caps_.items),
                            beyond(used_.tokens, wanted.tokens, caps_.tokens),
                            beyond(used_.bytes, wanted.bytes, caps_.bytes)};
  if (missing.items > replaceable.items) return {Verdict::items, {}, used_.items, caps_.items};
  if (missing.tokens > replaceable.tokens) {
    return {Verdict::tokens, {}, sum(used_.tokens, wanted.tokens), caps_.tokens};
  }
  if (missing.bytes > replaceable.bytes) return {Verdict::bytes, {}, sum(used_.bytes, wanted.bytes), caps_.bytes};
  return {Verdict::there, missing};
}

SharedRoom::Taken SharedRoom::take(const QueueAmount& wanted, const QueueAmount& replaceable,
                                   const Asker& asker) noexcept {
  MutexLock lock(mutex_);
  const Taken taken = judge(wanted, replaceable, asker);
  if (taken.verdict != Verdict::there) return taken;
  used_.items += wanted.items - taken.missing.items;
  used_.tokens += wanted.tokens - taken.missing.tokens;
  used_.bytes += wanted.bytes - taken.missing.bytes;
  return taken;
}

void SharedRoom::give_back(const QueueAmount& amount) noexcept {
  if (amount == QueueAmount{}) return;
  MutexLock lock(mutex_);
  used_.items -= amount.items;
  used_.tokens -= amount.tokens;
  used_.bytes -= amount.bytes;
  came_ = first_ != nullptr;
}

QueueAmount SharedRoom::left(Priority priority) const noexcept {
  MutexLock lock(mutex_);
  if (first_ != nullptr && first_->claims_ && first_->priority_ <= priority) return {};
  return {caps_.items == kNoCap ? kNoCap : caps_.items - used_.items,
          caps_.tokens == kNoCap ? kNoCap : caps_.tokens - used_.tokens,
          caps_.bytes == kNoCap ? kNoCap : caps_.bytes - used_.bytes};
}

bool SharedRoom::is_full() const noexcept {
  MutexLock lock(mutex_);
  return used_.items >= caps_.items || used_.tokens >= caps_.tokens || used_.bytes >= caps_.bytes;
}

QueueAmount SharedRoom::used() const noexcept {
  MutexLock lock(mutex_);
  return used_;
}

template <class GoesFirst>
void SharedRoom::enter(Place& place, const GoesFirst& goes_first) noexcept {
  Place* before = nullptr;
  for (Place* one = first_; one != nullptr && goes_first(*one); one = one->next_) before = one;
  Place* const after = before == nullptr ? first_ : before->next_;
  place.previous_ = before;
  place.next_ = after;
  (before == nullptr ? first_ : before->next_) = &place;
  if (after != nullptr) after->previous_ = &place;
  place.taken_ = true;
}

void SharedRoom::unlink(Place& place) noexcept {
  (place.previous_ == nullptr ? first_ : place.previous_->next_) = place.next_;
  if (place.next_ != nullptr) place.next_->previous_ = place.previous_;
  place.previous_ = place.next_ = nullptr;
  place.taken_ = false;
}

void SharedRoom::claim(Place& place, Priority priority, std::weak_ptr<RoomListener> listener) noexcept {
  MutexLock lock(mutex_);
  if (place.taken_) return;
  place.listener_ = std::move(listener);
  place.priority_ = priority;
  place.claims_ = true;
  enter(place, [&](const Place& one) { return one.claims_ && one.priority_ <= priority; });
}

void SharedRoom::listen(Place& place, std::weak_ptr<RoomListener> listener) noexcept {
  MutexLock lock(mutex_);
  if (place.taken_) return;
  place.listener_ = std::move(listener);
  place.claims_ = false;
  place.round_ = round_;
  enter(place, [](const Place&) { return true; });
}

void SharedRoom::leave(Place& place) noexcept {
  MutexLock lock(mutex_);
  if (!place.taken_) return;
  unlink(place);
  // What it did not use, or did not leave, may do for the next.
  came_ = first_ != nullptr;
}

bool SharedRoom::must_tell() const noexcept {
  MutexLock lock(mutex_);
  return came_;
}

/// Listeners stand last, by round. One that listens anew while it is told is told in the next round.
std::shared_ptr<RoomListener> SharedRoom::next_to_tell(std::uint64_t round) noexcept {
  for (;;) {
    Place* place = first_;
    while (place != nullptr && place->claims_) place = place->next_;
    if (place == nullptr || place->round_ >= round) return nullptr;
    std::shared_ptr<RoomListener> listener = place->listener_.lock();
    unlink(*place);
    if (listener != nullptr) return listener;
  }
}

void SharedRoom::tell() noexcept {
  std::shared_ptr<RoomListener> one;
  std::uint64_t round = 0;
  {
    MutexLock lock(mutex_);
    if (!std::exchange(came_, false)) return;
    round = ++round_;
    one = first_ != nullptr && first_->claims_ ? first_->listener_.lock() : next_to_tell(round);
    // Listeners want room for class interactive, which they have once nobody of it or above claims it.
    if (first_ != nullptr && first_->claims_ && first_->priority_ <= Priority::interactive) round = 0;
  }
  while (one != nullptr) {
    one->room_came();
    one.reset();  // the last to hold it destroys it, under no lock
    MutexLock lock(mutex_);
    one = next_to_tell(round);
  }
}

}  // namespace tidegate
