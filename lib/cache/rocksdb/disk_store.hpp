// DiskStore: the RocksDB database of the disk tier.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cache/rocksdb/disk_value.hpp"
#include "tidegate/result.hpp"

namespace rocksdb {
class Env;
}

namespace tidegate::disk {

/// One change; an empty record forgets the key.
struct Change {
  CacheRecord record;
  Life life;
  /// What the key had before must not come back, whatever becomes of this record.
  bool after_forgetting = false;
  /// Nobody is answered with it before it is in a file.
  bool durable = false;

  [[nodiscard]] bool forgets() const noexcept { return record.bytes().empty(); }
  /// What it takes on disk and in memory, about.
  [[nodiscard]] std::uint64_t cost() const noexcept { return record.bytes().size() + 160; }
};

using KeyedChange = std::pair<const CacheKey, Change>;

struct StoreOptions {
  std::string folder;
  std::uint64_t capacity_bytes = 0;
  std::uint64_t buffer_bytes = 0;
  rocksdb::Env* env = nullptr;  ///< nullptr = RocksDB's own; must outlive the store
};

/// What an opening does with what it finds.
enum class Start : std::uint8_t { keep, anew };

/// How a folder was found.
enum class Found : std::uint8_t { sound, empty, unreadable };

/// What the store has for a key.
struct Answer {
  enum class State : std::uint8_t { absent, whole, corrupt, unreadable } state = State::absent;
  CacheRecord record;
  Life life;
};

/// FIFO compaction over one level; nothing runs in the background but what `flush`
/// asked for and waits for. Reading is thread-safe; writing belongs to one thread.
///
/// Everything in the folder together stays within the capacity at every moment: of it,
/// three buffers and 3 MiB are kept free for the file being written, the files being
/// merged, the log of what was forgotten, and RocksDB's own notes.
///
/// Answers are not logged: they reach the disk with `flush`, in a file that is synced
/// before the manifest names it. What is forgotten is logged and synced at once, so that
/// a killed process does not bring it back.
class DiskStore {
 public:
  struct Opened {
    std::unique_ptr<DiskStore> store;
    Found found = Found::sound;
  };

  /// Takes the folder's lock and opens the store; one of another format or with damage
  /// is emptied. Errors: as open_disk_cache.
  [[nodiscard]] static Result<Opened> open(const StoreOptions& options, Start start);
  /// Makes the next `open` of the folder start empty; works on a full disk.
  static void forget_everything(const std::string& folder) noexcept;

  DiskStore(const DiskStore&) = delete;
  DiskStore& operator=(const DiskStore&) = delete;
  ~DiskStore();

  /// Whether a key may be there, from filters in memory: never reads a file.
  [[nodiscard]] bool may_hold(const CacheKey& key) const;
  /// Reads; one answer for each key.
  [[nodiscard]] std::vector<Answer> read(std::span<const CacheKey> keys) const;

  /// Into memory; what is forgotten is logged and synced before.
  [[nodiscard]] Result<void> write(std::span<const KeyedChange* const> changes);
  /// Whether memory holds a buffer's worth.
  [[nodiscard]] bool full() const noexcept;
  [[nodiscard]] bool dirty() const noexcept;
  /// Writes what is in memory to a file, merges small files and drops the oldest until
  /// the rest fits.
  [[nodiscard]] Result<void> flush();
  /// After an error: writing is possible again, or the error of the attempt.
  [[nodiscard]] Result<void> resume();
  /// Whether the disk takes a file: if it does and `resume` fails, only opening helps.
  [[nodiscard]] bool disk_takes_writes() const;

  [[nodiscard]] std::uint64_t entries() const;  ///< estimate
  [[nodiscard]] std::uint64_t bytes() const;    ///< files of answers, and memory
  [[nodiscard]] std::uint64_t evicted() const;  ///< since the opening; estimate

 private:
  struct Impl;
  explicit DiskStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tidegate::disk
