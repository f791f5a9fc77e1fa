// Room made ahead of time, so that what must not fail later needs no memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace tidegate {

/// Up to `total` elements need no further allocation. Grows by doubling at least.
template <class T>
void make_room(std::vector<T>& list, std::size_t total) {
  if (total > list.capacity()) list.reserve(std::max(total, 2 * list.capacity()));
}

}  // namespace tidegate
