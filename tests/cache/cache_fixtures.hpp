// Keys, records and entries for the cache tests.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "cache/memory_cache.hpp"
#include "tidegate/cache.hpp"

namespace tidegate::test {

/// A key that is `number` in its first bytes and a mixture of it in all others.
inline CacheKey key_of(std::uint64_t number) {
  CacheKey key;
  for (std::size_t word = 0; word < 4; ++word) {
    const std::uint64_t value = word == 0 ? number : (number + word) * 0x9E3779B97F4A7C15ULL;
    std::memcpy(key.data() + 8 * word, &value, 8);
  }
  return key;
}

/// A block of `size` bytes of which the first eight (if there are as many) say `mark`.
inline CacheRecord block_of(std::size_t size, std::uint64_t mark) {
  auto block = std::make_shared<std::vector<std::byte>>(size);
  if (size > 0) std::memcpy(block->data(), &mark, std::min<std::size_t>(size, 8));
  return CacheRecord(std::move(block));
}

inline std::uint64_t mark_of(const CacheRecord& record) {
  std::uint64_t mark = 0;
  if (!record.bytes().empty())
    std::memcpy(&mark, record.bytes().data(), std::min<std::size_t>(record.bytes().size(), 8));
  return mark;
}

inline CacheEntry entry_of(std::uint64_t number, std::size_t size, Duration life = std::chrono::hours(1)) {
  return {key_of(number), block_of(size, number), life};
}

/// Shows each living entry of a memory tier.
template <class Visit>
void for_each_entry(const MemoryCache& cache, const Visit& visit) {
  cache.for_each([&](std::uint32_t shard, const MemoryShard::Living& living) {
    if (const auto entry = cache.entry_at(shard, living.node)) visit(*entry);
  });
}

}  // namespace tidegate::test
