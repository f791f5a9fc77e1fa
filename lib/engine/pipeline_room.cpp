// Callers who wait for room in the queue, and those who are told when there is some.
#include <algorithm>
#include <utility>

#include "base/try.hpp"
#include "engine/guarded_call.hpp"
#include "engine/pipeline.hpp"

namespace tidegate {

/// The line is left, and the alarm off, at the end of it.
class Pipeline::RoomWait {
 public:
  /// Without an alarm the wait could last for ever, so then it is over at once.
  RoomWait(Pipeline& pipeline, std::shared_ptr<RoomPlace> place, TimePoint until)
      : pipeline_(pipeline), place_(std::move(place)) {
    if (until != kNoDeadline) alarm_ = set_alarm(until);
    {
      MutexLock lock(pipeline_.mutex_);
      pipeline_.line_.enter(*place_);
      // Only the first of the line has a claim: another one could not use it when it is told.
      if (pipeline_.services_->room != nullptr && place_->next != nullptr) {
        pipeline_.services_->room->leave(place_->next->claim);
      }
    }
    pipeline_.tell_room();
  }
  ~RoomWait() {
    if (alarm_) pipeline_.services_->clock->cancel(*alarm_);
    Notes notes;
    {
      MutexLock lock(pipeline_.mutex_);
      pipeline_.line_.leave(*place_);
      if (pipeline_.services_->room != nullptr) pipeline_.services_->room->leave(place_->claim);
      notes = pipeline_.take_notes();
    }
    pipeline_.tell(notes);
    pipeline_.tell_room();
  }
  RoomWait(const RoomWait&) = delete;
  RoomWait& operator=(const RoomWait&) = delete;

  /// Until the caller is to try: true if for the last time.
  [[nodiscard]] bool is_last_call() noexcept {
    MutexLock lock(pipeline_.mutex_);
    while (!place_->called && !place_->expired) lock.wait(place_->condition);
    place_->called = false;
    return place_->expired;
  }

 private:
  std::optional<AlarmId> set_alarm(TimePoint until) noexcept {
    try {
      return pipeline_.services_->clock->call_at(
          until, [weak = pipeline_.weak_from_this(), visits = pipeline_.services_->visits, place = place_] {
            const Visits::Visit visit(*visits);
            const auto self = weak.lock();
            if (self == nullptr) return;
            MutexLock lock(self->mutex_);
            place->expired = true;
            place->call();
          });
    } catch (...) {
      place_->expired = true;
      return std::nullopt;
    }
  }

