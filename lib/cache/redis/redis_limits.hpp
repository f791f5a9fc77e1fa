// The ranges of RedisCacheOptions: checked here, published by the configuration's schema.
#pragma once

#include <chrono>
#include <cstdint>

namespace tidegate::redis_limits {

struct Numbers {
  std::int64_t minimum;
  std::int64_t maximum;
};
struct Times {
  std::chrono::microseconds minimum;
  std::chrono::microseconds maximum;
};

using std::chrono::microseconds;
using std::chrono::milliseconds;

inline constexpr Numbers kDatabase{0, 1 << 16};
inline constexpr Numbers kKeysPerGet{1, 1024};
inline constexpr Numbers kValueBytes{64, std::int64_t{1} << 28};
inline constexpr Numbers kQueueItems{1, 1 << 22};
inline constexpr Numbers kQueueBytes{4096, std::int64_t{1} << 40};
inline constexpr Times kConnectBudget{milliseconds(1), std::chrono::minutes(1)};
inline constexpr Times kGetBudget{microseconds(100), std::chrono::minutes(1)};
inline constexpr Times kCoalesceWindow{microseconds(0), milliseconds(100)};
inline constexpr Times kBreakerOpen{milliseconds(1), std::chrono::hours(1)};
inline constexpr std::size_t kNameBytes = 256;

}  // namespace tidegate::redis_limits
