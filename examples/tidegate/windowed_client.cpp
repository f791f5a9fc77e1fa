#include "windowed_client.hpp"

namespace tidegate::program {

WindowedClient::WindowedClient(Engine& engine, std::size_t window, OnAnswer on_answer)
    : engine_(engine), window_(window), on_answer_(std::move(on_answer)) {}

WindowedClient::~WindowedClient() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return in_flight_ == 0; });
}

bool WindowedClient::send(std::size_t index, std::string text, const RequestOptions& options) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return in_flight_ < window_ || failure_; });
    if (failure_) return false;
    ++in_flight_;
  }
  auto accepted = engine_.infer({"", std::move(text), options},
                                [this, index](Result<Response> result) { done(index, std::move(result)); });
  if (!accepted) done(index, std::move(accepted).error());
  return true;
}

void WindowedClient::done(std::size_t index, Result<Response> result) {
  std::optional<Error> error;
  if (!result) {
    error = std::move(result).error();
  } else if (auto taken = on_answer_(index, *result); !taken) {
    error = std::move(taken).error();
  }
  const std::lock_guard lock(mutex_);
  --in_flight_;
  ++answered_;
  if (error && !failure_) failure_.emplace(Failure{index, *std::move(error)});
  changed_.notify_all();  // under the lock: the destructor may run right after it
}

std::optional<WindowedClient::Failure> WindowedClient::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return in_flight_ == 0; });
  return failure_;
}

std::size_t WindowedClient::answered() const {
  const std::lock_guard lock(mutex_);
  return answered_;
}

}  // namespace tidegate::program
