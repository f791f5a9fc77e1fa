// RedisSession: look-ups and the generation of the namespace.
#include <algorithm>
#include <array>
#include <charconv>

#include "cache/redis/redis_session.hpp"

namespace tidegate {
namespace {

/// Of the values of one MGET, by what values usually have.
constexpr std::uint64_t kExpectedReplyBytes = 256 * 1024;
constexpr Duration kGenerationAge = std::chrono::seconds(5);
/// For so long after a change of the generation, answers are stored only if their key
/// was looked up since; no computation is expected to take longer.
constexpr Duration kLateGuard = std::chrono::minutes(10);

}  // namespace

std::size_t RedisSession::keys_per_get() const {
  return std::clamp<std::size_t>(kExpectedReplyBytes / std::max<std::uint64_t>(usual_bytes_, 1), 1,
                                 options_.max_keys_per_get);
}

void RedisSession::send_gets(TimePoint now) {
  while (!queue_.empty() && queue_.front().lookup->ended()) queue_.pop_front();
  if (queue_.empty()) return;
  if (!ready_) {
    if (reads_.state() == RedisLink::State::down) {
      reads_opened_ = now;
      reads_.open();
    }
    return;
  }
  if (!generation_asked_ && now - generation_read_ >= kGenerationAge) ask_generation();
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
    names.push_back(codec_.key_name(generation_, one.key()));
    wanted.push_back(std::move(one));
  }
  if (wanted.empty()) return;
  std::vector<std::string_view> command{"MGET"};
  command.insert(command.end(), names.begin(), names.end());
  counters_.add(&RedisCacheStats::commands);
  ++gets_out_;
  reads_.send(command, [this, wanted = std::move(wanted), generation = generation_](RedisReply* reply) mutable {
    take_values(wanted, generation, reply);
  });
}

void RedisSession::take_values(std::vector<Wanted>& wanted, std::uint64_t generation, RedisReply* reply) {
  if (reply == nullptr) {
    for (const Wanted& one : wanted) settle(one, &RedisCacheStats::lost);
    return;
  }
  --gets_out_;
  if (reply->kind == RedisReply::Kind::array && reply->elements.size() == wanted.size()) {
    breaker_.succeeded(loop_.now());
    const std::int64_t unix_ms = unix_clock_();
    for (std::size_t i = 0; i < wanted.size(); ++i) judge(wanted[i], generation, reply->elements[i], unix_ms);
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

void RedisSession::judge(const Wanted& wanted, std::uint64_t generation, RedisReply& element, std::int64_t unix_ms) {
  if (wanted.lookup->ended()) return counters_.add(&RedisCacheStats::discarded);
  if (element.kind == RedisReply::Kind::nil) return settle(wanted, &RedisCacheStats::absent);
  if (element.kind != RedisReply::Kind::bulk) return settle(wanted, &RedisCacheStats::corrupt);
  usual_bytes_ = (usual_bytes_ * 7 + element.bulk->size()) / 8;
  if (generation != generation_) return settle(wanted, &RedisCacheStats::invalidated);
  RedisCodec::Opened opened = codec_.open(generation, wanted.key(), std::move(element.bulk), unix_ms);
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
  if (--lookup.missing > 0) return;
  counters_.record_latency(loop_.now() - lookup.asked);
  answer(lookup);
}

void RedisSession::reads_up() {
  second_try_ = false;
  ask_generation();
}

void RedisSession::reads_down(RedisLink::Ending ending) {
  ready_ = false;
  gets_out_ = 0;
  generation_asked_ = false;
  // One key at a time then, until it is known again how large values are.
  if (ending.why == ErrorCode::too_large) usual_bytes_ = options_.max_value_bytes;
  miss_all(&RedisCacheStats::lost);
  if (breaker_.state() == CircuitBreaker::State::half_open) {
    end_probe(nullptr);
  } else if (ending.owed > 0) {  // a server may hang up on an idle connection
    note_failure(CircuitBreaker::Failure::silence);
  }
  fail_invalidations("redis: the server cannot be reached");
  advance();
}

void RedisSession::ask_generation() {
  // A generation nobody has had: answers stored before the key was lost stay unreachable.
  generation_asked_ = true;
  const std::string fresh = std::to_string(fresh_generation());
  const std::array<std::string_view, 4> create{"SET", codec_.generation_key(), fresh, "NX"};
  const std::array<std::string_view, 2> read{"GET", codec_.generation_key()};
  if (!ready_ || second_try_) {
    reads_.send(create, [this](RedisReply* reply) {
      // A replica, or a server without memory, may still have a generation to read.
      if (reply != nullptr && reply->kind == RedisReply::Kind::error) count_error(counters_, reply->text);
    });
  }
  reads_.send(read, [this](RedisReply* reply) { take_generation(reply); });
}

void RedisSession::take_generation(RedisReply* reply) {
  generation_asked_ = false;
  if (reply == nullptr) return;
  const std::string_view text = reply->as_text();
  std::uint64_t generation = 0;
  const bool is_bulk = reply->kind == RedisReply::Kind::bulk;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), generation);
  if (is_bulk && error == std::errc() && end == text.data() + text.size() && generation != 0) {
    second_try_ = false;
    learn_generation(generation);
    generation_read_ = loop_.now();
    if (!ready_) ready();
    return;
  }
  if (reply->kind == RedisReply::Kind::nil && !second_try_) {
    second_try_ = true;  // lost since: make one
    ask_generation();
    return reads_.flush();
  }
  if (reply->kind == RedisReply::Kind::error) count_error(counters_, reply->text);
  if (reply->kind != RedisReply::Kind::error) counters_.add(&RedisCacheStats::other_errors);
  loop_.post([this] { reads_.fail(); });
}

