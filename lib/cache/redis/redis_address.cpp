#include "cache/redis/redis_address.hpp"

#include <fmt/format.h>

#include <charconv>
#include <fstream>
#include <utility>

#include "base/try.hpp"
#include "cache/redis/redis_limits.hpp"

namespace tidegate {
namespace {

constexpr std::string_view kUnix = "unix:";
constexpr std::size_t kLongestUnixPath = 107;  // of sockaddr_un

Error bad_address(std::string_view address) {
  return {ErrorCode::invalid_argument,
          fmt::format("cache.redis.address is '{}'; it must be host:port, [IPv6]:port or unix:/path", address)};
}

Result<void> in_range(const char* option, std::uint64_t value, redis_limits::Numbers range) {
  if (std::cmp_greater_equal(value, range.minimum) && std::cmp_less_equal(value, range.maximum)) return {};
  return Error(ErrorCode::invalid_argument,
               fmt::format("cache.redis.{} is {}; it must be {} to {}", option, value, range.minimum, range.maximum));
}

Result<void> in_range(const char* option, Duration value, redis_limits::Times range) {
  if (value >= range.minimum && value <= range.maximum) return {};
  return Error(ErrorCode::invalid_argument, fmt::format("cache.redis.{} is {} ns; it must be {} to {} us", option,
                                                        value.count(), range.minimum.count(), range.maximum.count()));
}

Result<void> check_name(const char* option, std::string_view name) {
  if (!name.empty() && name.size() <= redis_limits::kNameBytes && name.find(':') == std::string_view::npos) return {};
  return Error(ErrorCode::invalid_argument, fmt::format("cache.redis.{} is '{}'; it must be 1 to {} bytes without ':'",
                                                        option, name, redis_limits::kNameBytes));
}

Result<void> check_secrets(const RedisCacheOptions& options) {
  const auto both = [](const char* one) {
    return Error(ErrorCode::invalid_argument, fmt::format("cache.redis.{0} and cache.redis.{0}_file are both given; "
                                                          "keep one",
                                                          one));
  };
  if (!options.password.empty() && !options.password_file.empty()) return both("password");
  if (!options.hmac_key.empty() && !options.hmac_key_file.empty()) return both("hmac_key");
  if (!options.username.empty() && options.password.empty() && options.password_file.empty()) {
    return Error(ErrorCode::invalid_argument, "cache.redis.username is given without a password");
  }
  if (options.tls_cert_file.empty() != options.tls_key_file.empty()) {
    return Error(ErrorCode::invalid_argument, "cache.redis.tls_cert_file and tls_key_file go together");
  }
  return {};
}

Result<std::string> first_line(const char* option, const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!file) return Error(ErrorCode::io_error, fmt::format("cache.redis.{}: '{}' cannot be read", option, path));
  std::getline(file, line);
  if (!line.empty() && line.back() == '\r') line.pop_back();
  if (!line.empty()) return line;
  return Error(ErrorCode::invalid_argument,
               fmt::format("cache.redis.{}: the first line of '{}' is empty", option, path));
}

}  // namespace

Result<RedisAddress> parse_redis_address(std::string_view address) {
  RedisAddress parsed;
  if (address.substr(0, kUnix.size()) == kUnix) {
    parsed.path = address.substr(kUnix.size());
    if (parsed.path.empty() || parsed.path.size() > kLongestUnixPath) return bad_address(address);
    return parsed;
  }
  std::string_view port;
  if (!address.empty() && address.front() == '[') {
    const std::size_t end = address.find(']');
    if (end == std::string_view::npos) return bad_address(address);
    parsed.host = address.substr(1, end - 1);
    port = address.substr(end + 1);
    if (!port.empty() && port.front() != ':') return bad_address(address);
  } else {
    const std::size_t colon = address.find(':');
    parsed.host = address.substr(0, colon);
    if (colon != std::string_view::npos) port = address.substr(colon);
  }
  if (parsed.host.empty()) return bad_address(address);
  if (port.empty()) return parsed;
  port.remove_prefix(1);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), parsed.port);
  if (error != std::errc() || end != port.data() + port.size() || parsed.port == 0) return bad_address(address);
  return parsed;
}

Result<void> check_options(const RedisCacheOptions& options) {
  using namespace redis_limits;
  TIDEGATE_TRY([[maybe_unused]] const RedisAddress address, parse_redis_address(options.address));
  TIDEGATE_CHECK(check_name("key_prefix", options.key_prefix));
  TIDEGATE_CHECK(check_name("namespace", options.name_space));
  TIDEGATE_CHECK(check_secrets(options));
  TIDEGATE_CHECK(in_range("database", options.database, kDatabase));
  TIDEGATE_CHECK(in_range("max_keys_per_get", options.max_keys_per_get, kKeysPerGet));
  TIDEGATE_CHECK(in_range("max_value_bytes", options.max_value_bytes, kValueBytes));
  TIDEGATE_CHECK(in_range("write_queue_items", options.write_queue_items, kQueueItems));
  TIDEGATE_CHECK(in_range("write_queue_bytes", options.write_queue_bytes, kQueueBytes));
  TIDEGATE_CHECK(in_range("connect_budget", options.connect_budget, kConnectBudget));
  TIDEGATE_CHECK(in_range("get_budget", options.get_budget, kGetBudget));
  TIDEGATE_CHECK(in_range("coalesce_window", options.coalesce_window, kCoalesceWindow));
  TIDEGATE_CHECK(in_range("breaker_first_open", options.breaker_first_open, kBreakerOpen));
  return in_range("breaker_longest_open", options.breaker_longest_open, kBreakerOpen);
}

Result<RedisCacheOptions> read_secrets(RedisCacheOptions options) {
  if (!options.password_file.empty()) {
    TIDEGATE_TRY(options.password, first_line("password_file", options.password_file));
  }
  if (!options.hmac_key_file.empty()) {
    TIDEGATE_TRY(options.hmac_key, first_line("hmac_key_file", options.hmac_key_file));
  }
  return options;
}

}  // namespace tidegate
