#include "cache/memory_ranking.hpp"

#include <algorithm>

namespace tidegate {

MemoryRanking::MemoryRanking(std::vector<TieredCache::MemoryPart> parts, TimePoint now) : parts_(std::move(parts)) {
  std::uint64_t entries = 0;
  for (const auto& part : parts_) entries += part.memory->stats().entries;
  places_.reserve(entries);
  for (std::uint32_t part = 0; part < parts_.size(); ++part) {
    parts_[part].memory->for_each([&](std::uint32_t shard, const MemoryShard::Living& entry) {
      // What has come since would make the list grow.
      if (places_.size() == places_.capacity()) return;
      const auto left = static_cast<float>((entry.expires_at - now).count());
      places_.push_back({left * static_cast<float>(1 + entry.heat), entry.node, shard, part});
    });
  }
  std::sort(places_.begin(), places_.end(), [](const Place& a, const Place& b) { return a.worth > b.worth; });
}

std::optional<MemoryRanking::Ranked> MemoryRanking::next() {
  while (next_ < places_.size()) {
    const Place& place = places_[next_++];
    const auto& part = parts_[place.part];
    if (auto entry = part.memory->entry_at(place.shard, place.node)) return Ranked{*std::move(entry), part.model};
  }
  return std::nullopt;
}

}  // namespace tidegate
