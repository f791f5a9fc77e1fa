// Parts of the memory tier that models of one engine have for themselves.
#pragma once

#include <cstdint>
#include <string>

namespace tidegate {

/// Whose the memory tier is.
enum class CachePerModel : std::uint8_t {
  off,  ///< all models': what is asked for stays, whoever asks
  /// Each model has a part of the budget, where nobody else's answers displace its own. Bytes move, a
  /// little at a time, from the model that would lose the fewest hits with them to the one that
  /// would gain the most. Not with MemoryCacheOptions::curve.
  on,
};

/// What a model is promised of the memory tier (CachePerModel::on).
struct CacheShare {
  /// Never less, the bookkeeping of an empty share at least. Those of all models together must fit.
  std::uint64_t min_bytes = 0;
  std::uint64_t max_bytes = 0;  ///< never more; 0 = all there is
};

}  // namespace tidegate
