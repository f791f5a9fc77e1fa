// RedisSession: writes, behind the answers.
#include <array>

#include "cache/redis/redis_session.hpp"
#include "request/record_codec.hpp"

namespace tidegate {
namespace {

constexpr std::size_t kMostWritesOut = 256;
constexpr std::uint64_t kMostBytesOut = 1 << 20;
/// How long a server that refuses a write is left alone with further ones.
constexpr Duration kRefusalPause = std::chrono::seconds(1);

}  // namespace

void RedisSession::writes_down(RedisLink::Ending ending) {
  if (ending.owed > 0) {
    writes_retry_at_ = loop_.now() + options_.breaker_first_open;
    note_failure(CircuitBreaker::Failure::silence);
  }
  advance();
}

std::size_t RedisSession::queued_writes() {
  const MutexLock lock(door_.mutex);
  return door_.writes.size();
}

void RedisSession::drop_writes(RedisCount cause) {
  std::size_t count = 0;
  {
    const MutexLock lock(door_.mutex);
    count = door_.writes.clear();
  }
  if (count > 0) counters_.add(cause, count);
}

void RedisSession::send_writes(TimePoint now) {
  if (queued_writes() == 0) return;
  if (now < writes_paused_until_) return drop_writes(&RedisCacheStats::dropped_refused);
  if (!reached_) {
    if (reads_.state() == RedisLink::State::down) reads_.open();
    return;
  }
  if (writes_.state() == RedisLink::State::down && now >= writes_retry_at_) writes_.open();
  if (writes_.state() != RedisLink::State::up) return;
  while (writes_.pending() < kMostWritesOut && write_bytes_out_ < kMostBytesOut) {
    std::optional<WriteQueue::Item> item;
    {
      const MutexLock lock(door_.mutex);
      item = door_.writes.pop();
    }
    if (!item) break;
    send_write(*item, now);
  }
  writes_.flush();
}

bool RedisSession::send_write(const WriteQueue::Item& item, TimePoint now) {
  const std::string name = codec_.key_name(item.key);
  if (item.record.bytes().empty()) {
    const std::array<std::string_view, 2> unlink{"UNLINK", name};
    writes_.send(unlink, [this](RedisReply* reply) { take_write(reply, 0); });
    return true;
  }
  const auto expiry = verify_record(item.key, item.record.bytes());
  const std::int64_t by_ttl = std::chrono::duration_cast<std::chrono::milliseconds>(item.expires_at - now).count();
  const std::int64_t left = expiry ? std::min(by_ttl, *expiry - unix_clock_()) : 0;
  if (left <= 0 || item.record.bytes().size() > options_.max_value_bytes) {
    counters_.add(&RedisCacheStats::dropped_unfit);
    return false;
  }
  const std::string value = codec_.value_of(name, item.record);
  const std::string life = std::to_string(left);
  const std::array<std::string_view, 5> set{"SET", name, value, "PX", life};
  write_bytes_out_ += value.size();
  writes_.send(set, [this, bytes = value.size()](RedisReply* reply) { take_write(reply, bytes); });
  return true;
}

void RedisSession::take_write(RedisReply* reply, std::uint64_t bytes) {
  write_bytes_out_ -= bytes;
  if (reply == nullptr) return counters_.add(&RedisCacheStats::dropped_lost);
  if (reply->kind == RedisReply::Kind::error) {
    count_error(counters_, reply->text);
    counters_.add(&RedisCacheStats::dropped_refused);
    writes_paused_until_ = loop_.now() + kRefusalPause;
  } else if (bytes > 0) {
    counters_.add(&RedisCacheStats::written);
  }
  advance();
}

}  // namespace tidegate