void RedisSession::ready() {
  ready_ = true;
  if (breaker_.state() == CircuitBreaker::State::half_open) {
    const std::array<std::string_view, 1> ping{"PING"};
    reads_.send(ping, [this](RedisReply* pong) {
      end_probe(pong);
      if (pong != nullptr) advance();
    });
    reads_.flush();
  }
  send_invalidations();
  advance();
}

void RedisSession::learn_generation(std::uint64_t generation) {
  if (generation_ != 0 && generation != generation_) {
    guard_until_ = loop_.now() + kLateGuard;
    asked_since_.clear();
  }
  generation_ = generation;
  door_.generation.store(generation, std::memory_order_relaxed);
}

std::uint64_t RedisSession::fresh_generation() {
  // Milliseconds and 20 random bits (an MMIX step): unlike any other, here or elsewhere.
  random_ = random_ * 6364136223846793005ULL + 1442695040888963407ULL;
  return static_cast<std::uint64_t>(unix_clock_()) << 20 | random_ >> 44;
}

void RedisSession::invalidate(Invalidation done) {
  if (breaker_.state() != CircuitBreaker::State::closed) {
    done(Error(ErrorCode::unavailable, "redis: the circuit breaker is open"));
    return;
  }
  invalidations_.push_back(std::move(done));
  if (ready_) {
    send_invalidations();
  } else if (reads_.state() == RedisLink::State::down) {
    reads_opened_ = loop_.now();
    reads_.open();
  }
  advance();
}

void RedisSession::fail_invalidations(const char* why) {
  auto left = std::exchange(invalidations_, {});
  for (auto& done : left) done(Error(ErrorCode::unavailable, std::string(why)));
}

void RedisSession::send_invalidations() {
  auto waiting = std::exchange(invalidations_, {});
  if (waiting.empty()) return;
  const std::uint64_t fresh = fresh_generation();
  const std::string text = std::to_string(fresh);
  const std::array<std::string_view, 3> set{"SET", codec_.generation_key(), text};
  reads_.send(set, [this, fresh, waiting = std::move(waiting)](RedisReply* reply) mutable {
    const bool set_there = reply != nullptr && reply->kind == RedisReply::Kind::status;
    if (set_there) learn_generation(fresh);
    if (reply != nullptr && reply->kind == RedisReply::Kind::error) count_error(counters_, reply->text);
    for (auto& done : waiting) {
      if (set_there) {
        done({});
      } else {
        done(Error(ErrorCode::unavailable, "redis: the server did not take the new generation"));
      }
    }
  });
  reads_.flush();
}

}  // namespace tidegate
