// prefetch: has a record brought near before it is needed.
#pragma once

#include <cstddef>

namespace tidegate {

/// Pools call it for the record they will give next: by then its lines have left the nearest cache, and
/// each would be waited for in turn.
template <class T>
void prefetch(const T& record) noexcept {
  constexpr std::size_t kLine = 64;
  const auto* const bytes = reinterpret_cast<const char*>(&record);
  for (std::size_t at = 0; at < sizeof(T); at += kLine) __builtin_prefetch(bytes + at, 1);
}

}  // namespace tidegate
