#include "engine/stream_buffer.hpp"

#include "engine/guarded_call.hpp"
#include "engine/pipeline.hpp"

namespace tidegate {

struct Stream::Buffer::Delivery {
  explicit Delivery(std::shared_ptr<Buffer> to) noexcept : buffer(std::move(to)) {}
  Delivery(Delivery&&) noexcept = default;
  Delivery& operator=(Delivery&&) = delete;
  ~Delivery() {
    if (buffer != nullptr) buffer->was_dropped();
  }
  void operator()() { std::exchange(buffer, nullptr)->deliver(); }
  std::shared_ptr<Buffer> buffer;
};

namespace {

std::uint64_t bytes_of(const std::vector<Tensor>& tensors) noexcept {
  std::uint64_t bytes = 0;
  for (const Tensor& tensor : tensors) bytes += tensor.bytes().size();
  return bytes;
}

}  // namespace

// ---- the pipeline's side ---------------------------------------------------------------

std::uint64_t Stream::Buffer::push(std::vector<Tensor>&& tensors) noexcept {
  std::uint64_t index = 0;
  {
    MutexLock lock(mutex_);
    index = pushed_++;
    if (abandoned_ || end_ || end_taken_ || count_ == ring_.size()) return index;
    Chunk& place = ring_[(first_ + count_++) % ring_.size()];
    place.index = index;
    place.tensors = std::move(tensors);
    bytes_ += bytes_of(place.tensors);
    changed_.notify_all();
    if ((!on_next_ && !on_ready_) || posted_) return index;
    posted_ = true;
    dropped_ = false;
  }
  try {
    completions_->post(Delivery(shared_from_this()));
  } catch (...) {
    deliver();  // no executor takes it
  }
  return index;
}

bool Stream::Buffer::park_if_full() noexcept {
  MutexLock lock(mutex_);
  parked_ = !abandoned_ && is_full();
  return parked_;
}

void Stream::Buffer::end(Result<Response> result) noexcept {
  {
    MutexLock lock(mutex_);
    end_.emplace(std::move(result));
    changed_.notify_all();
  }
  deliver();
}

// ---- the consumer's side -----------------------------------------------------------------

Stream::Buffer::Taken Stream::Buffer::take() noexcept {
  if (count_ == 0) {
    end_taken_ = true;
    Result<Response> end = *std::move(end_);
    end_.reset();
    return {std::move(end), false, std::move(on_ready_)};
  }
  Chunk chunk = std::exchange(ring_[first_], {});
  first_ = (first_ + 1) % ring_.size();
  --count_;
  bytes_ -= bytes_of(chunk.tensors);
  const bool unparks = parked_ && !is_full();
  if (unparks) parked_ = false;
  return {std::move(chunk), unparks, {}};
}

void Stream::Buffer::deliver() noexcept {
  const NoWaiting callback;
  OnNext on_next;
  OnReady on_ready;
  std::optional<Taken> taken;
  {
    MutexLock lock(mutex_);
    posted_ = false;
    if (!has_event()) return;
    if (on_next_) {
      on_next = std::move(on_next_);
      taken.emplace(take());
    } else {
      on_ready = std::move(on_ready_);
    }
  }
  if (!taken) {
    call(on_ready);
    return;
  }
  if (taken->unparks) with_pipeline([](Pipeline& pipeline, std::uint64_t handle) { pipeline.unpark(handle); });
  try {
    on_next(std::move(taken->event));
  } catch (...) {
    with_pipeline([](Pipeline& pipeline, std::uint64_t) { pipeline.callback_threw(); });
  }
}

void Stream::Buffer::call(OnReady& on_ready) noexcept {
  if (!on_ready) return;
  try {
    on_ready();
  } catch (...) {
    with_pipeline([](Pipeline& pipeline, std::uint64_t) { pipeline.callback_threw(); });
  }
}

void Stream::Buffer::was_dropped() noexcept {
  MutexLock lock(mutex_);
  posted_ = false;
  dropped_ = true;
}

Result<void> Stream::Buffer::next(OnNext on_next) {
  {
    MutexLock lock(mutex_);
    if (on_next_ || on_ready_) {
      return Error(ErrorCode::busy, "a callback waits for what comes next in the stream already");
    }
    if (end_taken_) return Error(ErrorCode::invalid_argument, "the stream's end has been taken");
    on_next_ = std::move(on_next);
    if (!has_event()) return {};
    posted_ = true;
    dropped_ = false;
  }
  std::optional<Error> trouble;
  try {
    completions_->post(Delivery(shared_from_this()));
  } catch (...) {
    trouble = thrown_on_the_way();
  }
  MutexLock lock(mutex_);
  if (!on_next_) return {};  // called meanwhile
  if (!trouble && dropped_) trouble = Error(ErrorCode::shutting_down, "the completion executor has stopped");
  if (!trouble) return {};
  posted_ = false;
  on_next = std::move(on_next_);  // destroyed after the lock
  return *std::move(trouble);
}

std::optional<StreamEvent> Stream::Buffer::try_next() {
  std::optional<Taken> taken;
  {
    MutexLock lock(mutex_);
    if (on_next_ || !has_event()) return std::nullopt;
    taken.emplace(take());
  }
  if (taken->unparks) with_pipeline([](Pipeline& pipeline, std::uint64_t handle) { pipeline.unpark(handle); });
  return std::move(taken->event);
}

StreamEvent Stream::Buffer::wait_next() {
  std::optional<Taken> taken;
  {
    MutexLock lock(mutex_);
    if (on_next_) return Error(ErrorCode::busy, "a callback waits for what comes next in the stream");
    if (end_taken_) return Error(ErrorCode::invalid_argument, "the stream's end has been taken");
    while (!has_event()) lock.wait(changed_);
    taken.emplace(take());
  }
  if (taken->unparks) with_pipeline([](Pipeline& pipeline, std::uint64_t handle) { pipeline.unpark(handle); });
  return std::move(taken->event);
}

Result<bool> Stream::Buffer::when_ready(OnReady on_ready) {
  MutexLock lock(mutex_);
  if (on_next_ || on_ready_) {
    return Error(ErrorCode::busy, "a callback waits for what comes next in the stream already");
  }
  if (end_taken_) return Error(ErrorCode::invalid_argument, "the stream's end has been taken");
  if (has_event()) return true;
  on_ready_ = std::move(on_ready);
  return false;
}

bool Stream::Buffer::wait_ready(Duration bound) {
  MutexLock lock(mutex_);
  static_cast<void>(
      lock.wait_for(changed_, bound, [this]() TIDEGATE_REQUIRES(mutex_) { return has_event() || end_taken_; }));
  return has_event();
}

template <class Act>
void Stream::Buffer::with_pipeline(Act&& act) noexcept {
  const Visits::Visit visit(*visits_);
  if (const auto pipeline = pipeline_.lock()) act(*pipeline, handle_);
}

void Stream::Buffer::cancel() noexcept {
  with_pipeline([](Pipeline& pipeline, std::uint64_t handle) { pipeline.cancel(handle); });
}

void Stream::Buffer::abandon() noexcept {
  std::vector<Chunk> dropped;  // their memory may be the host's
  {
    MutexLock lock(mutex_);
    abandoned_ = true;
    count_ = 0;
    bytes_ = 0;
    dropped.swap(ring_);
  }
  cancel();
}

// ---- Stream --------------------------------------------------------------------------------

Stream::Stream(std::shared_ptr<Buffer> buffer) noexcept : buffer_(std::move(buffer)) {}
Stream::Stream(Stream&&) noexcept = default;

Stream& Stream::operator=(Stream&& other) noexcept {
  if (this == &other) return *this;
  if (const auto former = std::exchange(buffer_, std::move(other.buffer_))) former->abandon();
  return *this;
}

Stream::~Stream() {
  if (buffer_ != nullptr) buffer_->abandon();
}

Result<void> Stream::next(OnNext on_next) { return buffer_->next(std::move(on_next)); }
std::optional<StreamEvent> Stream::try_next() { return buffer_->try_next(); }
StreamEvent Stream::wait_next() { return buffer_->wait_next(); }
Result<bool> Stream::when_ready(OnReady on_ready) { return buffer_->when_ready(std::move(on_ready)); }
bool Stream::wait_ready(Duration bound) { return buffer_->wait_ready(bound); }
void Stream::cancel() noexcept { buffer_->cancel(); }

}  // namespace tidegate
