// Cache snapshots: what the memory tier holds, kept in a file between two runs.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/replace_file.hpp"
#include "tidegate/cache.hpp"

namespace tidegate {

/// How a model is told from others; two may be taken for one, whose keys differ all the same. 0 for "".
[[nodiscard]] std::uint32_t snapshot_part(std::string_view model) noexcept;

/// Writes a snapshot entry by entry, as FileReplacement does. Beside the entry at hand it takes a quarter of a
/// megabyte.
class SnapshotWriter {
 public:
  enum class Added : std::uint8_t { yes, no_room };

  /// `path` is replaced by a file of at most `capacity_bytes`. `tables` (of invalidations, CacheNamespace::entry)
  /// come first: without one what it made forgotten would come back, so where they do not fit, nothing else does.
  [[nodiscard]] static Result<SnapshotWriter> open(const std::string& path, std::span<const CacheEntry> tables,
                                                   std::uint64_t capacity_bytes, std::int64_t unix_ms);
  /// Those that are worth most first: a reader with less room takes the first ones. `part`: snapshot_part of the model
  /// in whose share of the memory tier it was.
  [[nodiscard]] Result<Added> add(const CacheEntry& answer, std::uint32_t part);
  /// Answers the number of answers in it.
  [[nodiscard]] Result<std::uint64_t> commit();

 private:
  SnapshotWriter(FileReplacement file, std::uint64_t capacity_bytes, std::int64_t unix_ms);
  [[nodiscard]] Result<Added> append(const CacheEntry& entry, std::uint32_t kind, std::uint32_t part);

  FileReplacement file_;
  std::uint64_t capacity_;
  std::int64_t unix_ms_;
  std::uint64_t size_;
  std::uint64_t answers_ = 0;
  std::uint32_t tables_ = 0;
  bool whole_ = true;  ///< all tables are in it
};

/// Reads whatever can be used of a file's bytes, which outlive it: each entry has a checksum of its own.
/// Dates go by the wall clock: set forward it ends lives early; set back by more than a
/// minute nobody knows how old the answers are, so all are skipped.
class SnapshotReader {
 public:
  struct Answer {
    CacheKey key{};
    std::span<const std::byte> record;
    Duration time_to_live{};
    Duration recompute_cost{};
    std::uint32_t part = 0;
    std::uint64_t place = 0;  ///< for `go_to`

    /// May throw std::bad_alloc.
    [[nodiscard]] CacheEntry entry() const;
  };

  /// May throw std::bad_alloc.
  SnapshotReader(std::span<const std::byte> file, std::int64_t unix_ms);

  [[nodiscard]] std::vector<CacheEntry> take_tables() { return std::move(tables_); }
  /// The next answer that can be used, in the order of the file.
  [[nodiscard]] std::optional<Answer> next();
  void go_to(std::uint64_t place) noexcept { at_ = place; }

  /// All entries of the file that are damaged or too old; 1 for a file that is no snapshot. Reads it to its end.
  [[nodiscard]] std::uint64_t count_skipped();

 private:
  struct Entry;
  [[nodiscard]] std::optional<Entry> next_entry();

  std::span<const std::byte> file_;
  std::int64_t unix_ms_;
  std::int64_t written_ = 0;
  std::uint64_t at_ = 0;
  std::uint64_t first_answer_ = 0;
  std::uint64_t all_ = 1;            ///< entries by the header; of no snapshot, the file
  std::uint64_t usable_tables_ = 0;  ///< that is, all tables or the answers are of no use
  std::vector<CacheEntry> tables_;
};

/// Removes the file, if there is one, so that it stays removed when the system fails. Errors: io_error.
[[nodiscard]] Result<void> remove_cache_snapshot(const std::string& path);

}  // namespace tidegate
