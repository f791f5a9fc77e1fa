// RedisLink: one signed-in connection to Redis, made anew when wanted.
#pragma once

#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "cache/redis/redis_counters.hpp"
#include "cache/redis/redis_network.hpp"

namespace tidegate {

/// Who signs in, and where to.
struct RedisLogin {
  std::string username;
  std::string password;
  std::uint32_t database = 0;
};

/// Commands in order; each gets its reply in that order, or none when the connection
/// ends. A reply nobody asked for ends it, too. On the loop's thread.
class RedisLink {
 public:
  enum class State : std::uint8_t { down, opening, up };
  /// The reply; null = the connection ended first.
  using OnReply = UniqueFunction<void(RedisReply*)>;

  struct Ending {
    ErrorCode why;
    std::size_t owed;  ///< commands without a reply; an attempt to connect counts as one
  };

  /// Both are called outside of any handler of a command.
  struct Events {
    UniqueFunction<void()> up;          ///< connected and signed in
    UniqueFunction<void(Ending)> down;  ///< not after `close`
  };

  RedisLink(RedisLoop& loop, std::shared_ptr<const RedisEndpoint> endpoint, RedisLogin login, ReplyLimits limits,
            RedisCounters& counters, Events events);
  ~RedisLink();

  void open();
  /// Ends what is pending, without `down`.
  void close();
  /// As if the server had hung up.
  void fail(ErrorCode why = ErrorCode::unavailable);

  /// While it is not down. Sent by `flush`.
  void send(std::span<const std::string_view> arguments, OnReply on_reply);
  void flush();

  [[nodiscard]] State state() const noexcept { return state_; }
  /// A reply has come over this connection: not merely its far end's system, the server has taken it up.
  [[nodiscard]] bool answered() const noexcept { return answered_; }
  [[nodiscard]] std::size_t pending() const noexcept { return pending_.size(); }
  /// Since when a reply is awaited: the last one came, what waits longest was sent, or
  /// the connection was begun; max = nothing waits.
  [[nodiscard]] TimePoint waiting_since() const noexcept;

 private:
  struct Pending {
    TimePoint sent;
    OnReply on_reply;
  };

  void sign_in();
  void take(RedisReply reply);
  /// Forgets the connection; answers what it owed.
  void drop();

  RedisLoop& loop_;
  const std::shared_ptr<const RedisEndpoint> endpoint_;
  const RedisLogin login_;
  const ReplyLimits limits_;
  RedisCounters& counters_;
  Events events_;
  std::shared_ptr<RedisConnection> connection_;
  std::deque<Pending> pending_;
  State state_ = State::down;
  bool answered_ = false;
  TimePoint opened_{};
  TimePoint last_reply_{};
};

/// Counts an error reply by what it says, and answers by which count.
RedisCount count_error(RedisCounters& counters, std::string_view text);

}  // namespace tidegate
