#include "cache/snapshot_keeper.hpp"

#include <algorithm>
#include <new>
#include <set>

#include "base/wall_time.hpp"
#include "cache/cache_snapshot.hpp"

namespace tidegate {
namespace {

constexpr std::uint32_t kAnyPart = 0;

}  // namespace

SnapshotKeeper::SnapshotKeeper(CacheSnapshotOptions options, std::shared_ptr<TieredCache> cache,
                               std::shared_ptr<CacheNamespaces> namespaces)
    : options_(std::move(options)), cache_(std::move(cache)), namespaces_(std::move(namespaces)) {}

void SnapshotKeeper::restore() noexcept {
  if (!has_file()) return;
  try {
    CacheSnapshotRead found = [&] {
      const MutexLock lock(mutex_);
      return read();
    }();
    skipped_.store(found.skipped, std::memory_order_relaxed);
    namespaces_->restore(std::move(found.snapshot.tables));
    if (cache_->shares() == nullptr) put_back(found.snapshot, *cache_, kAnyPart);
  } catch (...) {
    failed_.fetch_add(1, std::memory_order_relaxed);  // no memory for all of it
  }
}

void SnapshotKeeper::restore_into(TieredCache& cache, std::string_view model) noexcept {
  if (!has_file()) return;
  try {
    const CacheSnapshotRead found = [&] {
      const MutexLock lock(mutex_);
      return read();
    }();
    put_back(found.snapshot, cache, snapshot_part(model));
  } catch (...) {
    failed_.fetch_add(1, std::memory_order_relaxed);
  }
}

void SnapshotKeeper::put_back(const CacheSnapshot& snapshot, TieredCache& cache, std::uint32_t part) {
  for (std::size_t i = 0; i < snapshot.answers.size(); ++i) {
    if (part != kAnyPart && snapshot.part_of(i) != part) continue;
    CacheEntry answer = snapshot.answers[i];
    answer.time_to_live = std::min(answer.time_to_live, cache_->options().time_to_live);
    cache.put_in_memory(answer);
    restored_.fetch_add(1, std::memory_order_relaxed);
  }
}

/// What the file holds for models that have not come: it is still theirs.
void SnapshotKeeper::keep_others(CacheSnapshot& snapshot) const {
  if (cache_->shares() == nullptr) return;
  std::set<std::uint32_t> present{snapshot_part("")};
  for (const auto& share : cache_->shares()->open_shares()) present.insert(snapshot_part(share->model));
  const CacheSnapshotRead found = read();
  for (std::size_t i = 0; i < found.snapshot.answers.size(); ++i) {
    if (present.contains(found.snapshot.part_of(i))) continue;
    snapshot.answers.push_back(found.snapshot.answers[i]);
    snapshot.parts.push_back(found.snapshot.part_of(i));
  }
}

CacheSnapshotRead SnapshotKeeper::read() const {
  return waiting_ ? read_cache_snapshot(waiting_->bytes(), unix_milliseconds())
                  : read_cache_snapshot(options_.file, unix_milliseconds());
}

Result<std::uint64_t> SnapshotKeeper::save() noexcept {
  if (!has_file()) return Error(ErrorCode::invalid_argument, "cache.snapshot.file is empty; name a file to write to");
  const auto attempt = [&]() -> Result<std::uint64_t> {
    try {
      CacheSnapshot snapshot;
      // What is invalidated from here on lies under keys that the tables, taken later, know of.
      cache_->for_each_in_memory([&](const CacheEntry& entry, std::string_view model) {
        snapshot.answers.push_back(entry);
        snapshot.parts.push_back(snapshot_part(model));
      });
      // Nobody discards the file between the tables' being taken and its being there.
      const MutexLock lock(mutex_);
      keep_others(snapshot);
      snapshot.tables = namespaces_->tables();
      auto written =
          write_cache_snapshot(options_.file, std::move(snapshot), options_.capacity_bytes, unix_milliseconds());
      if (written) waiting_.reset();
      return written;
    } catch (const std::bad_alloc&) {
      return Error(ErrorCode::out_of_memory, "there is not enough memory to write the snapshot of the cache");
    }
  };
  auto saved = attempt();
  if (saved) {
    written_.store(*saved, std::memory_order_relaxed);
  } else {
    failed_.fetch_add(1, std::memory_order_relaxed);
  }
  return saved;
}

Result<void> SnapshotKeeper::discard() noexcept {
  if (!has_file()) return {};
  try {
    const MutexLock lock(mutex_);
    if (cache_->shares() != nullptr && !waiting_) {
      if (auto file = MappedFile::open(options_.file)) waiting_ = *std::move(file);
    }
    return remove_cache_snapshot(options_.file);
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory, "there is not enough memory to remove the snapshot of the cache");
  }
}

void SnapshotKeeper::collect(std::vector<MetricSample>& samples) const {
  if (!has_file()) return;
  const CacheSnapshotStats now = stats();
  const auto add = [&](const char* name, const char* help, MetricKind kind, std::uint64_t value) {
    samples.push_back({name, help, kind, {}, static_cast<double>(value)});
  };
  add("tidegate_cache_snapshot_restored", "Answers read from the snapshot", MetricKind::gauge, now.restored);
  add("tidegate_cache_snapshot_skipped", "Parts of the snapshot that were of no use", MetricKind::gauge, now.skipped);
  add("tidegate_cache_snapshot_written", "Answers written by the last save", MetricKind::gauge, now.written);
  add("tidegate_cache_snapshot_failed_total", "Saves that failed", MetricKind::counter, now.failed);
}

CacheSnapshotStats SnapshotKeeper::stats() const noexcept {
  return {restored_.load(std::memory_order_relaxed), skipped_.load(std::memory_order_relaxed),
          written_.load(std::memory_order_relaxed), failed_.load(std::memory_order_relaxed)};
}

}  // namespace tidegate
