#include "cache/tiered_cache.hpp"

#include <algorithm>
#include <atomic>

#include "base/mutex.hpp"
#include "base/try.hpp"
#include "base/wall_time.hpp"
#include "cache/key_hash.hpp"
#include "cache/memory_cache.hpp"
#include "cache/negative_cache.hpp"
#include "request/record_codec.hpp"
#include "tidegate/redis_cache.hpp"

namespace tidegate {
namespace {

/// A look-up may take this part of what is left of the deadline: the rest is for computing.
constexpr int kDeadlineShare = 5;
/// And a tier this part of the look-up, before the next one is asked beside it.
constexpr int kPatienceShare = 4;

TimePoint later(TimePoint now, Duration span) { return span > TimePoint::max() - now ? TimePoint::max() : now + span; }

/// `life`, shortened by a part of `percent` that the key decides.
Duration with_jitter(Duration life, std::uint32_t percent, const CacheKey& key) {
  // Bits that neither shard, index nor fingerprint alone decides by.
  const auto part = static_cast<double>(hash_of(key) >> 16 & 0xFFFF) / 65536.0;
  const double cut = static_cast<double>(life.count()) * part * percent / 100.0;
  return std::max(life - Duration(static_cast<std::int64_t>(cut)), Duration(1));
}

Duration life_in_tiers(const CacheOptions& options) {
  return std::max(options.time_to_live, options.tier_time_to_live);
}

/// What errors may take of the memory tier's budget, which is made smaller by it.
constexpr std::uint64_t kNegativePart = 50;

std::uint64_t bytes_for_errors(const CacheOptions& options, std::uint64_t capacity_bytes) {
  return options.negative_time_to_live > Duration::zero() ? capacity_bytes / kNegativePart : 0;
}

MemoryCacheOptions memory_options(const CacheOptions& options) {
  MemoryCacheOptions memory = options.memory;
  memory.capacity_bytes -= bytes_for_errors(options, memory.capacity_bytes);
  return memory;
}

/// Of the tier that all models share.
MemoryCacheOptions common_options(const CacheOptions& options) {
  MemoryCacheOptions memory = memory_options(options);
  if (options.memory.per_model == CachePerModel::on) memory.capacity_bytes = 0;
  return memory;
}

MemoryCache::Staleness staleness_of(const CacheOptions& options) {
  if (options.fresh_for <= Duration::zero()) return {};
  return {std::max(options.time_to_live - options.fresh_for, Duration::zero()), options.refresh_timeout};
}

/// Calls into a tier, which may be a user's; the only place where an exception of
/// one ends. False if it threw: trouble is a miss.
template <class Call>
bool call_tier(Call&& call) noexcept {
  try {
    call();
    return true;
  } catch (...) {
    return false;
  }
}

/// Relaxed throughout: counters, read one by one.
struct TierCounters {
  std::atomic<std::uint64_t> hits{0};
  std::atomic<std::uint64_t> misses{0};
  std::atomic<std::uint64_t> expired{0};
  std::atomic<std::uint64_t> inserted{0};
};

void add_one(std::atomic<std::uint64_t>& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

using Done = UniqueFunction<void(std::optional<CacheHit>)>;

}  // namespace

/// What the chains of all models have in common.
struct TieredCache::Chain {
  Chain(CacheOptions o, std::shared_ptr<Clock> c, std::weak_ptr<Executor> executor)
      : options(std::move(o)),
        clock(std::move(c)),
        memory(common_options(options), clock, staleness_of(options)),
        shares(options.memory.per_model == CachePerModel::on && options.memory.capacity_bytes > 0
                   ? std::make_shared<MemoryShares>(
                         memory_options(options),
                         MemoryShares::Surroundings{clock, staleness_of(options), std::move(executor)})
                   : nullptr),
        errors(bytes_for_errors(options, options.memory.capacity_bytes), options.negative_time_to_live),
        counters(options.tiers.size()) {}

