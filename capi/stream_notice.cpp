#include "stream_notice.hpp"

#include <utility>

namespace tidegate::capi {

Result<bool> StreamNotice::arm(Stream& stream) {
  {
    const MutexLock lock(mutex_);
    if (record_ == nullptr) return false;
  }
  Result<bool> ready = stream.when_ready([self = shared_from_this()] { self->tell(); });
  // A former call has armed it.
  if (!ready && ready.error().code() == ErrorCode::busy) return false;
  return ready;
}

void StreamNotice::tell() noexcept {
  if (muted_.load(std::memory_order_acquire)) return;
  Answer record;
  {
    const MutexLock lock(mutex_);
    record = std::move(record_);
  }
  if (record == nullptr) return;
  record->notice = shared_from_this();
  record->done_ns = tidegate_clock_now_ns();
  queue_->push(std::move(record));
}

bool StreamNotice::take_back(Answer record) noexcept {
  if (muted_.load(std::memory_order_acquire)) return false;
  const MutexLock lock(mutex_);
  record_ = std::move(record);
  return true;
}

}  // namespace tidegate::capi
