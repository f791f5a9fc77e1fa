// What the Redis tests share: answers, look-ups that wait, a plain client.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "base/wall_time.hpp"
#include "cache/redis/resp_reader.hpp"
#include "request/record_codec.hpp"
#include "support/eventually.hpp"
#include "tidegate/redis_cache.hpp"

namespace tidegate::test {

inline CacheKey redis_key(std::uint64_t number) {
  CacheKey key;
  for (std::size_t i = 0; i < key.size(); ++i)
    key[i] = static_cast<std::uint8_t>((number + i) * 0x9E3779B97F4A7C15ULL >> 56);
  for (std::size_t i = 0; i < 8; ++i) key[i] = static_cast<std::uint8_t>(number >> (8 * i));
  return key;
}

/// An answer of one float, `floats` times.
inline CacheEntry redis_entry(std::uint64_t number, float value, Duration life = std::chrono::hours(1),
                              std::size_t floats = 1) {
  const std::vector<float> values(floats, value);
  const std::vector<Tensor> outputs{Tensor::vector_of(std::span<const float>(values))};
  const std::int64_t ms = std::chrono::duration_cast<std::chrono::milliseconds>(life).count();
  return {redis_key(number), encode_record(redis_key(number), outputs, unix_milliseconds() + ms), life};
}

inline float float_of(const CacheEntry& entry) {
  const auto outputs = decode_record(entry.key, entry.record, ChecksumPolicy::verify);
  return outputs ? outputs->at(0).as<float>()[0] : -1.0F;
}

using Slots = std::vector<std::optional<CacheEntry>>;

inline Slots look_up(CacheTier& tier, const std::vector<CacheKey>& keys, Deadline deadline = kNoDeadline) {
  std::promise<Slots> promise;
  auto future = promise.get_future();
  tier.get_many(keys, deadline, [&promise](Slots slots) { promise.set_value(std::move(slots)); });
  Slots slots = future.get();
  slots.resize(keys.size());  // none where the tier could not find out
  return slots;
}

inline std::optional<CacheEntry> look_up(CacheTier& tier, std::uint64_t number) {
  return look_up(tier, std::vector{redis_key(number)}).at(0);
}

inline void store(CacheTier& tier, const CacheEntry& entry) { tier.put_many(std::span(&entry, 1)); }

inline std::uint64_t dropped(const RedisCacheStats& stats) {
  return stats.dropped_full + stats.dropped_open + stats.dropped_refused + stats.dropped_lost + stats.dropped_unfit;
}

inline std::uint64_t misses(const RedisCacheStats& s) {
  return s.absent + s.expired + s.corrupt + s.forged + s.timeouts + s.silent + s.refused + s.overflowed + s.lost +
         s.failed;
}

/// Stores and waits until the server has it.
inline bool store_and_wait(RedisCache& tier, const CacheEntry& entry) {
  const std::uint64_t before = tier.redis_stats().written;
  store(tier, entry);
  return eventually([&] { return tier.redis_stats().written > before; });
}

/// Budgets that a loaded machine keeps, too: no verdict hangs on them.
inline RedisCacheOptions patient(std::uint16_t port) {
  RedisCacheOptions options;
  options.address = "127.0.0.1:" + std::to_string(port);
  options.get_budget = std::chrono::seconds(20);
  options.connect_budget = std::chrono::seconds(20);
  return options;
}

inline std::shared_ptr<RedisCache> make_tier(const RedisCacheOptions& options, std::shared_ptr<Clock> clock = nullptr) {
  auto tier = make_redis_cache(options, std::move(clock));
  if (!tier) throw std::runtime_error(std::string(tier.error().message()));
  return *std::move(tier);
}

inline int connect_to(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
  ::close(fd);
  return -1;
}

/// Sends one command, waits for its reply. Empty on any trouble.
inline std::optional<RedisReply> command(std::uint16_t port, std::vector<std::string> arguments) {
  const int fd = connect_to(port);
  if (fd < 0) return std::nullopt;
  std::string text;
  const std::vector<std::string_view> views(arguments.begin(), arguments.end());
  append_command(text, views);
  std::optional<RedisReply> reply;
  if (::send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size())) {
    RespReader reader({64 << 20, 1 << 20});
    char buffer[4096];
    while (!reply) {
      const ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
      if (got <= 0) break;
      reader.feed(std::span(buffer, static_cast<std::size_t>(got)));
      auto next = reader.next();
      if (!next) break;
      reply = *std::move(next);
    }
  }
  ::close(fd);
  return reply;
}

}  // namespace tidegate::test
