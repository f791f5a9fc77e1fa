#include "cache/rocksdb/disk_tier.hpp"

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "base/mutex.hpp"
#include "base/try.hpp"
#include "cache/rocksdb/admission.hpp"
#include "cache/rocksdb/store_keeper.hpp"
#include "cache/rocksdb/write_breaker.hpp"
#include "cache/rocksdb/write_queue.hpp"

namespace tidegate::disk {
namespace {

/// Longest wait of the destructor for each kind of thread.
constexpr Duration kCloseBound = std::chrono::seconds(10);

using Entries = std::vector<std::optional<CacheEntry>>;

/// Relaxed throughout: counters, read one by one.
struct Counters {
  std::atomic<std::uint64_t> expired{0};
  std::atomic<std::uint64_t> rejected{0};
  std::atomic<std::uint64_t> corrupt{0};
  std::atomic<std::uint64_t> late{0};
  std::atomic<std::uint64_t> dropped{0};
  std::atomic<std::uint64_t> failed{0};
};

void add(std::atomic<std::uint64_t>& counter, std::uint64_t number = 1) {
  counter.fetch_add(number, std::memory_order_relaxed);
}

std::int64_t later_ms(std::int64_t now, Duration life) {
  return now + std::chrono::duration_cast<std::chrono::milliseconds>(life).count();
}

/// Keys that only a file can answer, and what is known of all.
struct Question {
  Entries answers;
  std::vector<CacheKey> keys;
  std::vector<std::size_t> places;    ///< of keys in answers
  std::optional<CacheKey> unsettled;  ///< one with a durable change that is not in a file yet
  bool in_the_dark = false;           ///< files that may hold one of them could not be asked

  /// What the asker is told: no slot at all where nothing was found and something might have been.
  [[nodiscard]] Entries answer() {
    const bool found = std::ranges::any_of(answers, [](const auto& slot) { return slot.has_value(); });
    if (in_the_dark && !found) answers.clear();
    return std::move(answers);
  }
};

}  // namespace

struct DiskTier::Core : std::enable_shared_from_this<DiskTier::Core> {
  Core(const DiskCacheOptions& o, Surroundings s)
      : options(o),
        surroundings(std::move(s)),
        keeper(o, surroundings.env),
        queue(o.max_queued_bytes),
        breaker(o.max_retry_pause),
        admission(o, surroundings.clock->now()) {}

  [[nodiscard]] TimePoint now() const { return surroundings.clock->now(); }

  // -- reading

  [[nodiscard]] std::optional<CacheEntry> entry_of(const CacheKey& key, CacheRecord record, const Life& life) {
    const Duration left = life.left_at(surroundings.unix_milliseconds());
    if (left > Duration::zero()) return CacheEntry{key, std::move(record), left};
    add(counters.expired);
    return std::nullopt;
  }

  /// Without reading a file.
  [[nodiscard]] Question look_in_memory(std::span<const CacheKey> keys) {
    Question question;
    question.answers.resize(keys.size());
    if (queue.starting_over()) return question;
    const auto store = keeper.store();
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (auto waiting = queue.find(keys[i])) {
        if (waiting->durable) {
          question.unsettled = keys[i];
        } else if (!waiting->forgets()) {
          question.answers[i] = entry_of(keys[i], std::move(waiting->record), waiting->life);
        }
      } else if (store == nullptr) {
        question.in_the_dark = true;
      } else if (store->may_hold(keys[i])) {
        question.keys.push_back(keys[i]);
        question.places.push_back(i);
      }
    }
    return question;
  }

  void look_in_files(Question& question) {
    const auto store = keeper.store();
    question.in_the_dark = store == nullptr;
    if (store == nullptr) return;
    std::vector<Answer> found = store->read(question.keys);
    for (std::size_t i = 0; i < found.size(); ++i) {
      Answer& answer = found[i];
      switch (answer.state) {
        case Answer::State::absent: break;
        case Answer::State::corrupt: add(counters.corrupt); break;
        case Answer::State::unreadable:
          add(counters.failed);
          question.in_the_dark = true;
          break;
        case Answer::State::whole:
          question.answers[question.places[i]] = entry_of(question.keys[i], std::move(answer.record), answer.life);
          break;
      }
    }
  }

