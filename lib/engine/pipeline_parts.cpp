// Requests in parts, on their way to the scheduler and back.
#include <utility>

#include "engine/leading.hpp"
#include "engine/pipeline.hpp"

namespace tidegate {

/// All works of it belong to the scheduler from now on.
void Pipeline::hand_over(const std::shared_ptr<Work>& work) noexcept {
  work->held_by_scheduler = work;
  Leading* const leading = Leading::of(*this);
  if (work->in_parts == nullptr) {
    if (leading != nullptr) leading->own(work.get());
    return;
  }
  const auto& parts = work->in_parts->parts;
  for (const auto& part : parts) part->held_by_scheduler = part;
  // The thread that waits runs the first of them; workers take the others.
  if (leading != nullptr) leading->own(parts.front().get());
}

/// The works of the batch have their outputs.
void Pipeline::end_batch(TimePoint now, const RunBatch& batch, BatchEnd end) noexcept {
  for (void* one : batch.works) {
    Work& work = *static_cast<Work*>(one);
    Work& owner = work.whole != nullptr ? *work.whole : work;
    if (work.poisonous && owner.key) core_.quarantine(now, *owner.key);
    // The first part that fails decides; its waiters read the whole's output under a later lock.
    if (work.whole == nullptr || work.output) continue;
    if (core_.part_failed(now, batch.id, &work)) owner.output = std::move(work.output).error();
  }
  core_.batch_done(now, batch.id, end);
}

}  // namespace tidegate
