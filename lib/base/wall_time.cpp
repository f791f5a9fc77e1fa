#include "base/wall_time.hpp"

#include <chrono>
#include <limits>

namespace tidegate {

std::int64_t unix_milliseconds() noexcept {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count();
}

std::int64_t unix_microseconds() noexcept {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(since_epoch).count();
}

std::int64_t unix_milliseconds_after(Duration life) noexcept {
  const std::int64_t now = unix_milliseconds();
  const std::int64_t left = std::chrono::duration_cast<std::chrono::milliseconds>(life).count();
  return left > std::numeric_limits<std::int64_t>::max() - now ? std::numeric_limits<std::int64_t>::max() : now + left;
}

}  // namespace tidegate
