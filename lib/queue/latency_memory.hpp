// LatencyMemory: what a LatencyModel has learned, in a form that outlives it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace tidegate {

struct LatencyMemory {
  static constexpr std::size_t kTerms = 4;   ///< per batch, token, squared length and row
  static constexpr std::size_t kLevels = 4;  ///< 1, 2, 3 to 4, more batches at a time

  struct Level {
    std::uint64_t samples = 0;                  ///< 0 = nothing is known of it
    std::array<double, kTerms> coefficients{};  ///< nanoseconds per term, none negative
  };
  std::array<Level, kLevels> levels{};
  double tail95 = 1;  ///< actual over predicted time, exceeded once in twenty batches
  double tail99 = 1;
};

}  // namespace tidegate
