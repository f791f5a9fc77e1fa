#include "cache/redis/redis_session.hpp"

#include <algorithm>

namespace tidegate {
namespace {

constexpr std::uint64_t kFirstGuessBytes = 4096;
constexpr std::size_t kLeastReplyElements = 1024;
constexpr std::size_t kReplySlack = 1 << 20;
constexpr Duration kFinishBudget = std::chrono::milliseconds(250);

CircuitBreaker::Options breaker_options(const RedisCacheOptions& options) {
  CircuitBreaker::Options breaker;
  breaker.first_open = options.breaker_first_open;
  breaker.longest_open = options.breaker_longest_open;
  return breaker;
}

ReplyLimits reply_limits(const RedisCacheOptions& options) {
  return {options.max_value_bytes + kReplySlack, std::max<std::size_t>(kLeastReplyElements, options.max_keys_per_get)};
}

RedisLogin login_of(const RedisCacheOptions& options) { return {options.username, options.password, options.database}; }

}  // namespace

RedisSession::RedisSession(RedisLoop& loop, RedisDoor& door, RedisCounters& counters, const RedisCacheOptions& options,
                           std::shared_ptr<const RedisEndpoint> endpoint, UnixClock unix_clock, std::uint64_t seed)
    : loop_(loop),
      door_(door),
      counters_(counters),
      options_(options),
      unix_clock_(unix_clock),
      codec_(options),
      breaker_(breaker_options(options), seed),
      reads_(loop, endpoint, login_of(options), reply_limits(options), counters,
             {.up = [this] { reads_up(); }, .down = [this](RedisLink::Ending ending) { reads_down(ending); }}),
      writes_(loop, endpoint, login_of(options), reply_limits(options), counters,
              {.up = [this] { advance(); }, .down = [this](RedisLink::Ending ending) { writes_down(ending); }}),
      usual_bytes_(kFirstGuessBytes) {}

void RedisSession::look() {
  take_lookups();
  advance();
}

void RedisSession::take_lookups() {
  std::vector<std::shared_ptr<RedisLookup>> fresh;
  {
    const MutexLock lock(door_.mutex);
    door_.announced = false;
    fresh.swap(door_.lookups);
  }
  for (auto& lookup : fresh) {
    if (silent_ && !sits_out(*lookup)) {
      counters_.add(&RedisCacheStats::silent, lookup->missing);
      answer(*lookup);
      continue;
    }
    if (reads_.answered()) lookup->expires = std::min(lookup->expires, lookup->asked + time_of_lookup(options_));
    for (std::size_t slot = 0; slot < lookup->keys.size(); ++slot) queue_.push_back({lookup, slot});
    by_expiry_.emplace(lookup->expires, std::move(lookup));
  }
}

void RedisSession::advance() {
  const TimePoint now = loop_.now();
  expire(now);
  check_links(now);
  notice_silence(now);
  if (breaker_.state() == CircuitBreaker::State::closed) {
    if (silent_ && reads_.state() == RedisLink::State::down) reads_.open();
    send_gets(now);
    send_writes(now);
  } else if (breaker_.state() == CircuitBreaker::State::open) {
    // Came in while it opened.
    miss_all(&RedisCacheStats::refused);
    drop_writes(&RedisCacheStats::dropped_open);
  }
  if (finish_at_) {
    const bool idle = queued_writes() == 0 && writes_.pending() == 0;
    if (idle || now >= *finish_at_ || breaker_.state() != CircuitBreaker::State::closed) return loop_.stop();
  }
  arm(now);
}

void RedisSession::expire(TimePoint now) {
  while (!by_expiry_.empty()) {
    const auto first = by_expiry_.begin();
    const auto lookup = first->second;
    if (!lookup->ended() && first->first > now) break;
    by_expiry_.erase(first);
    if (lookup->ended()) continue;
    counters_.add(&RedisCacheStats::timeouts, lookup->missing);
    answer(*lookup);
  }
}

void RedisSession::check_links(TimePoint now) {
  const TimePoint since = reads_.waiting_since();
  if (since != TimePoint::max() && now - since >= longest_silence()) {
    reads_.fail();
  } else if (since != TimePoint::max() && reads_.answered() && now - std::max(since, blamed_) >= options_.get_budget) {
    // The link is silent, whoever still waits for it: short deadlines of look-ups neither hide that nor feign it.
    blamed_ = now;
    note_failure(CircuitBreaker::Failure::silence);
  }
  if (writes_.waiting_since() != TimePoint::max() && now - options_.connect_budget >= writes_.waiting_since()) {
    writes_.fail();
  }
}

Duration RedisSession::longest_silence() const noexcept {
  return reads_.answered() ? options_.get_budget * 2 : options_.connect_budget;
}

Duration RedisSession::patience() const noexcept {
  return std::clamp(usual_reply_ * 4, options_.get_budget / 5, options_.get_budget);
}

void RedisSession::notice_silence(TimePoint now) {
  const TimePoint since = reads_.waiting_since();
  if (silent_ || breaker_.state() != CircuitBreaker::State::closed) return;
  if (since == TimePoint::max() || now - since < patience()) return;
  silent_ = true;
  door_.silent.store(true, std::memory_order_relaxed);
  std::size_t going_on = 0;
  for (auto it = by_expiry_.begin(); it != by_expiry_.end();) {
    const auto lookup = it->second;
    const bool stays = !lookup->ended() && (sits_out(*lookup) || going_on++ < kMostPatient);
    it = stays ? std::next(it) : by_expiry_.erase(it);
    if (stays || lookup->ended()) continue;
    counters_.add(&RedisCacheStats::silent, lookup->missing);
    answer(*lookup);
  }
}

void RedisSession::hear() {
  if (!silent_) return;
  silent_ = false;
  door_.silent.store(false, std::memory_order_relaxed);
}

void RedisSession::arm(TimePoint now) {
  TimePoint due = by_expiry_.empty() ? TimePoint::max() : by_expiry_.begin()->first;
  if (const TimePoint since = reads_.waiting_since(); since != TimePoint::max()) {
    due = std::min(due, since + longest_silence());
    if (reads_.answered()) due = std::min(due, std::max(since, blamed_) + options_.get_budget);
    const bool to_notice = !silent_ && breaker_.state() == CircuitBreaker::State::closed;
    if (to_notice) due = std::min(due, since + patience());
  }
  if (ready_ && !queue_.empty() && gets_out_ < kMostGetsOut) {
    due = std::min(due, queue_.front().lookup->asked + options_.coalesce_window);
  }
  if (const TimePoint since = writes_.waiting_since(); since != TimePoint::max()) {
    due = std::min(due, since + options_.connect_budget);
  } else if (writes_retry_at_ > now && queued_writes() > 0) {
    due = std::min(due, writes_retry_at_);
  }
  if (finish_at_) due = std::min(due, *finish_at_);
  if (due != TimePoint::max()) loop_.wake_at(due);
}

void RedisSession::answer(RedisLookup& lookup) {
  door_.waiting_keys.fetch_sub(lookup.keys.size(), std::memory_order_relaxed);
  CacheTier::Lookup done = std::exchange(lookup.done, nullptr);
  auto slots = std::exchange(lookup.slots, {});
  if (!lookup.told) slots.clear();
  try {
    done(std::move(slots));
  } catch (...) {
    // The caller's own trouble; the tier goes on.
  }
}

void RedisSession::miss_all(RedisCount cause) {
  queue_.clear();
  auto all = std::exchange(by_expiry_, {});
  for (auto& [expires, lookup] : all) {
    if (lookup->ended()) continue;
    counters_.add(cause, lookup->missing);
    answer(*lookup);
  }
}

void RedisSession::note_failure(CircuitBreaker::Failure failure) {
  if (breaker_.state() != CircuitBreaker::State::closed) return;
  breaker_.failed(loop_.now(), failure);
  if (breaker_.state() != CircuitBreaker::State::open) return;
  counters_.add(&RedisCacheStats::breaker_openings);
  show_breaker();
  hear();  // the breaker answers now
  // Later, as this may be inside a handler of a link.
  loop_.post([this] {
    if (breaker_.state() != CircuitBreaker::State::open) return;
    reads_.close();
    writes_.close();
    ready_ = false;
    gets_out_ = 0;
    advance();
  });
}

void RedisSession::show_breaker() {
  switch (breaker_.state()) {
    case CircuitBreaker::State::closed:
      counters_.set_breaker(RedisBreaker::closed);
      door_.shut_until.store(0, std::memory_order_release);
      break;
    case CircuitBreaker::State::open:
      door_.shut_until.store(breaker_.open_until().time_since_epoch().count(), std::memory_order_release);
      counters_.set_breaker(RedisBreaker::open);  // who reads that finds the door shut
      break;
    case CircuitBreaker::State::half_open: counters_.set_breaker(RedisBreaker::half_open); break;
  }
}

void RedisSession::probe() {
  const CircuitBreaker::Permit permit = breaker_.ask(loop_.now());
  if (permit != CircuitBreaker::Permit::probe) return show_breaker();
  show_breaker();
  // Opening was followed by closing both links, so this connects, signs in and tries the server out.
  reads_.close();
  ready_ = false;
  gets_out_ = 0;
  reads_.open();
  advance();
}

void RedisSession::end_probe(RedisReply* pong) {
  if (breaker_.state() != CircuitBreaker::State::half_open) return;
  if (pong != nullptr && pong->kind == RedisReply::Kind::status) {
    breaker_.probe_succeeded();
  } else {
    if (pong != nullptr && pong->kind == RedisReply::Kind::error) count_error(counters_, pong->text);
    breaker_.probe_failed(loop_.now());
    counters_.add(&RedisCacheStats::breaker_openings);
  }
  show_breaker();
}

void RedisSession::finish() {
  take_lookups();
  miss_all(&RedisCacheStats::lost);
  finish_at_ = loop_.now() + kFinishBudget;
  advance();
}

void RedisSession::end() {
  take_lookups();
  miss_all(&RedisCacheStats::lost);
  drop_writes(&RedisCacheStats::dropped_lost);
  reads_.close();
  writes_.close();
}

}  // namespace tidegate
