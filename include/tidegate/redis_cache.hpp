// RedisCache: a cache tier that several processes share through a Redis server.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "tidegate/cache.hpp"
#include "tidegate/metrics.hpp"
#include "tidegate/result.hpp"

namespace tidegate {

enum class RedisTls : std::uint8_t { off, on };

/// Where the server is and how much a request may pay for it.
struct RedisCacheOptions {
  /// "host:port", "host", "[IPv6]:port" or "unix:/path". A host name is looked up by a
  /// thread of its own, started by the first look-up; an address needs none.
  std::string address{};
  std::uint32_t database = 0;
  std::string username{};  ///< empty = the server's default user
  std::string password{};
  std::string password_file{};  ///< its first line is the password; not with `password`

  RedisTls tls = RedisTls::off;
  std::string tls_ca_file{};    ///< empty = the system's authorities
  std::string tls_cert_file{};  ///< with tls_key_file, where the server asks for it
  std::string tls_key_file{};
  std::string tls_server_name{};  ///< in the certificate; empty = the host of `address`

  std::string key_prefix = "tidegate";  ///< of every key; no ':'
  std::string name_space = "default";   ///< answers are shared within one; no ':'
  /// Secret that values are signed with (HMAC-SHA256): without it, whoever can write to
  /// the server can plant answers. All processes of a namespace need the same one.
  std::string hmac_key{};
  std::string hmac_key_file{};  ///< its first line is the secret; not with `hmac_key`

  Duration connect_budget = std::chrono::milliseconds(250);  ///< to connect and sign in
  /// Of one look-up. One without a deadline that has to wait for the connection has connect_budget more.
  Duration get_budget = std::chrono::milliseconds(5);
  /// How long look-ups wait for company while another one is with the server.
  Duration coalesce_window = std::chrono::microseconds(100);
  std::uint32_t max_keys_per_get = 64;
  std::uint64_t max_value_bytes = 4ULL << 20;  ///< larger answers are not stored
  std::uint32_t write_queue_items = 4096;      ///< the oldest go first
  std::uint64_t write_queue_bytes = 8ULL << 20;
  Duration breaker_first_open = std::chrono::seconds(1);
  Duration breaker_longest_open = std::chrono::seconds(30);
};

enum class RedisBreaker : std::uint8_t { closed, open, half_open };

/// Counters since the tier was made. A key looked up is a hit or a miss of one cause.
struct RedisCacheStats {
  std::uint64_t hits = 0;

  std::uint64_t absent = 0;      ///< misses: the server has no such key
  std::uint64_t expired = 0;     ///< its record has no life left
  std::uint64_t corrupt = 0;     ///< another key, checksum, version or length
  std::uint64_t forged = 0;      ///< not signed with our secret
  std::uint64_t timeouts = 0;    ///< no answer within the budget
  std::uint64_t silent = 0;      ///< the server owes an answer already: not waited for
  std::uint64_t refused = 0;     ///< the circuit breaker is open
  std::uint64_t overflowed = 0;  ///< too many look-ups are waiting
  std::uint64_t lost = 0;        ///< the connection broke, or there is none
  std::uint64_t failed = 0;      ///< the server answered with an error, counted below

  std::uint64_t moved = 0;          ///< error replies: the key is another cluster node's
  std::uint64_t read_only = 0;      ///< a replica
  std::uint64_t loading = 0;        ///< the server reads its data
  std::uint64_t out_of_memory = 0;  ///< maxmemory, and its policy evicts nothing
  std::uint64_t no_auth = 0;        ///< NOAUTH, WRONGPASS or NOPERM
  std::uint64_t other_errors = 0;

  std::uint64_t written = 0;          ///< acknowledged by the server
  std::uint64_t dropped_full = 0;     ///< writes dropped: oldest of a full queue
  std::uint64_t dropped_open = 0;     ///< the circuit breaker is open
  std::uint64_t dropped_refused = 0;  ///< the server takes none (OOM, read-only, ...)
  std::uint64_t dropped_lost = 0;     ///< on their way when the connection broke
  std::uint64_t dropped_unfit = 0;    ///< larger than max_value_bytes, or without life left

  std::uint64_t commands = 0;     ///< MGETs sent
  std::uint64_t discarded = 0;    ///< values that came after their look-up had ended
  std::uint64_t connections = 0;  ///< opened
  std::uint64_t breaker_openings = 0;
  RedisBreaker breaker = RedisBreaker::closed;  ///< now
};

/// Thread-safe; nothing waits on the caller's thread. One network thread, parked while
/// idle; look-ups end on it, or at once where the breaker is open. Destruction writes
/// what is queued for a quarter of a second at most, and ends look-ups as misses; it waits a second at most
/// for the thread, which ends them later if it hangs in a callback or gets no core.
class RedisCache : public CacheTier {
 public:
  [[nodiscard]] virtual RedisCacheStats redis_stats() const = 0;
  /// Adds them and the times of look-ups to a snapshot of the metrics.
  virtual void collect(std::vector<MetricSample>& samples) const = 0;
};

/// Connects with the first look-up or write, so an absent server is no error here.
/// `clock`: empty = the machine's; alarms of another one must not be late.
/// Errors: invalid_argument (names the option), io_error (names the file), unsupported
/// (this build has no hiredis), unavailable (no thread).
[[nodiscard]] Result<std::shared_ptr<RedisCache>> make_redis_cache(RedisCacheOptions options,
                                                                   std::shared_ptr<Clock> clock = nullptr);

}  // namespace tidegate
