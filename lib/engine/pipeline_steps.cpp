// Iterative models: what a step leaves behind, and the streams that hand it out.
#include <utility>

#include "base/try.hpp"
#include "engine/guarded_call.hpp"
#include "engine/options_check.hpp"
#include "engine/pipeline.hpp"

namespace tidegate {

/// A stream is computed for its consumer alone: neither looked up nor joined nor stored.
Result<Stream> Pipeline::stream(Request&& request, const StreamOptions& wishes) {
  if (!iterative_) {
    return Error(ErrorCode::unsupported, "the model answers in one piece; only iterative models stream, use infer");
  }
  StreamOptions options = wishes;
  if (options.buffer_bytes == 0) options.buffer_bytes = options_.batching.stream_buffer_bytes;
  TIDEGATE_CHECK(check_options(options));
  request.options.cache = CacheMode::bypass;
  const auto buffer = std::make_shared<Stream::Buffer>(options, services_->completions, services_->clock->now());
  Passage passage = passage_of(std::move(request));
  passage.stream = buffer;
  Engine::Callback on_done = StreamEnd(buffer);
  TIDEGATE_TRY(const std::uint64_t handle, carry_through(passage, on_done));
  buffer->serve(weak_from_this(), services_->visits, handle);
  return Stream(buffer);
}

/// The runner's results become the work's. Whether it has another step.
bool Pipeline::take_step(Work& work, BatchItem& item) noexcept {
  ++work.steps;
  work.step = item.step;
  work.next_size = item.next_size;
  const bool proceeds = item.step == StepEnd::proceeds;
  if (!proceeds && !item.output) return false;
  if (!item.emitted.empty()) hand_out(work, item);
  if (work.step == StepEnd::done && !work.so_far.empty() && item.output) {
    try {
      work.so_far.insert(work.so_far.end(), item.output->begin(), item.output->end());
      item.output = std::move(work.so_far);
    } catch (...) {
      item.output = thrown_on_the_way();
    }
  }
  work.state = work.step == StepEnd::proceeds ? std::move(item.state) : nullptr;
  return work.step == StepEnd::proceeds;
}

/// A chunk goes to the stream's consumer; without one it is part of the answer.
void Pipeline::hand_out(Work& work, BatchItem& item) noexcept {
  metrics_.chunk_emitted();
  if (work.stream != nullptr) {
    const bool first = work.stream->push(std::move(item.emitted)) == 0;
    if (first) metrics_.first_chunk(services_->clock->now() - work.stream->opened());
    return;
  }
  try {
    work.so_far.insert(work.so_far.end(), std::make_move_iterator(item.emitted.begin()),
                       std::make_move_iterator(item.emitted.end()));
  } catch (...) {
    work.step = StepEnd::done;
    item.output = thrown_on_the_way();
  }
}

/// For the scheduler: who has another step, and who has it only once his consumer takes a
/// chunk. That cannot take one between this and the scheduler's knowing it.
void Pipeline::report_steps(BatchJob& job) noexcept {
  for (std::size_t i = 0; i < job.steps.size(); ++i) {
    const Work& work = *static_cast<Work*>(job.works[i]);
    StepResult& result = job.steps[i];
    result.next_size = work.next_size;
    result.kind = StepResult::Kind::done;
    if (work.step == StepEnd::done) continue;
    const bool parks = work.stream != nullptr && work.stream->park_if_full();
    result.kind = parks ? StepResult::Kind::parked : StepResult::Kind::proceeds;
  }
}

/// The replica of the scheduler's slot: in the order of the replicas, each has as many slots as it
/// runs batches at a time.
std::optional<ReplicaLease> Pipeline::lease_for(const BatchJob& job) {
  return iterative_ ? router_.acquire(slot_replicas_.at(job.slot), job.load) : router_.acquire(job.load);
}

void Pipeline::unpark(std::uint64_t handle) noexcept {
  Effects effects;
  {
    MutexLock lock(mutex_);
    const PendingRequest* const waiter = waiters_.find(handle);
    if (waiter == nullptr || waiter->stage != PendingRequest::Stage::scheduled) return;
    const TimePoint now = services_->clock->now();
    core_.unpark(now, waiter->core_id);
    static_cast<void>(arm_alarm(now));  // refused: the next event tries again
    effects = take_effects(now);
    if (need_nothing(effects)) return;
  }
  perform(std::move(effects));
}

}  // namespace tidegate
