// RedisLoop: the network thread. RedisConnection: a byte stream to a server.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "cache/redis/resp_reader.hpp"
#include "tidegate/callback.hpp"
#include "tidegate/redis_cache.hpp"

namespace tidegate {

/// Runs what is posted, one after the other. Parked while there is nothing to do.
class RedisLoop {
 public:
  /// `alarms`: who gives them; empty = a timer of the loop's own.
  RedisLoop(std::shared_ptr<Clock> clock, std::shared_ptr<Clock> alarms);
  ~RedisLoop();

  /// Runs until `stop`, on the calling thread. `on_wake` is called as asked by wake_at.
  void run(UniqueFunction<void()> on_wake);
  /// From any thread.
  void post(UniqueFunction<void()> task);
  /// Whether this is called by what the loop runs.
  [[nodiscard]] bool inside() const noexcept;
  /// Not even what is posted already runs after the present task.
  void stop();

  [[nodiscard]] TimePoint now() const noexcept;
  /// Wakes at `when` or sooner: the earliest wish counts. On the loop's thread.
  void wake_at(TimePoint when);

  struct Impl;
  [[nodiscard]] Impl& impl() noexcept { return *impl_; }

 private:
  std::shared_ptr<Impl> impl_;
};

/// A server and how to reach it, taken from checked options.
class RedisEndpoint {
 public:
  /// Errors: invalid_argument, io_error (certificates, keys).
  [[nodiscard]] static Result<std::shared_ptr<const RedisEndpoint>> make(const RedisCacheOptions& options);
  ~RedisEndpoint();

  struct Impl;
  [[nodiscard]] const Impl& impl() const noexcept { return *impl_; }

 private:
  RedisEndpoint();
  std::unique_ptr<Impl> impl_;
};

/// Everything happens on the loop's thread. After `close`, and after `down`, no handler
/// is called any more.
class RedisConnection : public std::enable_shared_from_this<RedisConnection> {
 public:
  struct Handlers {
    UniqueFunction<void()> up;
    UniqueFunction<void(RedisReply)> reply;
    UniqueFunction<void(const Error& why)> down;
  };

  /// Begins to connect; sooner or later `up` or `down` is called, unless it is closed.
  [[nodiscard]] static std::shared_ptr<RedisConnection> open(RedisLoop& loop,
                                                             std::shared_ptr<const RedisEndpoint> endpoint,
                                                             ReplyLimits limits, Handlers handlers);
  virtual ~RedisConnection() = default;

  /// Queues a command; `flush` sends what is queued.
  virtual void send(std::span<const std::string_view> arguments) = 0;
  virtual void flush() = 0;
  virtual void close() = 0;
};

}  // namespace tidegate
