#include "completion_queue.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>

namespace tidegate::capi {

Result<std::shared_ptr<CompletionQueue>> CompletionQueue::create() {
  const int descriptor = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (descriptor < 0) {
    return Error(ErrorCode::io_error, std::string("no eventfd for a completion queue: ") + std::strerror(errno));
  }
  try {
    return std::make_shared<CompletionQueue>(descriptor);
  } catch (...) {
    ::close(descriptor);
    throw;
  }
}

CompletionQueue::~CompletionQueue() {
  drop_list(std::move(first_));
  ::close(descriptor_);
}

void CompletionQueue::push(Answer answer) noexcept {
  {
    const MutexLock lock(mutex_);
    if (!abandoned_) {
      tidegate_result* const added = answer.get();
      const bool was_empty = first_ == nullptr;
      (was_empty ? first_ : last_->next) = std::move(answer);
      last_ = added;
      // Under the lock, so that the descriptor and the list never disagree.
      if (was_empty) signal();
    }
  }
  // An unwanted record is destroyed here, outside the lock.
}

Result<Answer> CompletionQueue::drain(std::size_t max) noexcept {
  if (draining_.test_and_set(std::memory_order_acquire)) {
    return Error(ErrorCode::busy, "another thread drains this completion queue");
  }
  Answer taken;
  {
    const MutexLock lock(mutex_);
    clear();
    tidegate_result* cut = first_.get();
    for (std::size_t n = 1; cut != nullptr && n < max; ++n) cut = cut->next.get();
    taken = std::move(first_);
    if (cut != nullptr) first_ = std::move(cut->next);
    if (first_ != nullptr) {
      signal();
    } else {
      last_ = nullptr;
    }
  }
  draining_.clear(std::memory_order_release);
  return taken;
}

tidegate_status CompletionQueue::wait(std::int64_t timeout_ns) noexcept {
  constexpr std::int64_t kNsPerSecond = 1'000'000'000;
  timespec bound{};
  bound.tv_sec = timeout_ns / kNsPerSecond;
  bound.tv_nsec = timeout_ns % kNsPerSecond;
  pollfd waiting{descriptor_, POLLIN, 0};
  if (!woken_.load(std::memory_order_acquire) &&
      ::ppoll(&waiting, 1, timeout_ns == TIDEGATE_FOREVER ? nullptr : &bound, nullptr) <= 0) {
    return TIDEGATE_EMPTY;
  }
  const MutexLock lock(mutex_);
  if (first_ != nullptr) return TIDEGATE_OK;
  // In this order a wake-up that comes in between still ends the next wait.
  woken_.exchange(false, std::memory_order_acq_rel);
  clear();
  return TIDEGATE_EMPTY;
}

void CompletionQueue::wakeup() noexcept {
  woken_.store(true, std::memory_order_release);
  signal();
}

void CompletionQueue::signal() noexcept {
  const int saved = errno;
  const std::uint64_t one = 1;
  // EAGAIN: the counter is at its maximum and so readable already.
  [[maybe_unused]] const auto written = ::write(descriptor_, &one, sizeof one);
  errno = saved;
}

void CompletionQueue::clear() noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto read = ::read(descriptor_, &count, sizeof count);
}

void CompletionQueue::abandon() noexcept {
  Answer dropped;
  {
    const MutexLock lock(mutex_);
    abandoned_ = true;
    dropped = std::move(first_);
    last_ = nullptr;
  }
  drop_list(std::move(dropped));
}

void drop_list(Answer first) noexcept {
  while (first != nullptr) first = std::move(first->next);
}

}  // namespace tidegate::capi