  void store_further(const CacheEntry& entry, std::size_t tier) {
    if (call_tier([&] { options.tiers[tier]->put_many(std::span(&entry, 1)); })) add_one(counters[tier].inserted);
  }

  [[nodiscard]] bool stores_anything() const { return options.memory.capacity_bytes > 0 || !options.tiers.empty(); }

  const CacheOptions options;
  const std::shared_ptr<Clock> clock;
  MemoryCache memory;
  const std::shared_ptr<MemoryShares> shares;  ///< null where memory is everybody's
  NegativeCache errors;
  Mutex resizing;  ///< one resize after the other; before the shares', the curve's, the errors' and the shards'
  std::vector<TierCounters> counters;  ///< of options.tiers, same order
};

/// The chain as one model sees it.
struct TieredCache::State {
  class FurtherLookup;

  explicit State(std::shared_ptr<Chain> c, std::shared_ptr<MemoryShare> s = nullptr)
      : chain(std::move(c)), share(std::move(s)), memory(share != nullptr ? share->memory : chain->memory) {}

  void keep(const CacheEntry& entry) {
    memory.put(entry);
    if (share != nullptr) share->stored(hash_of(entry.key), MemoryCache::charge_of(entry.key, entry.record));
  }

  const std::shared_ptr<Chain> chain;
  const std::shared_ptr<MemoryShare> share;  ///< null in a chain of no model's own
  MemoryCache& memory;
};

/// One look-up on its way through the further tiers: the next one is asked when those before it have answered, or when
/// a part of the time has passed without (a hedged request: Dean and Barroso, The Tail at Scale, 2013), so that a tier
/// that hangs keeps no answer of another one from the request. The alarm and the callbacks given to tiers keep it
/// alive. It holds the chain weakly: an alarm that never comes due must not keep chain and clock alive.
class TieredCache::State::FurtherLookup final : public std::enable_shared_from_this<FurtherLookup> {
 public:
  FurtherLookup(std::weak_ptr<State> state, const CacheKey& key, Deadline limit, Done done,
                std::optional<KeyOrigin> origin)
      : state_(std::move(state)), key_(key), limit_(limit), done_(std::move(done)), origin_(std::move(origin)) {}
  FurtherLookup(const FurtherLookup&) = delete;
  FurtherLookup& operator=(const FurtherLookup&) = delete;
  /// Dropped by everyone who could have answered: still answered.
  ~FurtherLookup() { finish(); }

  void start(State& state, TimePoint now) {
    patience_ = (limit_ - now) / kPatienceShare;
    {
      const MutexLock lock(mutex_);
      answered_.assign(state.chain->options.tiers.size(), false);
      asked_ = 1;
    }
    set_alarm(state, now);
    ask(state, 0);
  }

 private:
  using Answer = std::vector<std::optional<CacheEntry>>;

  /// For the next tier, or for the end of the time.
  void set_alarm(State& state, TimePoint now) {
    Deadline due = limit_;
    std::uint64_t number = 0;
    {
      const MutexLock lock(mutex_);
      if (asked_ < answered_.size()) due = std::min(limit_, now + patience_);
      number = ++alarms_set_;
    }
    const AlarmId alarm = state.chain->clock->call_at(due, [self = this->shared_from_this()] { self->ring(); });
    {
      const MutexLock lock(mutex_);
      if (number == alarms_set_) alarm_ = alarm;  // else it has rung meanwhile
    }
    if (finished_.load()) stop_alarm(state);  // by an answer that knew of the alarm before only
  }
  void stop_alarm(State& state) {
    AlarmId alarm = 0;
    {
      const MutexLock lock(mutex_);
      alarm = alarm_;
    }
    state.chain->clock->cancel(alarm);
  }

  void ring() noexcept {
    const std::shared_ptr<State> state = state_.lock();
    if (state == nullptr) {
      finish();
      return;
    }
    try {
      const TimePoint now = state->chain->clock->now();
      if (now >= limit_) return run_out_of_time(*state);
      if (finished_.load()) return;
      const std::optional<std::size_t> next = next_tier();
      set_alarm(*state, now);
      if (next) ask(*state, *next);
    } catch (...) {
      run_out_of_time(*state);  // nothing would end it otherwise
    }
  }