  /// A read thread's work.
  void answer_from_files(Question& question, Deadline deadline, Lookup& done) noexcept {
    reads_waiting.fetch_sub(1, std::memory_order_relaxed);
    try {
      if (deadline <= now()) {
        question.in_the_dark = true;
        add(counters.late);
      } else {
        look_in_files(question);
      }
    } catch (...) {
      // Without memory for a record it is a miss.
      question.in_the_dark = true;
      add(counters.failed);
    }
    try {
      done(question.answer());
    } catch (...) {
      // The asker's own trouble; its thread is not here to be told.
      add(counters.failed);
    }
  }

  /// The writer's thread: look-ups that waited for it.
  void answer_parked() noexcept {
    for (Parked& parked : queue.take_parked()) {
      try {
        Question question = look_in_memory(parked.keys);
        if (question.unsettled && queue.park(*question.unsettled, parked)) continue;
        if (!question.keys.empty()) look_in_files(question);
        parked.done(question.answer());
      } catch (...) {
        add(counters.failed);  // as above
      }
    }
  }

  // -- storing

  void offer(const CacheEntry& entry) {
    Change change;
    change.record = entry.record;
    const std::uint64_t cost = change.cost();
    if (entry.time_to_live < std::chrono::milliseconds(1) || entry.record.bytes().empty() ||
        cost > keeper.buffer_bytes() / 4) {
      add(counters.rejected);
      return;
    }
    const TimePoint at = now();
    change.durable = entry.write == CacheWrite::durable;
    if (!change.durable && !breaker.allows(at)) {
      add(counters.failed);
      return;
    }
    const Verdict verdict = change.durable ? Verdict::take : judge(entry, cost, at);
    if (verdict == Verdict::seen_once) {
      add(counters.rejected);
      return;
    }
    const std::int64_t unix_now = surroundings.unix_milliseconds();
    change.life = {unix_now, later_ms(unix_now, entry.time_to_live)};
    if (verdict == Verdict::over_budget || !queue.put(entry.key, std::move(change))) add(counters.dropped);
  }

  [[nodiscard]] Verdict judge(const CacheEntry& entry, std::uint64_t cost, TimePoint at) {
    MutexLock lock(admission_mutex);
    return admission.judge(entry, cost, at);
  }

  /// The writer's thread.
  void write_until_closed() {
    for (;;) {
      const Work work = queue.wait();
      if (work.flush) alarm_set = false;  // it has rung
      const bool tried = breaker.allows(now()) || work.close;
      const bool written = tried && carried_out(work);
      if (written) {
        queue.done();
        breaker.succeeded();
      } else {
        add(counters.failed, queue.put_back());
        if (tried) breaker.failed(now());
      }
      answer_parked();
      if (work.close) {
        clock_out();
        // What could not be marked as forgotten must not come back with the next opening, nor what a durable
        // entry was to keep from being asked for.
        if (queue.owes_anything()) keeper.distrust();
        keeper.close();
        return;
      }
      if (written) watch_flush();
    }
  }

  /// False also where memory runs out: the store is tried again, as after any failure.
  [[nodiscard]] bool carried_out(const Work& work) noexcept {
    try {
      return carry_out(work);
    } catch (...) {
      return false;
    }
  }

  [[nodiscard]] bool carry_out(const Work& work) {
    if (breaker.is_open() || keeper.store() == nullptr || work.start_over) {
      const auto restored = work.start_over ? keeper.start_over() : keeper.restore();
      if (!restored) return false;
      if (work.start_over) queue.started_over();
    }
    const auto store = keeper.store();
    if (store == nullptr) return false;
    if (!write_changes(*store, *work.changes)) return false;
    const bool durable = std::ranges::any_of(*work.changes, [](const auto& change) { return change.second.durable; });
    return !(durable || work.flush || work.close || breaker.is_open()) || !store->dirty() || store->flush().has_value();
  }

  /// In parts that memory has room for.
  [[nodiscard]] bool write_changes(DiskStore& store, const Changes& changes) {
    std::vector<const KeyedChange*> part;
    std::uint64_t cost = 0;
    const auto write_part = [&] {
      const bool good = part.empty() || store.write(part).has_value();
      part.clear();
      cost = 0;
      return good && (!store.full() || store.flush().has_value());
    };
    for (const auto& change : changes) {
      part.push_back(&change);
      cost += change.second.cost();
      if (cost >= keeper.buffer_bytes() / 4 && !write_part()) return false;
    }
    return write_part();
  }

