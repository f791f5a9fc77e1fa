// The wall clock, for what outlives a process: expiry in stored records, stamps of invalidations.
#pragma once

#include <cstdint>

#include "tidegate/time.hpp"

namespace tidegate {

/// Milliseconds since 1970-01-01 UTC. May jump; every decision inside the process
/// takes its time from Clock instead.
[[nodiscard]] std::int64_t unix_milliseconds() noexcept;
[[nodiscard]] std::int64_t unix_microseconds() noexcept;

/// When something ends that lives so long from now on.
[[nodiscard]] std::int64_t unix_milliseconds_after(Duration life) noexcept;

}  // namespace tidegate
