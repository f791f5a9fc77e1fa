#include "cache/cache_namespace.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/sha256.hpp"
#include "request/record_codec.hpp"

namespace tidegate {
namespace {

/// A computation of another process that began before an invalidation may end so much later, and what
/// it stores lives as long as any answer.
constexpr Duration kLongestComputation = std::chrono::minutes(10);

/// No clock is so far ahead of ours.
constexpr Duration kFurthestAhead = std::chrono::hours(24 * 3653);

/// A tier stores later, on a thread of its own; so often it is asked whether it has.
constexpr Duration kFirstPause = std::chrono::milliseconds(1);
constexpr Duration kLongestPause = std::chrono::milliseconds(100);

constexpr std::int64_t kNeverTold = std::numeric_limits<std::int64_t>::min();

CacheKey key_of_table(std::string_view model) noexcept {
  Sha256 hash;
  return hash.update_field("tidegate.invalidations.v1").update_field(model).finish();
}

std::int64_t microseconds(Duration span) { return std::chrono::duration_cast<std::chrono::microseconds>(span).count(); }

}  // namespace

Result<InvalidationTable::Scope> scope_of(const CacheScope& scope) {
  if (!scope.tag.empty() && scope.version) {
    return Error(ErrorCode::invalid_argument, "a cache scope names a tag and a version; give one of them");
  }
  if (scope.version) return InvalidationTable::of_version(*scope.version);
  return scope.tag.empty() ? InvalidationTable::kModel : InvalidationTable::of_tag(scope.tag);
}

/// One round of questions. Whoever of the tiers drops its callback has not answered; the last to go
/// tells how the round ended.
class CacheNamespace::Reading {
 public:
  Reading(std::size_t tiers, UniqueFunction<void(bool)> done) : missing_(tiers), done_(std::move(done)) {}
  Reading(const Reading&) = delete;
  Reading& operator=(const Reading&) = delete;
  ~Reading() {
    if (done_) done_(missing_.load(std::memory_order_relaxed) == 0);
  }
  void agreed() noexcept { missing_.fetch_sub(1, std::memory_order_relaxed); }

 private:
  std::atomic<std::size_t> missing_;  ///< tiers that have not been found to have it all
  UniqueFunction<void(bool)> done_;
};

/// Something that one thread waits for and another may tell.
class CacheNamespace::Wait {
 public:
  explicit Wait(std::shared_ptr<Waiters> waiters) : waiters_(std::move(waiters)) {}

  void tell(bool outcome) {
    const MutexLock lock(waiters_->mutex);
    outcome_ = outcome;
    waiters_->changed.notify_all();
  }
  /// What was told; false if that was nothing within `bound`, or until waits were ended.
  bool await(Duration bound) {
    MutexLock lock(waiters_->mutex);
    static_cast<void>(lock.wait_for(waiters_->changed, bound, [this]() TIDEGATE_REQUIRES(waiters_->mutex) {
      return outcome_.has_value() || waiters_->ended;
    }));
    return outcome_.value_or(false);
  }

