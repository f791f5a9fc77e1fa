// Cache snapshots: what the memory tier holds, kept in a file between two runs.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tidegate/cache.hpp"

namespace tidegate {

/// What a snapshot holds. Lives are what was left when it was written, or is left when it is read.
struct CacheSnapshot {
  std::vector<CacheEntry> answers;
  /// Of each answer, `snapshot_part` of the model in whose share of the memory tier it was; fewer = 0.
  std::vector<std::uint32_t> parts;
  std::vector<CacheEntry> tables;  ///< of invalidations (CacheNamespace::entry)

  [[nodiscard]] std::uint32_t part_of(std::size_t answer) const noexcept {
    return answer < parts.size() ? parts[answer] : 0;
  }
};

/// How a model is told from others; two may be taken for one, whose keys differ all the same. 0 for "".
[[nodiscard]] std::uint32_t snapshot_part(std::string_view model) noexcept;

/// Replaces `path` by a file of at most `capacity_bytes`: first the tables, then the answers, those with
/// the longest life left first. Answers the number of answers in it. Errors: io_error, busy.
[[nodiscard]] Result<std::uint64_t> write_cache_snapshot(const std::string& path, CacheSnapshot snapshot,
                                                         std::uint64_t capacity_bytes, std::int64_t unix_ms);

struct CacheSnapshotRead {
  CacheSnapshot snapshot;
  std::uint64_t skipped = 0;  ///< entries that are damaged or too old; 1 for a file that is no snapshot
};

/// Whatever can be used of the file: each entry has a checksum of its own. A file that is not there holds nothing.
/// Dates go by the wall clock: set forward it ends lives early; set back by more than a
/// minute nobody knows how old the answers are, so all are skipped. May throw std::bad_alloc.
[[nodiscard]] CacheSnapshotRead read_cache_snapshot(const std::string& path, std::int64_t unix_ms);
/// The same of a file's bytes.
[[nodiscard]] CacheSnapshotRead read_cache_snapshot(std::span<const std::byte> file, std::int64_t unix_ms);

/// Removes the file, if there is one, so that it stays removed when the system fails. Errors: io_error.
[[nodiscard]] Result<void> remove_cache_snapshot(const std::string& path);

}  // namespace tidegate
