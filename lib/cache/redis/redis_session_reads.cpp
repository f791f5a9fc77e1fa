// RedisSession: look-ups.
#include <algorithm>
#include <array>

#include "cache/redis/redis_session.hpp"

namespace tidegate {
namespace {

/// Of the values of one MGET, by what values usually have.
constexpr std::uint64_t kExpectedReplyBytes = 256 * 1024;

}  // namespace

std::size_t RedisSession::keys_per_get() const {
  return std::clamp<std::size_t>(kExpectedReplyBytes / std::max<std::uint64_t>(usual_bytes_, 1), 1,
                                 options_.max_keys_per_get);
}

void RedisSession::send_gets(TimePoint now) {
  while (!queue_.empty() && queue_.front().lookup->ended()) queue_.pop_front();
  if (queue_.empty()) return;
  if (!ready_) {
    if (reads_.state() == RedisLink::State::down) reads_.open();
    return;
  }
  while (!queue_.empty() && gets_out_ < kMostGetsOut) {
    const bool alone = gets_out_ == 0;
    const bool waited = now >= queue_.front().lookup->asked + options_.coalesce_window;
    if (!alone && !waited && queue_.size() < keys_per_get()) break;
    send_get();
  }
  reads_.flush();
}

void RedisSession::send_get() {
  std::vector<Wanted> wanted;
  std::vector<std::string> names;
  const std::size_t most = keys_per_get();
  while (!queue_.empty() && wanted.size() < most) {
    Wanted one = std::move(queue_.front());
    queue_.pop_front();
    if (one.lookup->ended()) continue;
    names.push_back(codec_.key_name(one.key()));
    wanted.push_back(std::move(one));
  }
  if (wanted.empty()) return;
  std::vector<std::string_view> command{"MGET"};
  command.insert(command.end(), names.begin(), names.end());
  counters_.add(&RedisCacheStats::commands);
  ++gets_out_;
  reads_.send(command, [this, wanted = std::move(wanted), sent = loop_.now()](RedisReply* reply) mutable {
    take_values(wanted, sent, reply);
  });
}

void RedisSession::take_values(std::vector<Wanted>& wanted, TimePoint sent, RedisReply* reply) {
  if (reply == nullptr) {
    for (const Wanted& one : wanted) settle(one, &RedisCacheStats::lost);
    return;
  }
  --gets_out_;
  hear();
  usual_reply_ += (std::min(loop_.now() - sent, options_.get_budget) - usual_reply_) / 8;
  if (reply->kind == RedisReply::Kind::array && reply->elements.size() == wanted.size()) {
    breaker_.succeeded(loop_.now());
    const std::int64_t unix_ms = unix_clock_();
    for (std::size_t i = 0; i < wanted.size(); ++i) judge(wanted[i], reply->elements[i], unix_ms);
    return advance();
  }
  const bool is_error = reply->kind == RedisReply::Kind::error;
  if (is_error) count_error(counters_, reply->text);
  for (const Wanted& one : wanted) settle(one, &RedisCacheStats::failed);
  if (is_error) {
    note_failure(CircuitBreaker::Failure::refusal);
    return advance();
  }
  // Not the reply of this command: the stream is out of step.
  counters_.add(&RedisCacheStats::other_errors);
  loop_.post([this] { reads_.fail(); });
}

void RedisSession::judge(const Wanted& wanted, RedisReply& element, std::int64_t unix_ms) {
  if (wanted.lookup->ended()) return counters_.add(&RedisCacheStats::discarded);
  if (element.kind == RedisReply::Kind::nil) return settle(wanted, &RedisCacheStats::absent);
  if (element.kind != RedisReply::Kind::bulk) return settle(wanted, &RedisCacheStats::corrupt);
  usual_bytes_ = (usual_bytes_ * 7 + element.bulk->size()) / 8;
  RedisCodec::Opened opened = codec_.open(wanted.key(), std::move(element.bulk), unix_ms);
  if (opened.entry) {
    wanted.lookup->slots[wanted.slot] = std::move(opened.entry);
    opened.miss = &RedisCacheStats::hits;
  }
  settle(wanted, opened.miss);
}

void RedisSession::settle(const Wanted& wanted, RedisCount cause) {
  RedisLookup& lookup = *wanted.lookup;
  if (lookup.ended()) return;
  counters_.add(cause);
  lookup.told |= cause != &RedisCacheStats::lost && cause != &RedisCacheStats::failed;
  if (--lookup.missing > 0) return;
  counters_.record_latency(loop_.now() - lookup.asked);
  answer(lookup);
}

void RedisSession::reads_up() {
  ready_ = true;
  reached_ = true;
  if (breaker_.state() == CircuitBreaker::State::half_open) {
    try_out();
  } else if (silent_) {
    knock();
  }
  advance();
}

void RedisSession::reads_down(RedisLink::Ending ending) {
  ready_ = false;
  gets_out_ = 0;
  // One key at a time then, until it is known again how large values are.
  if (ending.why == ErrorCode::too_large) usual_bytes_ = options_.max_value_bytes;
  miss_all(&RedisCacheStats::lost);
  if (breaker_.state() == CircuitBreaker::State::half_open) {
    end_probe(nullptr);
  } else if (ending.owed > 0) {  // a server may hang up on an idle connection
    note_failure(CircuitBreaker::Failure::silence);
  }
  advance();
}

/// A look-up, which a server may refuse that still answers a PING.
void RedisSession::try_out() {
  const std::string nothing = codec_.key_name(CacheKey{});
  const std::array<std::string_view, 2> get{"GET", nothing};
  reads_.send(get, [this](RedisReply* reply) {
    if (reply != nullptr && reply->kind == RedisReply::Kind::error) end_probe(reply);
  });
  const std::array<std::string_view, 1> ping{"PING"};
  reads_.send(ping, [this](RedisReply* pong) {
    end_probe(pong);
    if (pong != nullptr) advance();
  });
  reads_.flush();
}

void RedisSession::knock() {
  const std::string nothing = codec_.key_name(CacheKey{});
  const std::array<std::string_view, 2> get{"GET", nothing};
  reads_.send(get, [this](RedisReply* reply) {
    if (reply == nullptr) return;
    if (reply->kind == RedisReply::Kind::error) count_error(counters_, reply->text);
    hear();
    advance();
  });
  reads_.flush();
}

}  // namespace tidegate
