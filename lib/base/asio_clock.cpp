// The machine's clock; the only file of the core that uses Boost.Asio.
#include <time.h>

#include <array>
#include <atomic>
#include <boost/asio/bind_allocator.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <map>
#include <new>
#include <vector>

#include "base/mutex.hpp"
#include "base/thread_pool.hpp"
#include "tidegate/time.hpp"

namespace tidegate {
namespace {

/// Entries of a multimap whose nodes are used again: once warm, entering and leaving allocate
/// nothing.
template <class Key, class Value>
class Entries {
 public:
  using Map = std::multimap<Key, Value>;

  Entries() { spare_.reserve(kMostSpare); }

  typename Map::iterator insert(const Key& key, Value&& value) {
    if (spare_.empty()) return map_.emplace(key, std::move(value));
    auto node = std::move(spare_.back());
    spare_.pop_back();
    node.key() = key;
    node.mapped() = std::move(value);
    return map_.insert(std::move(node));
  }
  Value take(typename Map::iterator entry) noexcept {
    auto node = map_.extract(entry);
    Value value = std::exchange(node.mapped(), Value{});
    if (spare_.size() < kMostSpare) spare_.push_back(std::move(node));
    return value;
  }
  [[nodiscard]] Map& all() noexcept { return map_; }

 private:
  static constexpr std::size_t kMostSpare = 64;
  Map map_;
  std::vector<typename Map::node_type> spare_;
};

/// Memory for a few handlers at a time; the heap for more. One that is set anew lives beside
/// those it has made void until they have been called.
class HandlerBlocks {
 public:
  void* allocate(std::size_t bytes) {
    for (Block& block : blocks_) {
      if (bytes <= sizeof(block.memory) && !block.taken.exchange(true, std::memory_order_acquire)) return block.memory;
    }
    return ::operator new(bytes);
  }
  void free(void* memory) noexcept {
    for (Block& block : blocks_) {
      if (memory == block.memory) return block.taken.store(false, std::memory_order_release);
    }
    ::operator delete(memory);
  }

 private:
  struct Block {
    alignas(std::max_align_t) std::byte memory[192];
    std::atomic<bool> taken{false};
  };
  std::array<Block, 8> blocks_{};
};

/// HandlerBlocks as an allocator.
template <class T>
struct BlockAllocator {
  using value_type = T;
  explicit BlockAllocator(HandlerBlocks& one) noexcept : blocks(&one) {}
  template <class U>
  BlockAllocator(const BlockAllocator<U>& other) noexcept : blocks(other.blocks) {}  // NOLINT: implicit
  T* allocate(std::size_t count) { return static_cast<T*>(blocks->allocate(count * sizeof(T))); }
  void deallocate(T* memory, std::size_t) noexcept { blocks->free(memory); }
  template <class U>
  bool operator==(const BlockAllocator<U>& other) const noexcept {
    return blocks == other.blocks;
  }
  HandlerBlocks* blocks;
};

/// All alarms share one timer, set to the earliest of them.
class AsioClock final : public Clock {
 public:
  ~AsioClock() override {
    state_->context.stop();
    thread_.reset();
  }

  TimePoint now() const noexcept override { return std::chrono::steady_clock::now(); }

#ifdef CLOCK_MONOTONIC_COARSE
  /// As of the last tick of the kernel, some milliseconds ago: a quarter of the cost of now().
  TimePoint coarse_now() const noexcept override {
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    return TimePoint(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
  }
#endif

  AlarmId call_at(TimePoint when, UniqueFunction<void()> alarm) override {
    MutexLock lock(mutex_);
    if (thread_ == nullptr) start();
    return state_->add(when, std::move(alarm));
  }

  bool cancel(AlarmId id) override { return state_->cancel(id); }

 private:
  // The clock's thread owns a share of the state, so handlers may hold a plain pointer:
  // they run on that thread only, and die with the context.
  struct State {
    struct Alarm {
      AlarmId id = 0;
      UniqueFunction<void()> run{};
    };

    AlarmId add(TimePoint when, UniqueFunction<void()> alarm) {
      MutexLock lock(mutex);
      const AlarmId id = last_id + 1;
      const auto known = when_of.insert(id, TimePoint(when));
      try {
        const auto place = alarms.insert(when, Alarm{id, std::move(alarm)});
        // Only a new earliest alarm moves the timer; a later one is met on the way.
        if (place == alarms.all().begin() && !rearm_posted) post_rearm(place);
      } catch (...) {
        when_of.take(known);
        throw;
      }
      return last_id = id;
    }

    void post_rearm(std::multimap<TimePoint, Alarm>::iterator place) TIDEGATE_REQUIRES(mutex) {
      try {
        boost::asio::post(context,
                          boost::asio::bind_allocator(BlockAllocator<void>(handlers), [this] { posted_rearm(); }));
        rearm_posted = true;
      } catch (...) {
        alarms.take(place);
        throw;
      }
    }

    bool cancel(AlarmId id) {
      UniqueFunction<void()> dropped;  // destroyed without the lock: it is the host's
      MutexLock lock(mutex);
      const auto known = when_of.all().find(id);
      if (known == when_of.all().end()) return false;
      auto [first, last] = alarms.all().equal_range(known->second);
      while (first != last && first->second.id != id) ++first;
      dropped = alarms.take(first).run;
      when_of.take(known);
      return true;
    }

    void posted_rearm() {
      {
        MutexLock lock(mutex);
        rearm_posted = false;
      }
      rearm();
    }

    /// Runs on the clock's thread: everything that is due, then one timer for the rest.
    void rearm() {
      for (;;) {
        UniqueFunction<void()> due;
        {
          MutexLock lock(mutex);
          if (alarms.all().empty()) return;
          const auto first = alarms.all().begin();
          if (first->first > std::chrono::steady_clock::now()) {
            timer.expires_at(first->first);
            break;
          }
          Alarm alarm = alarms.take(first);
          when_of.take(when_of.all().find(alarm.id));
          due = std::move(alarm.run);
        }
        due();
      }
      timer.async_wait(
          boost::asio::bind_allocator(BlockAllocator<void>(handlers), [this](const boost::system::error_code& error) {
            if (!error) rearm();
          }));
    }

    HandlerBlocks handlers;  // outlive the context, which frees them
    boost::asio::io_context context{1};
    boost::asio::steady_timer timer{context};
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard{context.get_executor()};
    Mutex mutex;  // leaf: alarms run without it
    Entries<TimePoint, Alarm> alarms TIDEGATE_GUARDED_BY(mutex);
    Entries<AlarmId, TimePoint> when_of TIDEGATE_GUARDED_BY(mutex);
    AlarmId last_id TIDEGATE_GUARDED_BY(mutex) = 0;
    bool rearm_posted TIDEGATE_GUARDED_BY(mutex) = false;  // and not begun: it will see every alarm
  };

  void start() TIDEGATE_REQUIRES(mutex_) {
    thread_ = std::make_unique<ThreadPool>("tidegate-clk", 1);
    thread_->post([state = state_] { state->context.run(); });
  }

  std::shared_ptr<State> state_ = std::make_shared<State>();
  Mutex mutex_;  // before State::mutex
  std::unique_ptr<ThreadPool> thread_ TIDEGATE_GUARDED_BY(mutex_);
};

}  // namespace

std::shared_ptr<Clock> make_steady_clock() { return std::make_shared<AsioClock>(); }

}  // namespace tidegate
