#include "cache/redis/redis_link.hpp"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace tidegate {

RedisLink::RedisLink(RedisLoop& loop, std::shared_ptr<const RedisEndpoint> endpoint, RedisLogin login,
                     ReplyLimits limits, RedisCounters& counters, Events events)
    : loop_(loop),
      endpoint_(std::move(endpoint)),
      login_(std::move(login)),
      limits_(limits),
      counters_(counters),
      events_(std::move(events)) {}

RedisLink::~RedisLink() {
  if (connection_ != nullptr) connection_->close();
}

void RedisLink::open() {
  if (state_ != State::down) return;
  state_ = State::opening;
  opened_ = loop_.now();
  counters_.add(&RedisCacheStats::connections);
  connection_ = RedisConnection::open(loop_, endpoint_, limits_,
                                      {.up = [this] { sign_in(); },
                                       .reply = [this](RedisReply reply) { take(std::move(reply)); },
                                       .down = [this](const Error& why) { fail(why.code()); }});
}

void RedisLink::sign_in() {
  // An error here ends the connection, once the reply is handled.
  const auto wanted = [this](RedisReply* reply) {
    if (reply == nullptr || reply->kind != RedisReply::Kind::error) return;
    count_error(counters_, reply->text);
    loop_.post([this, refused = connection_] {
      if (refused == connection_) fail();
    });
  };
  if (!login_.username.empty()) {
    const std::array<std::string_view, 5> hello{"HELLO", "2", "AUTH", login_.username, login_.password};
    send(hello, wanted);
  } else if (!login_.password.empty()) {
    const std::array<std::string_view, 2> auth{"AUTH", login_.password};
    send(auth, wanted);
  }
  if (login_.database != 0) {
    const std::string number = std::to_string(login_.database);
    const std::array<std::string_view, 2> select{"SELECT", number};
    send(select, wanted);
  }
  state_ = State::up;
  events_.up();
  flush();
}

void RedisLink::send(std::span<const std::string_view> arguments, OnReply on_reply) {
  connection_->send(arguments);
  pending_.push_back({loop_.now(), std::move(on_reply)});
}

void RedisLink::flush() {
  if (connection_ != nullptr) connection_->flush();
}

void RedisLink::take(RedisReply reply) {
  if (pending_.empty()) {
    fail();  // nobody asked: what follows would answer the wrong question
    return;
  }
  last_reply_ = loop_.now();
  answered_ = true;
  OnReply on_reply = std::move(pending_.front().on_reply);
  pending_.pop_front();
  on_reply(&reply);
}

void RedisLink::drop() {
  const auto connection = std::exchange(connection_, nullptr);
  if (connection != nullptr) connection->close();
  state_ = State::down;
  answered_ = false;
  auto owed = std::exchange(pending_, {});
  for (Pending& one : owed) one.on_reply(nullptr);
}

void RedisLink::close() { drop(); }

void RedisLink::fail(ErrorCode why) {
  if (state_ == State::down) return;
  const Ending ending{why, state_ == State::opening ? 1 : pending_.size()};
  drop();
  events_.down(ending);
}

TimePoint RedisLink::waiting_since() const noexcept {
  if (state_ == State::opening) return opened_;
  return pending_.empty() ? TimePoint::max() : std::max(pending_.front().sent, last_reply_);
}

RedisCount count_error(RedisCounters& counters, std::string_view text) {
  struct Cause {
    std::string_view prefix;
    RedisCount count;
  };
  static constexpr std::array kCauses{
      Cause{"MOVED", &RedisCacheStats::moved},
      Cause{"ASK", &RedisCacheStats::moved},
      Cause{"CLUSTERDOWN", &RedisCacheStats::moved},
      Cause{"READONLY", &RedisCacheStats::read_only},
      Cause{"LOADING", &RedisCacheStats::loading},
      Cause{"MASTERDOWN", &RedisCacheStats::loading},
      Cause{"OOM", &RedisCacheStats::out_of_memory},
      Cause{"NOAUTH", &RedisCacheStats::no_auth},
      Cause{"WRONGPASS", &RedisCacheStats::no_auth},
      Cause{"NOPERM", &RedisCacheStats::no_auth},
      Cause{"ERR invalid pass", &RedisCacheStats::no_auth},
  };
  for (const Cause& cause : kCauses) {
    if (!text.starts_with(cause.prefix)) continue;
    counters.add(cause.count);
    return cause.count;
  }
  counters.add(&RedisCacheStats::other_errors);
  return &RedisCacheStats::other_errors;
}

}  // namespace tidegate
