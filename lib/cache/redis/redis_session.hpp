// RedisSession: what the network thread knows and decides.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/circuit_breaker.hpp"
#include "cache/redis/redis_codec.hpp"
#include "cache/redis/redis_door.hpp"
#include "cache/redis/redis_link.hpp"

namespace tidegate {

/// Where the wall clock is read; tests give their own.
using UnixClock = std::int64_t (*)() noexcept;

/// Gathers look-ups into MGETs on one link, writes on another, and ends what takes too
/// long. Everything on the loop's thread. No timer runs while nothing waits.
class RedisSession {
 public:
  RedisSession(RedisLoop& loop, RedisDoor& door, RedisCounters& counters, const RedisCacheOptions& options,
               std::shared_ptr<const RedisEndpoint> endpoint, UnixClock unix_clock, std::uint64_t seed);

  /// Looks at the door, then at what is due.
  void look();
  /// Tries the server out, after the circuit breaker's time.
  void probe();
  /// Stops the loop once writes are out, in a quarter of a second at most.
  void finish();
  /// Ends every look-up; nothing is called any more.
  void end();

  /// Of one look-up, counted from when it was asked: the rest of the budget is for its alarm to ring and
  /// the answer to be carried.
  static constexpr Duration time_of_lookup(const RedisCacheOptions& options) noexcept {
    return options.get_budget - options.get_budget / 16;
  }

 private:
  static constexpr std::size_t kMostGetsOut = 8;
  /// Look-ups that go on waiting once a reply is overdue.
  static constexpr std::size_t kMostPatient = 4;

  /// A key of a look-up.
  struct Wanted {
    std::shared_ptr<RedisLookup> lookup;
    std::size_t slot;
    [[nodiscard]] const CacheKey& key() const { return lookup->keys[slot]; }
  };

  void take_lookups();
  void advance();
  void expire(TimePoint now);
  void check_links(TimePoint now);
  /// Then the link for reads is made anew. A new one has the time of connecting for its first reply.
  [[nodiscard]] Duration longest_silence() const noexcept;
  /// From when on a reply is overdue.
  [[nodiscard]] Duration patience() const noexcept;
  void notice_silence(TimePoint now);
  /// The silence is over.
  void hear();
  /// A patient look-up goes on through a silence that is only the connecting.
  [[nodiscard]] bool sits_out(const RedisLookup& lookup) const noexcept { return lookup.patient && !reads_.answered(); }
  void arm(TimePoint now);

  void send_gets(TimePoint now);
  void send_get();
  void take_values(std::vector<Wanted>& wanted, TimePoint sent, RedisReply* reply);
  void judge(const Wanted& wanted, RedisReply& element, std::int64_t unix_ms);
  void settle(const Wanted& wanted, RedisCount miss);
  void answer(RedisLookup& lookup);
  /// Every look-up, sent or not, is a miss of this cause.
  void miss_all(RedisCount cause);
  [[nodiscard]] std::size_t keys_per_get() const;

  void reads_up();
  void reads_down(RedisLink::Ending ending);
  void try_out();
  /// A GET in no look-up's name, to learn whether the server is back.
  void knock();

  void send_writes(TimePoint now);
  /// False: it was dropped, and counted.
  bool send_write(const WriteQueue::Item& item, TimePoint now);
  void take_write(RedisReply* reply, std::uint64_t bytes);
  void drop_writes(RedisCount cause);
  [[nodiscard]] std::size_t queued_writes();

  void note_failure(CircuitBreaker::Failure failure);
  void writes_down(RedisLink::Ending ending);
  void show_breaker();
  void end_probe(RedisReply* pong);

  RedisLoop& loop_;
  RedisDoor& door_;
  RedisCounters& counters_;
  const RedisCacheOptions options_;
  const UnixClock unix_clock_;
  const RedisCodec codec_;
  CircuitBreaker breaker_;
  RedisLink reads_;
  RedisLink writes_;

  std::deque<Wanted> queue_;  ///< not sent yet
  std::multimap<TimePoint, std::shared_ptr<RedisLookup>> by_expiry_;
  std::size_t gets_out_ = 0;
  std::uint64_t usual_bytes_;  ///< of a value, moving average

  bool ready_ = false;      ///< reads_ is up
  bool reached_ = false;    ///< it was, once
  bool silent_ = false;     ///< a reply is overdue, or the link is made anew because of one
  TimePoint blamed_{};      ///< silence up to here has been counted
  Duration usual_reply_{};  ///< moving average

  std::uint64_t write_bytes_out_ = 0;
  TimePoint writes_paused_until_{};
  TimePoint writes_retry_at_{};
  std::optional<TimePoint> finish_at_;
};

}  // namespace tidegate
