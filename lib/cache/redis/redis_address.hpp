// What RedisCacheOptions say, checked.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tidegate/redis_cache.hpp"

namespace tidegate {

struct RedisAddress {
  std::string host;  ///< name or address; empty with a path
  std::uint16_t port = 6379;
  std::string path;  ///< of a Unix socket
};

/// Errors: invalid_argument (names the option and the forms it takes).
[[nodiscard]] Result<RedisAddress> parse_redis_address(std::string_view address);

/// Ranges and combinations; reads no file. Errors: invalid_argument (names the option).
[[nodiscard]] Result<void> check_options(const RedisCacheOptions& options);

/// Secrets that the options keep in files, read into `password` and `hmac_key`.
/// Errors: io_error, invalid_argument (the file's first line is empty).
[[nodiscard]] Result<RedisCacheOptions> read_secrets(RedisCacheOptions options);

}  // namespace tidegate
