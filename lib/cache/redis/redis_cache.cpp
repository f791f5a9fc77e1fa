#include "cache/redis/redis_cache.hpp"

#include <future>
#include <random>
#include <system_error>

#include "base/try.hpp"
#include "base/wall_time.hpp"
#include "cache/redis/redis_address.hpp"

namespace tidegate {
namespace {

constexpr std::size_t kMostWaitingKeys = 8192;
/// For what is queued to be written; the session's own bound is a little shorter.
constexpr auto kFinishWait = std::chrono::milliseconds(300);
/// After that, for a callback that is running or a name being looked up.
constexpr Duration kThreadWait = std::chrono::milliseconds(700);

TimePoint after(TimePoint now, Duration span) { return span > TimePoint::max() - now ? TimePoint::max() : now + span; }

}  // namespace

/// Owned by the tier and by its thread, so a thread left behind has what it needs.
struct RedisTier::State {
  State(const RedisCacheOptions& options, std::shared_ptr<const RedisEndpoint> endpoint, std::shared_ptr<Clock> clock,
        std::shared_ptr<Clock> alarms, UnixClock unix_clock, std::uint64_t seed)
      : loop(std::move(clock), std::move(alarms)),
        door(options.write_queue_items, options.write_queue_bytes),
        session(loop, door, counters, options, std::move(endpoint), unix_clock, seed) {}

  void run() {
    // Replies that came with the alarm are read before anything counts as late.
    loop.run([this] { loop.post([this] { session.look(); }); });
    session.end();
    ended.set_value();
  }