  Pipeline& pipeline_;
  const std::shared_ptr<RoomPlace> place_;  ///< shared with the alarm, which may ring late
  std::optional<AlarmId> alarm_;
};

bool Pipeline::may_wait(const Passage& passage) const noexcept {
  return passage.options.admit_until > passage.accepted && passage.handle == 0 && !NoWaiting::here();
}

Result<void> Pipeline::wait_for_room(Passage& passage, PreparedInput& prepared, Engine::Callback& on_done,
                                     Asking* asking) {
  passage.announcement.reset();  // no batch is to linger for it meanwhile
  const auto place = std::make_shared<RoomPlace>(passage.options.priority);
  RoomWait wait(*this, place, std::min(passage.options.admit_until, passage.options.deadline));
  passage.place = place.get();
  for (;;) {
    const bool last = wait.is_last_call();
    passage.patience = last ? Submission::Patience::none : Submission::Patience::waits;
    passage.accepted = services_->clock->now();
    auto queued = try_enqueue(passage, prepared, on_done, asking);
    if (last || queued || queued.error().code() != ErrorCode::queue_full) {
      passage.place = nullptr;
      return queued;
    }
    tell_room();
  }
}

/// After a refusal: only who lacks the room of all models, and nothing else, has a claim to it.
void Pipeline::claim_room(Passage& passage) noexcept {
  if (passage.place == nullptr || services_->room == nullptr) return;
  RoomPlace& place = *passage.place;
  if (!core_.lacked_shared_room()) {
    services_->room->leave(place.claim);
  } else if (!place.claim.is_taken()) {
    services_->room->claim(place.claim, place.priority, weak_from_this());
    place.called = true;  // room may have come before the claim
  }
}

void Pipeline::room_came() noexcept {
  Notes notes;
  {
    MutexLock lock(mutex_);
    line_.call_first();
    notes = take_notes();
  }
  tell(notes);
}

void Pipeline::tell_room() noexcept {
  const std::shared_ptr<Services> services = services_;
  if (services->room == nullptr) return;
  const Visits::Visit visit(*services->visits);
  services->room->tell();
}

QueueRoom Pipeline::room_now() noexcept {
  constexpr Priority kAsked = Priority::interactive;
  QueueRoom room = core_.room(kAsked);
  if (waiters_.full() || line_.comes_before(kAsked, nullptr)) room.items = 0;
  if (options_.batching.ordering == Ordering::lane) room.items = std::min<std::uint64_t>(room.items, order_.left());
  if (!room.any()) room.retry_after = core_.retry_after();
  room.waiting = line_.size();
  return room;
}

std::uint32_t Pipeline::callers_waiting() const {
  MutexLock lock(mutex_);
  return line_.size();
}

Result<QueueRoom> Pipeline::room() {
  if (const auto newer = notes_successor()) return newer->room();
  MutexLock lock(mutex_);
  if (closed_) return Error(ErrorCode::shutting_down, "the engine is draining");
  return room_now();
}

bool Pipeline::is_ready_due() noexcept {
  if (ready_notes_.empty()) return false;
  if (closed_ || room_now().any()) return true;
  if (services_->room == nullptr) return false;
  services_->room->listen(listening_, weak_from_this());
  return room_now().any();  // room may have come before it listened
}

std::shared_ptr<Pipeline> Pipeline::notes_successor() const {
  MutexLock lock(mutex_);
  return notes_successor_.lock();
}

Result<void> Pipeline::on_ready(std::shared_ptr<ReadyNote> note) {
  if (const auto newer = notes_successor()) return newer->on_ready(std::move(note));
  Notes notes;
  {
    MutexLock lock(mutex_);
    if (closed_) return Error(ErrorCode::shutting_down, "the engine is draining");
    ready_notes_.push_back(std::move(note));
    notes = take_notes();
  }
  tell(notes);
  return {};
}

/// Where no executor takes it, the note is told here.
void Pipeline::tell_ready(const std::shared_ptr<ReadyNote>& note) noexcept {
  for (Executor* const executor : {services_->completions.get(), workers_.get()}) {
    try {
      executor->post([self = shared_from_this(), note] { self->call(*note); });
      return;
    } catch (...) {
      // The next one may take it.
    }
  }
  call(*note);
}

void Pipeline::call(ReadyNote& note) noexcept {
  if (note.told.exchange(true, std::memory_order_acq_rel)) return;  // by an executor that threw all the same
  const NoWaiting callback;
  try {
    Engine::ReadyCallback on_ready = std::move(note.on_ready);
    on_ready(room());
  } catch (...) {
    metrics_.callback_threw();
  }
}

void Pipeline::tell(Notes& notes) noexcept {
  for (UniqueFunction<void()>& note : notes.of_idle) note();
  for (UniqueFunction<void()>& note : notes.of_lines) note();
  for (const std::shared_ptr<ReadyNote>& note : notes.of_ready) tell_ready(note);
}

/// Who waits to be told of room is told of the newer version's.
void Pipeline::hand_notes_to(const std::shared_ptr<Pipeline>& successor) noexcept {
  std::vector<std::shared_ptr<ReadyNote>> moving;
  {
    MutexLock lock(mutex_);
    moving.swap(ready_notes_);
    notes_successor_ = successor;
  }
  for (std::shared_ptr<ReadyNote>& note : moving) {
    try {
      if (successor->on_ready(note)) continue;
    } catch (...) {
      // Without memory to keep it, it is told now.
    }
    successor->tell_ready(note);
  }
}

}  // namespace tidegate