 private:
  const std::shared_ptr<Waiters> waiters_;
  std::optional<bool> outcome_ TIDEGATE_GUARDED_BY(waiters_->mutex){};
};

CacheNamespace::CacheNamespace(std::string_view model, Surroundings surroundings)
    : key_(key_of_table(model)),
      around_(std::move(surroundings)),
      next_read_(around_.clock->now().time_since_epoch().count()),
      longest_life_(around_.time_to_live.count()),
      told_(around_.tiers.size()) {
  for (auto& told : told_) told.store(kNeverTold, std::memory_order_relaxed);
}

bool CacheNamespace::vouches(std::size_t tier, const CacheStamps& stamps, TimePoint now) const noexcept {
  const std::int64_t told = told_[tier].load(std::memory_order_acquire);
  if (told == kNeverTold || now.time_since_epoch().count() - told > kLongestUntold.count()) return false;
  return is_current(stamps);
}

CacheStamps CacheNamespace::stamps(InvalidationTable::Scope version, std::string_view tag) const noexcept {
  CacheStamps stamps;
  stamps.changes = changes_.load(std::memory_order_acquire);
  if (stamps.changes == 0) return stamps;
  stamps.model = model_.load(std::memory_order_relaxed);
  if (tag.empty() && !has_versions_.load(std::memory_order_relaxed)) return stamps;
  const InvalidationTable::Scope of_tag = tag.empty() ? 0 : InvalidationTable::of_tag(tag);
  const MutexLock lock(mutex_);
  stamps.version = table_.stamp(version);
  if (!tag.empty()) stamps.tag = table_.stamp(of_tag);
  return stamps;
}

void CacheNamespace::invalidate(InvalidationTable::Scope scope, Duration bound) {
  raise(scope);
  if (bound > Duration::zero() && !around_.tiers.empty()) {
    static_cast<void>(synchronize_and_wait(bound));
    raise(scope);
  }
  synchronize({});
}

void CacheNamespace::raise(InvalidationTable::Scope scope) {
  const MutexLock lock(mutex_);
  const TimePoint now = around_.clock->now();
  table_.forget(oldest_of_use(), now - memory());
  // Later than all that is known, also where the wall clock is not.
  table_.raise(scope, std::max(around_.unix_us(), table_.latest() + 1), now);
  publish();
}

void CacheNamespace::publish() {
  model_.store(table_.stamp(InvalidationTable::kModel), std::memory_order_relaxed);
  has_versions_.store(table_.versions() > 0, std::memory_order_relaxed);
  changes_.fetch_add(1, std::memory_order_release);
}

Duration CacheNamespace::memory() const noexcept {
  constexpr Duration kMost = std::chrono::hours(24 * 365 * 20);
  return 2 * std::min(Duration(longest_life_.load(std::memory_order_relaxed)), kMost) + kLongestComputation;
}

void CacheNamespace::outlast(Duration life) noexcept {
  Duration::rep longest = longest_life_.load(std::memory_order_relaxed);
  while (longest < life.count() &&
         !longest_life_.compare_exchange_weak(longest, life.count(), std::memory_order_relaxed)) {
  }
}

std::int64_t CacheNamespace::oldest_of_use() const noexcept { return around_.unix_us() - microseconds(memory()); }

std::optional<InvalidationTable> CacheNamespace::table_in(const CacheEntry& entry, TimePoint now) const {
  if (entry.key != key_) return std::nullopt;
  const auto outputs = decode_record(key_, entry.record, ChecksumPolicy::verify);
  if (!outputs || outputs->size() != 1 || outputs->front().type() != DataType::i64) return std::nullopt;
  return InvalidationTable::decode(outputs->front().as<std::int64_t>(), now,
                                   around_.unix_us() + microseconds(kFurthestAhead));
}

void CacheNamespace::read_when_due(TimePoint now) noexcept {
  std::int64_t due = next_read_.load(std::memory_order_relaxed);
  const std::int64_t next = (now + kReadInterval).time_since_epoch().count();
  if (now.time_since_epoch().count() < due ||
      !next_read_.compare_exchange_strong(due, next, std::memory_order_relaxed)) {
    return;
  }
  try {
    const MutexLock lock(mutex_);
    if (table_.forget(oldest_of_use(), now - memory())) publish();
  } catch (...) {
    // The host's clock threw; another time.
  }
  synchronize({});
}

void CacheNamespace::read_again_soon() noexcept {
  try {
    const std::int64_t soon = (around_.clock->now() + kRetryInterval).time_since_epoch().count();
    std::int64_t due = next_read_.load(std::memory_order_relaxed);
    while (soon < due && !next_read_.compare_exchange_weak(due, soon, std::memory_order_relaxed)) {
    }
  } catch (...) {
    // The host's clock threw; when it is due anyway.
  }
}

void CacheNamespace::synchronize(UniqueFunction<void(bool)> done) noexcept {
  try {
    const auto reading = std::make_shared<Reading>(around_.tiers.size(), std::move(done));
    for (std::size_t i = 0; i < around_.tiers.size(); ++i) {
      try {
        around_.tiers[i]->get_many(
            std::span(&key_, 1), kNoDeadline,
            [weak = weak_from_this(), reading, i](const std::vector<std::optional<CacheEntry>>& answer) {
              const auto self = weak.lock();
              if (self != nullptr && self->take_answer(i, answer)) reading->agreed();
            });
      } catch (...) {
        read_again_soon();  // a tier that throws has not answered
      }
    }
  } catch (...) {
    // Without memory to ask; another time.
  }
}

bool CacheNamespace::synchronize_and_wait(Duration bound) noexcept {
  if (around_.tiers.empty()) return true;
  try {
    const auto wait = std::make_shared<Wait>(waiters_);
    synchronize([wait](bool agreed) { wait->tell(agreed); });
    return wait->await(bound);
  } catch (...) {
    return false;
  }
}

bool CacheNamespace::spread(Duration bound) noexcept {
  try {
    const TimePoint end = around_.clock->now() + std::min<Duration>(bound, std::chrono::hours(24));
    for (Duration pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
      const TimePoint now = around_.clock->now();
      if (now >= end) return false;
      if (synchronize_and_wait(end - now)) return true;
      const auto alarm_rings = std::make_shared<Wait>(waiters_);
      const AlarmId alarm = around_.clock->call_at(now + pause, [alarm_rings] { alarm_rings->tell(true); });
      // A clock that stands still never rings.
      const bool awake = alarm_rings->await(end - now);
      around_.clock->cancel(alarm);
      if (!awake) return false;
    }
  } catch (...) {
    return false;
  }
}

void CacheNamespace::end_waits() noexcept {
  const MutexLock lock(waiters_->mutex);
  waiters_->ended = true;
  waiters_->changed.notify_all();
}

bool CacheNamespace::waits_ended() const noexcept {
  const MutexLock lock(waiters_->mutex);
  return waiters_->ended;
}

/// True if the tier has all that is known here.
bool CacheNamespace::take_answer(std::size_t tier, const std::vector<std::optional<CacheEntry>>& answer) {
  if (answer.empty()) {
    // It could not find out, which is not the same as having no table.
    read_again_soon();
    return false;
  }
  bool knows_all = false;
  bool learned = false;
  try {
    std::optional<InvalidationTable> theirs;
    const TimePoint now = around_.clock->now();
    if (answer.size() == 1 && answer.front()) theirs = table_in(*answer.front(), now);
    if (!theirs) theirs.emplace();
    theirs->forget(oldest_of_use(), TimePoint::max());
    const MutexLock lock(mutex_);
    learned = table_.merge(*theirs, now);
    if (learned) publish();
    told_[tier].store(now.time_since_epoch().count(), std::memory_order_release);
    auto ours =
        InvalidationTable::decode(table_.encode(oldest_of_use()), now, std::numeric_limits<std::int64_t>::max());
    knows_all = ours && theirs->covers(*ours);
  } catch (...) {
    return false;
  }
  try {
    const auto executor = around_.executor.lock();
    if (executor == nullptr) return knows_all;
    if (learned && around_.learned) {
      executor->post([weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->around_.learned();
      });
    }
    if (knows_all) return true;
    executor->post([weak = weak_from_this(), tier] {
      if (const auto self = weak.lock()) self->store(tier);
    });
  } catch (...) {
    // Found out again with the next reading.
  }
  return knows_all;
}

void CacheNamespace::store(std::size_t tier) noexcept {
  try {
    if (const auto table = entry()) around_.tiers[tier]->put_many(std::span(&*table, 1));
  } catch (...) {
    // As above.
  }
}

std::optional<CacheEntry> CacheNamespace::entry() const {
  std::vector<std::int64_t> pairs;
  {
    const MutexLock lock(mutex_);
    pairs = table_.encode(oldest_of_use());
  }
  if (pairs.empty()) return std::nullopt;
  const auto tensor = Tensor::copy_of(DataType::i64, {static_cast<std::int64_t>(pairs.size())},
                                      std::as_bytes(std::span(std::as_const(pairs))));
  if (!tensor) return std::nullopt;
  const std::int64_t life_ms = std::chrono::duration_cast<std::chrono::milliseconds>(memory()).count();
  const CacheRecord record = encode_record(key_, std::span(&*tensor, 1), around_.unix_us() / 1000 + life_ms);
  // As dear as anything: a tier that weighs what an answer has cost takes it at once. A tier that would lose it
  // with the process, and not the answers from before, has not taken it.
  return CacheEntry{key_, record, memory(), std::chrono::hours(1), CacheWrite::durable};
}

void CacheNamespace::take(const CacheEntry& entry) {
  const TimePoint now = around_.clock->now();
  auto theirs = table_in(entry, now);
  if (!theirs) return;
  theirs->forget(oldest_of_use(), TimePoint::max());
  const MutexLock lock(mutex_);
  if (table_.merge(*theirs, now)) publish();
}

}  // namespace tidegate
