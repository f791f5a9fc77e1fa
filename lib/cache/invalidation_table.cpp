#include "cache/invalidation_table.hpp"

#include <algorithm>
#include <cstring>

#include "base/sha256.hpp"

namespace tidegate {
namespace {

std::uint64_t hash_of_scope(std::string_view kind, std::span<const std::byte> name) noexcept {
  Sha256 hash;
  const Digest digest = hash.update_field(kind).update(name).finish();
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < sizeof bits; ++i) bits |= std::uint64_t{digest[i]} << (8 * i);
  return bits | 3U;
}

}  // namespace

InvalidationTable::Scope InvalidationTable::of_tag(std::string_view tag) noexcept {
  return hash_of_scope("tag", std::as_bytes(std::span(tag))) ^ 1U;
}

InvalidationTable::Scope InvalidationTable::of_version(const Digest& fingerprint) noexcept {
  return hash_of_scope("version", std::as_bytes(std::span(fingerprint)));
}

std::int64_t InvalidationTable::stamp(Scope scope) const noexcept {
  const auto found = entries_.find(scope);
  return found != entries_.end() ? found->second.stamp : 0;
}

std::int64_t InvalidationTable::latest() const noexcept {
  std::int64_t latest = 0;
  for (const auto& [scope, entry] : entries_) latest = std::max(latest, entry.stamp);
  return latest;
}

bool InvalidationTable::raise(Scope scope, std::int64_t stamp, TimePoint now) {
  if (stamp <= this->stamp(scope)) return false;
  entries_[scope] = {stamp, now};
  fold();
  return true;
}

bool InvalidationTable::merge(const InvalidationTable& other, TimePoint now) {
  if (covers(other)) return false;
  for (const auto& [scope, entry] : other.entries_) {
    if (entry.stamp > stamp(scope)) entries_[scope] = {entry.stamp, now};
  }
  fold();
  return true;
}

bool InvalidationTable::forget(std::int64_t stamp, TimePoint known) {
  return std::erase_if(entries_,
                       [&](const auto& one) { return one.second.stamp < stamp && one.second.known < known; }) > 0;
}

bool InvalidationTable::covers(const InvalidationTable& other) const noexcept {
  return std::all_of(other.entries_.begin(), other.entries_.end(),
                     [&](const auto& one) { return one.second.stamp <= stamp(one.first); });
}

std::size_t InvalidationTable::versions() const noexcept {
  return static_cast<std::size_t>(
      std::count_if(entries_.begin(), entries_.end(), [](const auto& one) { return is_version(one.first); }));
}

std::vector<std::int64_t> InvalidationTable::encode(std::int64_t since) const {
  std::vector<std::int64_t> pairs;
  pairs.reserve(2 * entries_.size());
  for (const auto& [scope, entry] : entries_) {
    if (entry.stamp < since) continue;
    pairs.push_back(static_cast<std::int64_t>(scope));
    pairs.push_back(entry.stamp);
  }
  return pairs;
}

std::optional<InvalidationTable> InvalidationTable::decode(std::span<const std::int64_t> pairs, TimePoint now,
                                                           std::int64_t most) {
  if (pairs.size() % 2 != 0 || pairs.size() / 2 > kMostScopes + 1) return std::nullopt;
  InvalidationTable table;
  for (std::size_t i = 0; i < pairs.size(); i += 2) {
    if (pairs[i + 1] <= 0 || pairs[i + 1] > most) return std::nullopt;
    table.entries_[static_cast<Scope>(pairs[i])] = {pairs[i + 1], now};
  }
  return table;
}

void InvalidationTable::fold() {
  if (entries_.size() <= kMostScopes + 1) return;
  TimePoint known{};
  for (const auto& [scope, entry] : entries_) known = std::max(known, entry.known);
  const Entry whole{latest(), known};
  entries_.clear();
  entries_[kModel] = whole;
}

}  // namespace tidegate
