// The part of the scheduler core that shares room with other queues.
#include <algorithm>

#include "base/try.hpp"
#include "queue/scheduler_state.hpp"

namespace tidegate {

/// Whether a request that came now would begin to run within its own event, and so never wait.
bool SchedulerCore::State::starts_at_once() noexcept {
  return queue.empty() && lender == nullptr && !stepping && !former.lingers() && has_free_slot();
}

/// For the one batch that would be formed at once.
void SchedulerCore::State::make_room_for_batch() {
  make_room(commands.run, commands.run.size() + 1);
  batches.make_room();
  if (spare_works.empty()) spare_works.emplace_back().reserve(kLeastWorks);
}

/// Of a request in parts not all may run at once.
Result<QueueAmount> SchedulerCore::State::take_shared(const Submission& submission, const ItemSize& size,
                                                      std::uint32_t items) {
  if (submission.parts.empty() && starts_at_once()) {
    make_room_for_batch();
    return QueueAmount{};
  }
  give_back_shared();  // who was due has left
  const SharedRoom::Asker asker{submission.priority, submission.claim};
  const bool moves = submission.origin == Submission::Origin::moves;
  const auto taken =
      admission.take_shared({items, size.tokens, size.bytes}, queue, slots, asker,
                            moves ? Admission::Displacing::nobody : Admission::Displacing::lower_classes);
  lacked_shared = !taken;
  if (!taken && !moves && submission.patience == Submission::Patience::none) admission.shared()->count_refusal();
  TIDEGATE_TRY(const QueueAmount missing, taken);
  held.items += items - missing.items;
  held.tokens += size.tokens - missing.tokens;
  held.bytes += size.bytes - missing.bytes;
  return missing;
}

void SchedulerCore::State::give_back_shared() noexcept {
  const QueueAmount waits{queue.items(), queue.tokens(), queue.bytes()};
  const auto spare = [](std::uint64_t& have, std::uint64_t needed) {
    const std::uint64_t more = have - std::min(have, needed);
    have -= more;
    return more;
  };
  admission.shared()->give_back(
      {spare(held.items, waits.items), spare(held.tokens, waits.tokens), spare(held.bytes, waits.bytes)});
}

std::uint64_t SchedulerCore::departures() const noexcept {
  const SchedulerStats& stats = state_->stats;
  return state_->queue.departures() + (stats.batches - stats.running_batches);
}

bool SchedulerCore::lacked_shared_room() const noexcept { return state_->lacked_shared; }

void SchedulerCore::share_room(SharedRoom& room) noexcept { state_->admission.share_room(room); }

QueueRoom SchedulerCore::room(Priority priority) noexcept {
  State& state = *state_;
  if (state.draining) return {};
  const QueueAmount own = state.admission.left(state.queue);
  QueueRoom room{own.items, own.tokens, own.bytes};
  if (state.admission.shared() != nullptr) {
    const QueueAmount all = state.admission.shared()->left(priority);
    room = {std::min(own.items, all.items), std::min(own.tokens, all.tokens), std::min(own.bytes, all.bytes)};
    if (!room.any() && state.starts_at_once()) room = {std::min<std::uint64_t>(own.items, 1), own.tokens, own.bytes};
  }
  if (!room.any()) room.retry_after = retry_after();
  return room;
}

}  // namespace tidegate
