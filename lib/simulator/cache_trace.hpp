// CacheTrace: a recorded sequence of cache look-ups.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tidegate/simulator.hpp"

namespace tidegate {

/// Requests with keys numbered from 0 in order of first appearance.
struct CacheTrace {
  struct Lookup {
    std::uint32_t key = 0;
    std::uint32_t bytes = 1;  ///< weight of the answer
  };

  std::vector<Lookup> lookups;
  std::uint32_t keys = 0;  ///< different ones
  bool sized = false;      ///< the file tells weights
};

/// Errors: not_found, io_error; too_large (more than 2^32 - 1 different keys);
/// corrupt_data (a file cut inside a record).
[[nodiscard]] Result<CacheTrace> read_cache_trace(const std::string& path, CacheTraceFormat format);

}  // namespace tidegate