  /// From the first answer that is only in memory on, an alarm asks for a file.
  void watch_flush() noexcept {
    if (options.flush_interval == Duration::zero()) return;
    const auto store = keeper.store();
    if (store == nullptr || !store->dirty()) {
      clock_out();
    } else if (!alarm_set) {
      try {
        alarm = surroundings.clock->call_at(now() + options.flush_interval, [core = weak_from_this()] {
          if (const auto self = core.lock()) self->queue.ask_flush();
        });
        alarm_set = true;
      } catch (...) {
        // Without an alarm the next change tries again to set one.
      }
    }
  }

  void clock_out() {
    if (std::exchange(alarm_set, false)) surroundings.clock->cancel(alarm);
  }

  const DiskCacheOptions options;
  const Surroundings surroundings;
  StoreKeeper keeper;
  WriteQueue queue;
  WriteBreaker breaker;
  Counters counters;
  std::atomic<std::uint32_t> reads_waiting{0};
  Mutex admission_mutex;  // leaf
  Admission admission TIDEGATE_GUARDED_BY(admission_mutex);
  AlarmId alarm = 0;       // the writer's
  bool alarm_set = false;  // the writer's
};

Result<std::shared_ptr<CacheTier>> DiskTier::open(const DiskCacheOptions& options, Surroundings surroundings) {
  auto core = std::make_shared<Core>(options, std::move(surroundings));
  const auto opened = core->keeper.restore();
  if (!opened) {
    if (options.trouble == DiskTrouble::refuse || opened.error().code() == ErrorCode::invalid_argument) {
      return opened.error();
    }
    core->breaker.failed(core->now());
  }
  return std::shared_ptr<CacheTier>(new DiskTier(std::move(core), options.read_threads));
}

DiskTier::DiskTier(std::shared_ptr<Core> core, std::uint32_t read_threads)
    : core_(std::move(core)), readers_("tidegate-read", read_threads), writer_("tidegate-disk", 1) {
  writer_.post([core_copy = core_] { core_copy->write_until_closed(); });
}

DiskTier::~DiskTier() {
  readers_.stop(kCloseBound);
  core_->queue.close();
  writer_.stop(kCloseBound);
}

void DiskTier::get_many(std::span<const CacheKey> keys, Deadline deadline, Lookup done) {
  Question question = core_->look_in_memory(keys);
  if (question.unsettled) {
    Parked parked{{keys.begin(), keys.end()}, deadline, std::move(done)};
    if (core_->queue.park(*question.unsettled, parked)) return;
    done = std::move(parked.done);
    question = core_->look_in_memory(keys);  // the writer may have finished with it meanwhile
  }
  if (question.keys.empty()) {
    done(question.answer());
    return;
  }
  if (core_->reads_waiting.fetch_add(1, std::memory_order_relaxed) >= core_->options.max_queued_reads) {
    core_->reads_waiting.fetch_sub(1, std::memory_order_relaxed);
    add(core_->counters.late);
    question.in_the_dark = true;
    done(question.answer());
    return;
  }
  auto task = [core = core_, question = std::move(question), deadline, done = std::move(done)]() mutable {
    core->answer_from_files(question, deadline, done);
  };
  try {
    readers_.post(std::move(task));
  } catch (...) {
    core_->reads_waiting.fetch_sub(1, std::memory_order_relaxed);
    throw;
  }
}

void DiskTier::put_many(std::span<const CacheEntry> entries) {
  for (const CacheEntry& entry : entries) core_->offer(entry);
}

void DiskTier::erase_many(std::span<const CacheKey> keys) {
  for (const CacheKey& key : keys) core_->queue.forget(key);
}

CacheTierStats DiskTier::stats() const {
  const Counters& counters = core_->counters;
  const auto value = [](const auto& counter) { return counter.load(std::memory_order_relaxed); };
  CacheTierStats stats;
  stats.expired = value(counters.expired);
  stats.rejected = value(counters.rejected);
  stats.corrupt = value(counters.corrupt);
  stats.late = value(counters.late);
  stats.dropped = value(counters.dropped);
  stats.failed = value(counters.failed);
  stats.resets = core_->keeper.resets();
  stats.troubled = core_->breaker.is_open() ? 1 : 0;
  stats.evicted = core_->keeper.evicted();
  if (const auto store = core_->keeper.store()) {
    stats.entries = store->entries();
    stats.bytes = store->bytes();
  }
  return stats;
}

}  // namespace tidegate::disk
