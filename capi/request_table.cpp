#include "request_table.hpp"

#include <utility>

namespace tidegate::capi {
namespace {

std::uint64_t id_of(std::uint32_t index, std::uint32_t uses) noexcept { return std::uint64_t{uses} << 32 | index; }
std::uint32_t index_of(std::uint64_t id) noexcept { return static_cast<std::uint32_t>(id); }
std::uint32_t uses_of(std::uint64_t id) noexcept { return static_cast<std::uint32_t>(id >> 32); }

}  // namespace

Result<std::uint64_t> RequestTable::begin(std::shared_ptr<CompletionQueue> queue, Answer answer) {
  const MutexLock lock(mutex_);
  // Asked under the lock that ids() takes after a close: a request either is seen by
  // the closing thread or sees that the queue is closed.
  if (queue->closed()) return Error(ErrorCode::shutting_down, "the completion queue is closed");
  if (unused_.empty()) {
    slots_.emplace_back();
    unused_.reserve(slots_.capacity());
    unused_.push_back(static_cast<std::uint32_t>(slots_.size() - 1));
  }
  const std::uint32_t index = unused_.back();
  unused_.pop_back();
  Slot& slot = slots_[index];
  const std::uint64_t id = id_of(index, slot.uses);
  slot.taken = true;
  answer->id = id;
  slot.pending = {std::move(answer), std::move(queue)};
  ++counts_.in_flight;
  return id;
}

bool RequestTable::bind(std::uint64_t id, RequestId engine_id) noexcept {
  const MutexLock lock(mutex_);
  ++counts_.submitted;
  Slot* const slot = find(id);
  if (slot == nullptr) return false;
  slot->engine_id = engine_id;
  return slot->cancel_wanted;
}

void RequestTable::abandon(std::uint64_t id) noexcept {
  Finished dropped;
  const MutexLock lock(mutex_);
  if (Slot* const slot = find(id); slot != nullptr) dropped = free(id, *slot);
}

std::optional<RequestTable::Finished> RequestTable::finish(std::uint64_t id) noexcept {
  const MutexLock lock(mutex_);
  Slot* const slot = find(id);
  if (slot == nullptr) return std::nullopt;
  ++counts_.completed;
  return free(id, *slot);
}

RequestTable::CancelTarget RequestTable::cancel(std::uint64_t id) noexcept {
  const MutexLock lock(mutex_);
  Slot* const slot = find(id);
  if (slot == nullptr) return {};
  slot->cancel_wanted = true;
  return {true, slot->engine_id};
}

std::vector<std::uint64_t> RequestTable::ids(const CompletionQueue* queue) const {
  std::vector<std::uint64_t> found;
  const MutexLock lock(mutex_);
  for (std::uint32_t index = 0; index < slots_.size(); ++index) {
    const Slot& slot = slots_[index];
    if (!slot.taken || (queue != nullptr && slot.pending.queue.get() != queue)) continue;
    found.push_back(id_of(index, slot.uses));
  }
  return found;
}

RequestTable::Counts RequestTable::counts() const noexcept {
  const MutexLock lock(mutex_);
  return counts_;
}

RequestTable::Slot* RequestTable::find(std::uint64_t id) noexcept {
  const std::uint32_t index = index_of(id);
  if (index >= slots_.size() || !slots_[index].taken || slots_[index].uses != uses_of(id)) return nullptr;
  return &slots_[index];
}

RequestTable::Finished RequestTable::free(std::uint64_t id, Slot& slot) noexcept {
  Finished pending = std::move(slot.pending);
  const std::uint32_t uses = slot.uses + 1;
  slot = Slot{};
  slot.uses = uses == 0 ? 1 : uses;
  unused_.push_back(index_of(id));
  --counts_.in_flight;
  return pending;
}

}  // namespace tidegate::capi
