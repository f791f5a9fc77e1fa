// CacheStamps: what was invalidated before a request was made, as its key knows it.
#pragma once

#include <cstdint>

namespace tidegate {

/// Unix microseconds of the last invalidation of each scope that a request belongs to; 0 = never.
struct CacheStamps {
  std::int64_t model = 0;
  std::int64_t version = 0;
  std::int64_t tag = 0;
  /// Number of changes of the model's invalidations by then. What another number has
  /// replaced since must not be stored.
  std::uint64_t changes = 0;

  [[nodiscard]] bool never() const noexcept { return (model | version | tag) == 0; }
};

}  // namespace tidegate
