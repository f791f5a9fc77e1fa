#include "cache/eviction_policy.hpp"

#include <algorithm>
#include <array>
#include <atomic>

#include "cache/plain_policies.hpp"
#include "cache/s3_fifo.hpp"
#include "cache/w_tiny_lfu.hpp"

namespace tidegate {
namespace {

/// In the order of the enumeration.
constexpr std::array<std::string_view, 5> kNames{"s3_fifo", "lru", "lfu", "w_tiny_lfu", "ttl_only"};

}  // namespace

std::string_view to_string(CachePolicy policy) noexcept { return kNames[static_cast<std::size_t>(policy)]; }

std::optional<CachePolicy> cache_policy_of(std::string_view name) noexcept {
  const auto* const found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<CachePolicy>(found - kNames.begin());
}

/// Those that count uses do so there.
std::uint32_t EvictionPolicy::heat(const Node& node) const noexcept {
  return std::atomic_ref(const_cast<std::uint8_t&>(node.frequency)).load(std::memory_order_relaxed);
}

std::unique_ptr<EvictionPolicy> make_eviction_policy(CachePolicy policy, std::uint32_t memory_size) {
  switch (policy) {
    case CachePolicy::lru: return std::make_unique<Lru>();
    case CachePolicy::lfu: return std::make_unique<Lfu>();
    case CachePolicy::w_tiny_lfu: return std::make_unique<WTinyLfu>(memory_size);
    case CachePolicy::ttl_only: return std::make_unique<TtlOnly>();
    case CachePolicy::s3_fifo: break;
  }
  return std::make_unique<S3Fifo>(memory_size);
}

}  // namespace tidegate
