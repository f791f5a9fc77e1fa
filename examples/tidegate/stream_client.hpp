// StreamClient: follows streams to their ends and keeps a bounded number of them open.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "tidegate/engine.hpp"

namespace tidegate::program {

/// What consumers of streams notice, in milliseconds.
struct StreamTimes {
  std::vector<double> first_chunk;  ///< from the request, one for each stream
  std::vector<double> between;      ///< from chunk to chunk
  std::vector<double> whole;        ///< from the request to the end
};

/// One sender thread. Chunks are taken on the engine's completion thread as they come.
class StreamClient {
 public:
  StreamClient(Engine& engine, std::size_t window) : engine_(engine), window_(window) {}
  /// Waits for the streams that are open.
  ~StreamClient();

  /// Blocks while the window is full. False once a stream has failed or was refused.
  bool open(std::string text);

  /// Waits for the streams that are open. Errors: the first one of any stream.
  [[nodiscard]] Result<StreamTimes> finish();

  [[nodiscard]] std::size_t ended() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Followed {
    std::optional<Stream> stream;
    Clock::time_point asked, last;
    std::size_t chunks = 0;
  };
  void follow(const std::shared_ptr<Followed>& one);
  void take(const std::shared_ptr<Followed>& one, StreamEvent event);
  void close(std::optional<Error> error);

  Engine& engine_;
  const std::size_t window_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::size_t open_ = 0;
  std::size_t ended_ = 0;
  StreamTimes times_;
  std::optional<Error> failure_;
};

}  // namespace tidegate::program