  std::optional<std::size_t> next_tier() {
    const MutexLock lock(mutex_);
    return asked_ < answered_.size() ? std::optional(asked_++) : std::nullopt;
  }

  void ask(State& state, std::size_t tier) {
    const bool called = call_tier([&] {
      state.chain->options.tiers[tier]->get_many(
          std::span(&key_, 1), limit_,
          [self = this->shared_from_this(), tier](Answer answer) { self->take(tier, std::move(answer)); });
    });
    if (!called) take(tier, {});
  }

  /// Each tier's first answer counts; a second one, or one given before it threw,
  /// finds its turn over.
  void take(std::size_t tier, Answer answer) {
    {
      const MutexLock lock(mutex_);
      if (answered_[tier]) return;
      answered_[tier] = true;
    }
    const std::shared_ptr<State> state = state_.lock();
    if (state == nullptr) {
      finish();
      return;
    }
    std::optional<CacheEntry> entry;
    if (answer.size() == 1 && believes(tier, *state)) entry = std::move(answer.front());
    if (auto outputs = judge(entry, state->chain->counters[tier])) {
      fill(*state, tier, *entry, *std::move(outputs));
      return;
    }
    if (finished_.load()) return;
    add_one(state->chain->counters[tier].misses);
    std::optional<std::size_t> next;
    {
      const MutexLock lock(mutex_);
      if (++misses_ < asked_) return;  // another one is still to answer
      if (asked_ < answered_.size()) next = asked_++;
    }
    if (next) {
      ask(*state, *next);
    } else if (finish()) {
      stop_alarm(*state);
    }
  }

  [[nodiscard]] bool believes(std::size_t tier, const State& state) const {
    if (!origin_) return true;
    const auto names = origin_->names.lock();
    return names != nullptr && names->vouches(tier, origin_->stamps, state.chain->clock->now());
  }

  /// The outputs, if the entry is the one asked for, has life left and is whole.
  [[nodiscard]] std::optional<std::vector<Tensor>> judge(const std::optional<CacheEntry>& entry,
                                                         TierCounters& counters) const {
    if (!entry || entry->key != key_) return std::nullopt;
    if (entry->time_to_live <= Duration::zero()) {
      add_one(counters.expired);
      return std::nullopt;
    }
    auto outputs = decode_record(key_, entry->record, ChecksumPolicy::verify);
    if (!outputs) return std::nullopt;
    return *std::move(outputs);
  }

  void fill(State& state, std::size_t tier, CacheEntry& entry, std::vector<Tensor> outputs) {
    if (entry.recompute_cost <= Duration::zero()) {
      if (const auto facts = record_facts(key_, entry.record.bytes())) entry.recompute_cost = facts->recompute_cost;
    }
    // No answer lives longer here than one computed here would.
    entry.time_to_live = std::min(entry.time_to_live, life_in_tiers(state.chain->options));
    CacheEntry near = entry;
    near.time_to_live = std::min(near.time_to_live, state.chain->options.time_to_live);
    call_tier([&] { state.keep(near); });
    if (answer_once()) {
      add_one(state.chain->counters[tier].hits);  // before anybody who looks for it is told
      count_unanswered(state);
      done_(CacheHit{std::move(outputs), static_cast<std::int32_t>(tier + 1)});
      stop_alarm(state);
    }
    // One that is still asked may have it, or is in no state to take it.
    for (std::size_t nearer = 0; nearer < tier; ++nearer) {
      if (has_answered(nearer)) state.chain->store_further(entry, nearer);
    }
  }

  [[nodiscard]] bool has_answered(std::size_t tier) {
    const MutexLock lock(mutex_);
    return answered_[tier];
  }

  void run_out_of_time(State& state) {
    if (!answer_once()) return;
    count_unanswered(state);
    done_(std::nullopt);
  }

