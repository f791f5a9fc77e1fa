// WindowedClient: sends texts and keeps a bounded number of them in flight.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "tidegate/engine.hpp"

namespace tidegate::program {

/// One sender thread. Answers are handed to `on_answer` on the engine's completion
/// thread, one at a time. The first error stops the sending.
class WindowedClient {
 public:
  using OnAnswer = std::function<Result<void>(std::size_t index, const Response& response)>;

  WindowedClient(Engine& engine, std::size_t window, OnAnswer on_answer);
  /// Waits for everything in flight.
  ~WindowedClient();

  /// Blocks while the window is full. False once something has failed.
  bool send(std::size_t index, std::string text, const RequestOptions& options);

  /// Waits for everything in flight; the first error, and the text it belongs to.
  struct Failure {
    std::size_t index = 0;
    Error error;
  };
  [[nodiscard]] std::optional<Failure> finish();

  [[nodiscard]] std::size_t answered() const;

 private:
  void done(std::size_t index, Result<Response> result);

  Engine& engine_;
  const std::size_t window_;
  const OnAnswer on_answer_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::size_t in_flight_ = 0;
  std::size_t answered_ = 0;
  std::optional<Failure> failure_;
};

}  // namespace tidegate::program
