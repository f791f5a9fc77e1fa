// The machine's clock; the only file of the core that uses Boost.Asio.
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>

#include "base/mutex.hpp"
#include "base/thread_pool.hpp"
#include "tidegate/time.hpp"

namespace tidegate {
namespace {

/// All alarms share one timer, set to the earliest of them.
class AsioClock final : public Clock {
 public:
  ~AsioClock() override {
    state_->context.stop();
    thread_.reset();
  }

  TimePoint now() const noexcept override { return std::chrono::steady_clock::now(); }

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
      AlarmId id;
      UniqueFunction<void()> run;
    };

    AlarmId add(TimePoint when, UniqueFunction<void()> alarm) {
      MutexLock lock(mutex);
      const AlarmId id = ++last_id;
      const auto place = alarms.emplace(when, Alarm{id, std::move(alarm)});
      when_of.emplace(id, when);
      // Only a new earliest alarm moves the timer; a later one is met on the way.
      if (place == alarms.begin()) boost::asio::post(context, [this] { rearm(); });
      return id;
    }

    bool cancel(AlarmId id) {
      MutexLock lock(mutex);
      const auto known = when_of.find(id);
      if (known == when_of.end()) return false;
      auto [first, last] = alarms.equal_range(known->second);
      while (first != last && first->second.id != id) ++first;
      alarms.erase(first);
      when_of.erase(known);
      return true;
    }

    /// Runs on the clock's thread: everything that is due, then one timer for the rest.
    void rearm() {
      for (;;) {
        UniqueFunction<void()> due;
        {
          MutexLock lock(mutex);
          if (alarms.empty()) return;
          const auto first = alarms.begin();
          if (first->first > std::chrono::steady_clock::now()) {
            timer.expires_at(first->first);
            break;
          }
          due = std::move(first->second.run);
          when_of.erase(first->second.id);
          alarms.erase(first);
        }
        due();
      }
      timer.async_wait([this](const boost::system::error_code& error) {
        if (!error) rearm();
      });
    }

    boost::asio::io_context context{1};
    boost::asio::steady_timer timer{context};
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard{context.get_executor()};
    Mutex mutex;  // leaf: alarms run without it
    std::multimap<TimePoint, Alarm> alarms TIDEGATE_GUARDED_BY(mutex);
    std::map<AlarmId, TimePoint> when_of TIDEGATE_GUARDED_BY(mutex);
    AlarmId last_id TIDEGATE_GUARDED_BY(mutex) = 0;
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
