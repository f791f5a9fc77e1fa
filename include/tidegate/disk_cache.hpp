// The disk tier: answers that outlive the process, in a RocksDB store (module `rocksdb`).
#pragma once

#include <string>

#include "tidegate/cache.hpp"

namespace tidegate {

/// Which of the answers it is offered the disk tier takes.
enum class DiskAdmission : std::uint8_t {
  all,         ///< every one, within the write budget
  seen_twice,  ///< one offered for the second time lately, or as costly as admit_cost
};

/// "all" or "seen_twice".
[[nodiscard]] std::string_view to_string(DiskAdmission admission) noexcept;

/// What becomes of a store that cannot be had, as another process has it or the disk
/// refuses.
enum class DiskTrouble : std::uint8_t {
  refuse,     ///< open_disk_cache answers the error
  try_again,  ///< a tier that misses, and tries again while answers are offered
};

/// "refuse" or "try_again".
[[nodiscard]] std::string_view to_string(DiskTrouble trouble) noexcept;

/// The smallest DiskCacheOptions::capacity_bytes.
inline constexpr std::uint64_t kSmallestDiskCapacity = 8ULL << 20;

struct DiskCacheOptions {
  /// The store's own folder, made where it is missing; empty = no disk tier. One
  /// process at a time has it.
  std::string folder;
  /// Most bytes the files in it take at any moment; the oldest answers go first.
  std::uint64_t capacity_bytes = 1ULL << 30;
  /// Memory for answers that are not yet in a file, and about the size of a file;
  /// 0 = a 20th of the capacity, 64 MiB at most. A look-up asks a filter in memory for
  /// each file. An answer above a quarter of it is not stored.
  std::uint64_t write_buffer_bytes = 0;
  /// Sustained rate of what is stored, in bursts of a second's worth; answers above it
  /// are dropped and counted. 0 = no limit.
  std::uint64_t write_bytes_per_second = 64ULL << 20;
  DiskAdmission admission = DiskAdmission::all;
  /// With seen_twice: an answer that took at least so long is taken at once; 0 = none is.
  Duration admit_cost{0};
  /// So long after it was stored at the latest, an answer is in a file and synced; what
  /// is younger dies with a process that is killed. 0 = only a full buffer and closing
  /// make files.
  Duration flush_interval = std::chrono::seconds(30);
  std::uint32_t read_threads = 2;                ///< 1..64
  std::uint32_t max_queued_reads = 1024;         ///< look-ups waiting for them; further ones miss
  std::uint64_t max_queued_bytes = 16ULL << 20;  ///< answers waiting to be written; further ones are dropped
  DiskTrouble trouble = DiskTrouble::refuse;
  /// Longest pause before a store that failed to write is tried again; the first one is
  /// a sixteenth of it.
  Duration max_retry_pause = std::chrono::minutes(1);
  std::string module_path;  ///< libtidegate_rocksdb.so; empty = beside the library, then the loader's path
};

/// Opens the store. The tier has a thread that writes, read_threads that read and two
/// of RocksDB's own; all are parked while there is nothing to do, but RocksDB wakes one
/// every ten seconds. Blocks while files are read. A store of another format, or one
/// that cannot be read, is emptied and counted (CacheTierStats::resets). Dropping the
/// last reference writes what is queued, for twenty seconds at most.
/// Errors: not_found, version_mismatch, corrupt_data (module), busy (another process
/// has the folder), io_error (the folder cannot be made, read or written),
/// invalid_argument (which option; or the folder holds other things).
[[nodiscard]] Result<std::shared_ptr<CacheTier>> open_disk_cache(const DiskCacheOptions& options,
                                                                 std::shared_ptr<Clock> clock);

}  // namespace tidegate
