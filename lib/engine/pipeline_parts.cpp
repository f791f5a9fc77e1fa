// Requests in parts, on their way to the scheduler and back.
#include <utility>

#include "engine/pipeline.hpp"

namespace tidegate {

/// As many works as `whole` has parts, held by the caller. May throw; then `whole` has those that were made.
void Pipeline::acquire_parts(Work& whole, std::size_t count) {
  whole.in_parts = std::make_unique<PartsOfWork>();
  whole.in_parts->parts.reserve(count);
  whole.in_parts->left.store(static_cast<std::uint32_t>(count), std::memory_order_relaxed);
  while (whole.in_parts->parts.size() < count) whole.in_parts->parts.push_back(&works_.acquire());
}

/// One that was acquired and not used, with its parts.
void Pipeline::take_back(Work& work) noexcept {
  if (work.in_parts != nullptr) {
    for (Work* part : work.in_parts->parts) works_.take_back(*part);
    work.in_parts.reset();
  }
  works_.take_back(work);
}

/// The scheduler holds the works now, and the whole its parts.
void Pipeline::fill_parts(Work& whole, std::vector<PreparedInput>& inputs) noexcept {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    Work& part = *whole.in_parts->parts[i];
    part.hold();
    part.whole = &whole;
    part.input = std::move(inputs[i]);
  }
  // The thread that waits runs the first of them; workers take the others.
  std::swap(whole.in_parts->parts.front()->awaited_by, whole.awaited_by);
}

/// The works of the batch have their outputs.
void Pipeline::end_batch(TimePoint now, BatchJob& job, BatchEnd end) noexcept {
  for (void* one : job.works) {
    Work& work = *static_cast<Work*>(one);
    Work& owner = work.whole != nullptr ? *work.whole : work;
    if (work.poisonous && owner.key) core_.quarantine(now, *owner.key);
    // The first part that fails decides; its waiters read the whole's output under a later lock.
    if (work.whole == nullptr || work.output) continue;
    if (core_.part_failed(now, job.id, &work)) owner.output = std::move(work.output).error();
  }
  batches_ended_.fetch_add(1, std::memory_order_release);
  report_steps(job);
  core_.batch_done(now, job.id, end, job.steps);
  jobs_.put_back(job);  // before a job is taken for the batch that has its slot next
}

}  // namespace tidegate
