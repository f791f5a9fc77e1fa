#include "stream_client.hpp"

#include <utility>

namespace tidegate::program {
namespace {

double milliseconds(std::chrono::steady_clock::duration time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

}  // namespace

StreamClient::~StreamClient() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return open_ == 0; });
}

bool StreamClient::open(std::string text) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return open_ < window_; });
    if (failure_) return false;
    ++open_;
  }
  const auto one = std::make_shared<Followed>();
  one->asked = Clock::now();
  auto stream = engine_.stream({"", std::move(text), {}});
  if (!stream) {
    close(std::move(stream).error());
    return false;
  }
  one->stream.emplace(*std::move(stream));
  follow(one);
  return true;
}

void StreamClient::follow(const std::shared_ptr<Followed>& one) {
  const auto asked = one->stream->next([this, one](StreamEvent event) { take(one, std::move(event)); });
  if (!asked) close(asked.error());
}

void StreamClient::take(const std::shared_ptr<Followed>& one, StreamEvent event) {
  const Clock::time_point now = Clock::now();
  if (const auto* end = std::get_if<Result<Response>>(&event)) {
    {
      const std::lock_guard lock(mutex_);
      times_.whole.push_back(milliseconds(now - one->asked));
    }
    return close(*end ? std::nullopt : std::optional(end->error()));
  }
  {
    const std::lock_guard lock(mutex_);
    if (one->chunks++ == 0) {
      times_.first_chunk.push_back(milliseconds(now - one->asked));
    } else {
      times_.between.push_back(milliseconds(now - one->last));
    }
  }
  one->last = now;
  follow(one);
}

void StreamClient::close(std::optional<Error> error) {
  const std::lock_guard lock(mutex_);
  --open_;
  ++ended_;
  if (error && !failure_) failure_ = std::move(error);
  changed_.notify_all();
}

Result<StreamTimes> StreamClient::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return open_ == 0; });
  if (failure_) return *failure_;
  return std::move(times_);
}

std::size_t StreamClient::ended() const {
  const std::lock_guard lock(mutex_);
  return ended_;
}

}  // namespace tidegate::program
