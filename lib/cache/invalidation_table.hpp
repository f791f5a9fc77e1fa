// InvalidationTable: when each part of a model's answers was last invalidated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "tidegate/cache.hpp"

namespace tidegate {

/// Unix microseconds by scope. Merging takes the later stamp of each scope, so tables that
/// have seen the same invalidations are equal, in whatever order they came. Beyond kMostScopes
/// tags and versions, all stamps become one of the model's: more is invalidated, never less.
/// Thread-compatible.
class InvalidationTable {
 public:
  using Scope = std::uint64_t;
  static constexpr Scope kModel = 0;
  static constexpr std::size_t kMostScopes = 4096;

  // By 62 bits of a digest: scopes that collide are invalidated together.
  [[nodiscard]] static Scope of_tag(std::string_view tag) noexcept;
  [[nodiscard]] static Scope of_version(const Digest& fingerprint) noexcept;
  [[nodiscard]] static constexpr bool is_version(Scope scope) noexcept { return (scope & 3U) == 3; }

  /// 0 = never, or so long ago that it was forgotten.
  [[nodiscard]] std::int64_t stamp(Scope scope) const noexcept;
  /// Of all scopes.
  [[nodiscard]] std::int64_t latest() const noexcept;

  /// True if a stamp became later. `now` is when this table came to know.
  bool raise(Scope scope, std::int64_t stamp, TimePoint now);
  bool merge(const InvalidationTable& other, TimePoint now);
  /// Drops the stamps before `stamp` that are known since before `known`; true if there were any.
  bool forget(std::int64_t stamp, TimePoint known);

  /// No stamp of `other` is later than the one here.
  [[nodiscard]] bool covers(const InvalidationTable& other) const noexcept;

  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
  [[nodiscard]] std::size_t versions() const noexcept;

  /// Pairs (scope, stamp) by scope, of those stamped at `since` or later.
  [[nodiscard]] std::vector<std::int64_t> encode(std::int64_t since = 0) const;
  /// Empty if that is no table: a stamp later than `most` is damage, which would outdo all that is ever invalidated.
  [[nodiscard]] static std::optional<InvalidationTable> decode(std::span<const std::int64_t> pairs, TimePoint now,
                                                               std::int64_t most);

 private:
  struct Entry {
    std::int64_t stamp = 0;
    TimePoint known{};  ///< steady: a wall clock that jumps drops no entry too early
  };

  void fold();

  std::map<Scope, Entry> entries_;
};

}  // namespace tidegate
