// The wall clock, for what outlives a process: expiry in stored records, stamps of invalidations.
#pragma once

#include <cstdint>

namespace tidegate {

/// Milliseconds since 1970-01-01 UTC. May jump; every decision inside the process
/// takes its time from Clock instead.
[[nodiscard]] std::int64_t unix_milliseconds() noexcept;
[[nodiscard]] std::int64_t unix_microseconds() noexcept;

}  // namespace tidegate
