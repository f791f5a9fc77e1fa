// WriteQueue: changes on their way to the disk store, and what they say already now.
#pragma once

#include <optional>
#include <unordered_map>

#include "base/mutex.hpp"
#include "cache/key_hash.hpp"
#include "cache/rocksdb/disk_store.hpp"

namespace tidegate::disk {

/// One change a key: a newer one takes the older one's place.
using Changes = std::unordered_map<CacheKey, Change, KeyHash>;

/// A look-up that waits for a durable change.
struct Parked {
  std::vector<CacheKey> keys;
  Deadline deadline{};
  CacheTier::Lookup done;
};

/// What the writer has to do next.
struct Work {
  Changes const* changes = nullptr;  ///< the queue's; until `done`
  bool flush = false;
  bool start_over = false;  ///< everything in the store is forgotten
  bool close = false;
};

/// Bounded by bytes. Thread-safe; `wait` and `done` belong to the one writer.
///
/// A key is found here from `put` or `forget` on until the store has the change, so
/// nobody reads what has been overtaken. What is forgotten is never dropped: where it
/// finds no room, everything is forgotten. What is durable is never dropped either.
class WriteQueue {
 public:
  explicit WriteQueue(std::uint64_t limit_bytes) : limit_(limit_bytes) {}

  /// False where there is no room.
  [[nodiscard]] bool put(const CacheKey& key, Change change);
  void forget(const CacheKey& key);
  /// The change that waits for the key.
  [[nodiscard]] std::optional<Change> find(const CacheKey& key) const;
  /// Takes `look_up` until the writer has done with the durable change that waits for `key`. False, and nothing is
  /// taken, if there is none or the store refuses to write.
  [[nodiscard]] bool park(const CacheKey& key, Parked& look_up);
  /// Those whose turn has come: to be looked up again.
  [[nodiscard]] std::vector<Parked> take_parked();
  /// Whether everything is to be forgotten: nothing in the store counts any more.
  [[nodiscard]] bool starting_over() const;

  void ask_flush();
  void close();

  /// Blocks until there is something to do.
  [[nodiscard]] Work wait();
  /// The work is done; what could not be written is given back with `put_back`.
  void done();
  /// The writer's changes could not be written: what is forgotten or durable stays for the next
  /// time (again before what came since), answers are dropped. How many those are.
  [[nodiscard]] std::uint64_t put_back();
  void started_over();
  /// Whether something that was forgotten may still be in the store, or something durable is not.
  [[nodiscard]] bool owes_anything() const;

 private:
  [[nodiscard]] bool make_room(const CacheKey& key, std::uint64_t cost) TIDEGATE_REQUIRES(mutex_);

  const std::uint64_t limit_;
  mutable Mutex mutex_;  // leaf
  std::condition_variable something_;
  Changes waiting_ TIDEGATE_GUARDED_BY(mutex_);
  Changes writing_ TIDEGATE_GUARDED_BY(mutex_);          ///< changed under mutex_ only; the writer reads it without
  std::uint64_t bytes_ TIDEGATE_GUARDED_BY(mutex_) = 0;  ///< of waiting_
  bool flush_ TIDEGATE_GUARDED_BY(mutex_) = false;
  bool start_over_ TIDEGATE_GUARDED_BY(mutex_) = false;
  bool wake_ TIDEGATE_GUARDED_BY(mutex_) = false;  ///< something came since the writer last looked
  bool close_ TIDEGATE_GUARDED_BY(mutex_) = false;
  bool refused_ TIDEGATE_GUARDED_BY(mutex_) = false;  ///< the last work failed
  std::vector<Parked> parked_ TIDEGATE_GUARDED_BY(mutex_);
};

}  // namespace tidegate::disk
