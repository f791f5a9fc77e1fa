#include "cache/snapshot_keeper.hpp"

#include <algorithm>
#include <new>
#include <set>

#include "base/try.hpp"
#include "base/wall_time.hpp"
#include "cache/memory_ranking.hpp"
#include "request/record_codec.hpp"

namespace tidegate {
namespace {

constexpr std::uint32_t kAnyPart = 0;

/// After so many answers in a row without room in the file the smaller ones that may follow are left out, too.
constexpr int kMostWithoutRoom = 64;

}  // namespace

SnapshotKeeper::SnapshotKeeper(CacheSnapshotOptions options, std::shared_ptr<TieredCache> cache,
                               std::shared_ptr<CacheNamespaces> namespaces)
    : options_(std::move(options)), cache_(std::move(cache)), namespaces_(std::move(namespaces)) {}

void SnapshotKeeper::restore() noexcept {
  if (!has_file()) return;
  try {
    const MutexLock lock(mutex_);
    const auto file = MappedFile::open(options_.file);
    if (!file) {
      skipped_.store(file.error().code() == ErrorCode::not_found ? 0 : 1, std::memory_order_relaxed);
      return;
    }
    SnapshotReader reader(file->bytes(), unix_milliseconds());
    namespaces_->restore(reader.take_tables());
    if (cache_->shares() == nullptr) put_back(reader, *cache_, kAnyPart);
    skipped_.store(reader.count_skipped(), std::memory_order_relaxed);
  } catch (...) {
    failed_.fetch_add(1, std::memory_order_relaxed);  // no memory for all of it
  }
}

void SnapshotKeeper::restore_into(TieredCache& cache, std::string_view model) noexcept {
  if (!has_file()) return;
  try {
    const MutexLock lock(mutex_);
    const std::optional<MappedFile> file = former();
    if (const MappedFile* const found = waiting_ ? &*waiting_ : file ? &*file : nullptr) {
      SnapshotReader reader(found->bytes(), unix_milliseconds());
      put_back(reader, cache, snapshot_part(model));
    }
  } catch (...) {
    failed_.fetch_add(1, std::memory_order_relaxed);
  }
}

/// The file's first answers, as many as there is room for, are stored from the last to the first: policies that let go
/// of the oldest first keep what is worth most. Takes 8 bytes for 1024 answers of the file, and for 1024 of them.
void SnapshotKeeper::put_back(SnapshotReader& reader, TieredCache& cache, std::uint32_t part) {
  constexpr std::uint64_t kBlock = 1024;
  const auto next = [&] {
    auto answer = reader.next();
    while (answer && part != kAnyPart && answer->part != part) answer = reader.next();
    return answer;
  };
  const std::uint64_t room = cache.room_in_memory();
  std::vector<std::uint64_t> blocks;
  std::uint64_t count = 0;
  std::uint64_t bytes = 0;
  while (const auto answer = next()) {
    bytes += MemoryShard::charge_of(answer->record.size() - kRecordHeaderBytes);  // whole, so it has one
    if (bytes > room) break;
    if (count++ % kBlock == 0) blocks.push_back(answer->place);
  }
  std::vector<SnapshotReader::Answer> answers;
  for (; !blocks.empty(); blocks.pop_back()) {
    answers.clear();
    reader.go_to(blocks.back());
    for (std::uint64_t left = count - kBlock * (blocks.size() - 1); left > 0 && answers.size() < kBlock; --left) {
      if (auto answer = next()) answers.push_back(*answer);
    }
    for (auto answer = answers.rbegin(); answer != answers.rend(); ++answer) {
      CacheEntry entry = answer->entry();
      entry.time_to_live = std::min(entry.time_to_live, cache_->options().time_to_live);
      cache.put_in_memory(entry);
      restored_.fetch_add(1, std::memory_order_relaxed);
    }
  }
}

/// What the next save replaces, where it is not `waiting_`.
std::optional<MappedFile> SnapshotKeeper::former() const {
  if (waiting_) return std::nullopt;
  auto file = MappedFile::open(options_.file);
  return file ? std::optional(*std::move(file)) : std::nullopt;
}

/// What the file holds for models that have not come: it is still theirs.
Result<void> SnapshotKeeper::keep_others(SnapshotWriter& writer, std::span<const TieredCache::MemoryPart> parts) const {
  if (cache_->shares() == nullptr) return {};
  const std::optional<MappedFile> file = former();
  const MappedFile* const found = waiting_ ? &*waiting_ : file ? &*file : nullptr;
  if (found == nullptr) return {};
  std::set<std::uint32_t> present;
  for (const auto& part : parts) present.insert(snapshot_part(part.model));
  SnapshotReader reader(found->bytes(), unix_milliseconds());
  while (const auto answer = reader.next()) {
    if (present.contains(answer->part)) continue;
    TIDEGATE_CHECK(writer.add(answer->entry(), answer->part));
  }
  return {};
}

Result<std::uint64_t> SnapshotKeeper::write() const {
  const std::uint64_t discards = discards_.load(std::memory_order_acquire);
  TIDEGATE_TRY(SnapshotWriter writer, SnapshotWriter::open(options_.file, namespaces_->tables(),
                                                           options_.capacity_bytes, unix_milliseconds()));
  const std::vector<TieredCache::MemoryPart> parts = cache_->memory_parts();
  MemoryRanking ranking(parts, cache_->now());
  for (int without_room = 0; without_room < kMostWithoutRoom;) {
    const auto ranked = ranking.next();
    if (!ranked) break;
    TIDEGATE_TRY(const SnapshotWriter::Added added, writer.add(ranked->entry, snapshot_part(ranked->model)));
    without_room = added == SnapshotWriter::Added::yes ? 0 : without_room + 1;
    // It would be removed as soon as it is there, and who removes it waits.
    if (discards_.load(std::memory_order_acquire) != discards) {
      return Error(ErrorCode::busy, "answers were invalidated while the snapshot of the cache was written; save again");
    }
  }
  TIDEGATE_CHECK(keep_others(writer, parts));
  return writer.commit();
}

Result<std::uint64_t> SnapshotKeeper::save() noexcept {
  if (!has_file()) return Error(ErrorCode::invalid_argument, "cache.snapshot.file is empty; name a file to write to");
  const auto attempt = [&]() -> Result<std::uint64_t> {
    try {
      const MutexLock lock(mutex_);
      auto written = write();
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
    discards_.fetch_add(1, std::memory_order_acq_rel);
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