  RedisLoop loop;
  RedisCounters counters;
  RedisDoor door;
  RedisSession session;
  std::promise<void> ended;
};

RedisTier::RedisTier(RedisCacheOptions options, std::shared_ptr<const RedisEndpoint> endpoint,
                     std::shared_ptr<Clock> clock, std::shared_ptr<Clock> alarms, UnixClock unix_clock,
                     std::uint64_t seed)
    : options_(std::move(options)),
      clock_(std::move(clock)),
      state_(std::make_shared<State>(options_, std::move(endpoint), clock_, std::move(alarms), unix_clock, seed)),
      thread_(std::make_unique<ThreadPool>("tidegate-redis", 1)) {
  thread_->post([state = state_] { state->run(); });
}

RedisTier::~RedisTier() {
  const bool inside = state_->loop.inside();
  auto ended = state_->ended.get_future();
  State* const state = state_.get();
  state->loop.post([state] { state->session.finish(); });
  if (!inside) ended.wait_for(kFinishWait);
  state->loop.stop();
  state_.reset();
  thread_->stop(kThreadWait);
}

bool RedisTier::enter(TimePoint now) {
  std::int64_t until = state_->door.shut_until.load(std::memory_order_acquire);
  if (until == 0) return true;
  if (now.time_since_epoch().count() < until) return false;
  if (state_->door.shut_until.compare_exchange_strong(until, RedisDoor::kProbing, std::memory_order_acq_rel)) {
    State* const state = state_.get();
    state->loop.post([state] { state->session.probe(); });
  }
  return false;
}

void RedisTier::announce() {
  State* const state = state_.get();
  state->loop.post([state] { state->session.look(); });
}

void RedisTier::get_many(std::span<const CacheKey> keys, Deadline deadline, Lookup done) {
  const TimePoint now = clock_->now();
  const auto miss = [&](RedisCount cause) {
    state_->counters.add(cause, keys.size());
    done({});
  };
  if (!enter(now)) return miss(&RedisCacheStats::refused);
  const bool patient = deadline == kNoDeadline;
  if (!patient && state_->door.silent.load(std::memory_order_relaxed)) return miss(&RedisCacheStats::silent);
  const Duration budget = RedisSession::time_of_lookup(options_);
  const Deadline expires =
      patient ? after(now, options_.connect_budget + budget) : std::min(deadline, after(now, budget));
  if (expires <= now || keys.empty()) return miss(&RedisCacheStats::timeouts);
  RedisDoor& door = state_->door;
  if (door.waiting_keys.fetch_add(keys.size(), std::memory_order_relaxed) + keys.size() > kMostWaitingKeys) {
    door.waiting_keys.fetch_sub(keys.size(), std::memory_order_relaxed);
    return miss(&RedisCacheStats::overflowed);
  }
  auto lookup = std::make_shared<RedisLookup>();
  lookup->asked = now;
  lookup->expires = expires;
  lookup->keys.assign(keys.begin(), keys.end());
  lookup->slots.resize(keys.size());
  lookup->missing = keys.size();
  lookup->patient = patient;
  lookup->done = std::move(done);
  bool first = false;
  {
    const MutexLock lock(door.mutex);
    door.lookups.push_back(std::move(lookup));
    first = !std::exchange(door.announced, true);
  }
  if (first) announce();
}

void RedisTier::push(WriteQueue::Item item) {
  RedisDoor& door = state_->door;
  std::size_t dropped = 0;
  bool first = false;
  {
    const MutexLock lock(door.mutex);
    dropped = door.writes.push(std::move(item));
    first = !std::exchange(door.announced, true);
  }
  if (dropped > 0) state_->counters.add(&RedisCacheStats::dropped_full, dropped);
  if (first) announce();
}

void RedisTier::put_many(std::span<const CacheEntry> entries) {
  const TimePoint now = clock_->now();
  if (!enter(now)) return state_->counters.add(&RedisCacheStats::dropped_open, entries.size());
  for (const CacheEntry& entry : entries) {
    if (entry.time_to_live <= Duration::zero() || entry.record.bytes().empty() ||
        entry.record.bytes().size() > options_.max_value_bytes) {
      state_->counters.add(&RedisCacheStats::dropped_unfit);
      continue;
    }
    push({entry.key, entry.record, after(now, entry.time_to_live)});
  }
}

void RedisTier::erase_many(std::span<const CacheKey> keys) {
  if (!enter(clock_->now())) return state_->counters.add(&RedisCacheStats::dropped_open, keys.size());
  for (const CacheKey& key : keys) push({key, CacheRecord(), TimePoint::max()});
}

void RedisTier::collect(std::vector<MetricSample>& samples) const { state_->counters.collect(samples); }

CacheTierStats RedisTier::stats() const {
  const RedisCacheStats own = redis_stats();
  CacheTierStats stats;
  stats.expired = own.expired;
  stats.corrupt = own.corrupt + own.forged;
  stats.late = own.timeouts + own.silent + own.overflowed;
  stats.failed = own.failed + own.lost;
  stats.rejected = own.dropped_unfit;
  stats.dropped = own.dropped_full + own.dropped_open + own.dropped_refused + own.dropped_lost;
  stats.troubled = own.breaker == RedisBreaker::closed ? 0 : 1;
  return stats;
}

RedisCacheStats RedisTier::redis_stats() const { return state_->counters.stats(); }

Result<std::shared_ptr<RedisCache>> make_redis_cache(RedisCacheOptions options, std::shared_ptr<Clock> clock) {
  TIDEGATE_CHECK(check_options(options));
  TIDEGATE_TRY(RedisCacheOptions checked, read_secrets(std::move(options)));
  TIDEGATE_TRY(std::shared_ptr<const RedisEndpoint> endpoint, RedisEndpoint::make(checked));
  const std::shared_ptr<Clock> alarms = clock;
  if (clock == nullptr) clock = make_steady_clock();
  try {
    const std::uint64_t seed = static_cast<std::uint64_t>(std::random_device{}()) << 32 | std::random_device{}();
    return std::shared_ptr<RedisCache>(std::make_shared<RedisTier>(std::move(checked), std::move(endpoint),
                                                                   std::move(clock), alarms, &unix_milliseconds, seed));
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory, "there is not enough memory for the Redis cache");
  } catch (const std::system_error& error) {
    return Error(ErrorCode::unavailable,
                 std::string("the system refused the thread of the Redis cache: ") + error.what());
  }
}

}  // namespace tidegate