  /// Who has been asked and has not answered has missed it.
  void count_unanswered(State& state) {
    const MutexLock lock(mutex_);
    for (std::size_t tier = 0; tier < asked_; ++tier) {
      if (!answered_[tier]) add_one(state.chain->counters[tier].misses);
    }
  }

  /// True for the one call that is to answer.
  bool answer_once() { return !finished_.exchange(true); }
  /// Ends it as a miss, unless it has ended.
  bool finish() {
    if (!answer_once()) return false;
    done_(std::nullopt);
    return true;
  }

  const std::weak_ptr<State> state_;
  const CacheKey key_;
  const Deadline limit_;
  Duration patience_{};
  Mutex mutex_;                                    // leaf
  AlarmId alarm_ TIDEGATE_GUARDED_BY(mutex_) = 0;  ///< set before any tier is asked
  std::uint64_t alarms_set_ TIDEGATE_GUARDED_BY(mutex_) = 0;
  std::size_t asked_ TIDEGATE_GUARDED_BY(mutex_) = 0;  ///< so many tiers, from the nearest on
  std::size_t misses_ TIDEGATE_GUARDED_BY(mutex_) = 0;
  std::vector<bool> answered_ TIDEGATE_GUARDED_BY(mutex_);  ///< by tier
  std::atomic<bool> finished_{false};
  Done done_;  ///< called by whoever sets finished_
  const std::optional<KeyOrigin> origin_;
};

TieredCache::TieredCache(CacheOptions options, std::shared_ptr<Clock> clock, std::weak_ptr<Executor> executor)
    : state_(
          std::make_shared<State>(std::make_shared<Chain>(std::move(options), std::move(clock), std::move(executor)))) {
}

TieredCache::TieredCache(std::shared_ptr<State> state) : state_(std::move(state)) {}

TieredCache::~TieredCache() = default;

Result<std::shared_ptr<TieredCache>> TieredCache::for_model(const std::string& model, const CacheShare& limits) {
  std::shared_ptr<MemoryShare> share;
  if (state_->chain->shares != nullptr) {
    TIDEGATE_TRY(share, state_->chain->shares->open(model, limits));
  }
  auto state = std::make_shared<State>(state_->chain, std::move(share));
  return std::shared_ptr<TieredCache>(new TieredCache(std::move(state)));
}

const std::shared_ptr<MemoryShares>& TieredCache::shares() const noexcept { return state_->chain->shares; }

std::optional<CacheHit> TieredCache::get_in_memory(const CacheKey& key) {
  if (state_->share != nullptr) state_->share->asked(hash_of(key));
  std::optional<MemoryHit> hit = state_->memory.find(key);
  if (!hit) return std::nullopt;
  // Its checksum was verified, or computed, when it came in.
  auto outputs = std::move(hit->value).outputs();
  if (!outputs) {
    state_->memory.erase(key);
    return std::nullopt;
  }
  return CacheHit{*std::move(outputs), 0, hit->age};
}

std::optional<Error> TieredCache::find_error(const CacheKey& key) {
  // Mostly there is none, and then the clock need not be read.
  return state_->chain->errors.empty() ? std::nullopt : state_->chain->errors.find(key, state_->chain->clock->now());
}

void TieredCache::put_error(const CacheKey& key, const Error& error) noexcept {
  state_->chain->errors.put(key, error, state_->chain->clock->now());
}

void TieredCache::put_in_memory(const CacheEntry& entry) { state_->keep(entry); }

std::uint64_t TieredCache::room_in_memory() const noexcept { return state_->memory.room(); }

std::vector<TieredCache::MemoryPart> TieredCache::memory_parts() const {
  std::vector<MemoryPart> parts{{std::shared_ptr<const MemoryCache>(state_->chain, &state_->chain->memory), {}}};
  if (shares() == nullptr) return parts;
  for (const auto& share : shares()->open_shares()) {
    parts.push_back({std::shared_ptr<const MemoryCache>(share, &share->memory), share->model});
  }
  return parts;
}

void TieredCache::clear_memory() {
  state_->memory.clear();
  state_->chain->errors.clear();
}

void TieredCache::resize_memory(std::uint64_t capacity_bytes) {
  const MutexLock lock(state_->chain->resizing);
  const CacheOptions& options = state_->chain->options;
  const std::uint64_t capacity = std::min(capacity_bytes, options.memory.capacity_bytes);
  const std::uint64_t errors = bytes_for_errors(options, capacity);
  const std::uint64_t left = capacity - errors;
  state_->chain->errors.resize(errors);
  if (shares() != nullptr) {
    shares()->resize(left);
  } else {
    state_->chain->memory.resize(left);
  }
}

std::vector<CacheCurvePoint> TieredCache::curve() const { return state_->chain->memory.curve(); }

const CacheOptions& TieredCache::options() const noexcept { return state_->chain->options; }

TimePoint TieredCache::now() const { return state_->chain->clock->now(); }

bool TieredCache::has_further_tiers() const noexcept { return !state_->chain->options.tiers.empty(); }

void TieredCache::get_further(const CacheKey& key, Deadline deadline, Done done, std::optional<KeyOrigin> origin) {
  const TimePoint now = state_->chain->clock->now();
  const Duration left = deadline > now ? deadline - now : Duration::zero();
  const Duration share = deadline == kNoDeadline ? Duration::max() : left / kDeadlineShare;
  const Deadline limit = later(now, std::min(share, state_->chain->options.lookup_budget));
  if (!has_further_tiers() || limit <= now) {
    done(std::nullopt);
    return;
  }
  std::make_shared<State::FurtherLookup>(state_, key, limit, std::move(done), std::move(origin))->start(*state_, now);
}

void TieredCache::put(const CacheKey& key, std::span<const Tensor> outputs, Duration cost) {
  if (!state_->chain->stores_anything()) return;
  call_tier([&] {
    const CacheOptions& options = state_->chain->options;
    const Duration life = with_jitter(options.time_to_live, options.time_to_live_jitter_percent, key);
    const Duration further = with_jitter(life_in_tiers(options), options.time_to_live_jitter_percent, key);
    CacheEntry entry{key, encode_record(key, outputs, unix_milliseconds_after(further), cost), life, cost};
    if (entry.record.bytes().empty()) return;  // beyond what a record holds
    state_->keep(entry);
    entry.time_to_live = further;
    for (std::size_t tier = 0; tier < options.tiers.size(); ++tier) state_->chain->store_further(entry, tier);
  });
}

std::vector<CacheTierStats> TieredCache::stats() const {
  std::vector<CacheTierStats> all{shares() != nullptr ? shares()->stats() : state_->chain->memory.stats()};
  all.front().bytes += state_->chain->errors.bytes();
  all.reserve(1 + state_->chain->counters.size());
  for (std::size_t i = 0; i < state_->chain->counters.size(); ++i) {
    const TierCounters& counters = state_->chain->counters[i];
    CacheTierStats tier = state_->chain->options.tiers[i]->stats();
    tier.hits = counters.hits.load(std::memory_order_relaxed);
    tier.misses = counters.misses.load(std::memory_order_relaxed);
    tier.expired += counters.expired.load(std::memory_order_relaxed);
    const std::uint64_t offered = counters.inserted.load(std::memory_order_relaxed);
    tier.inserted = offered - std::min(offered, tier.rejected + tier.dropped);
    all.push_back(tier);
  }
  return all;
}

std::vector<std::string_view> TieredCache::tier_names() const {
  std::vector<std::string_view> names{state_->memory.name()};
  for (const auto& tier : state_->chain->options.tiers) names.push_back(tier->name());
  return names;
}

void TieredCache::collect(std::vector<MetricSample>& samples) const {
  for (const auto& tier : state_->chain->options.tiers) {
    if (const auto* const redis = dynamic_cast<const RedisCache*>(tier.get())) redis->collect(samples);
  }
}

}  // namespace tidegate
