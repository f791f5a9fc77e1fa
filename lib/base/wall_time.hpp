// The wall clock, for the one thing that outlives a process: expiry in stored records.
#pragma once

#include <cstdint>

namespace tidegate {

/// Milliseconds since 1970-01-01 UTC. May jump; every decision inside the process
/// takes its time from Clock instead.
[[nodiscard]] std::int64_t unix_milliseconds() noexcept;

}  // namespace tidegate
