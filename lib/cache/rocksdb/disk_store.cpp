#include "cache/rocksdb/disk_store.hpp"

#include <fmt/format.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/sst_file_manager.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "base/block_signals.hpp"
#include "base/try.hpp"
#include "cache/rocksdb/forgotten_log.hpp"
#include "cache/rocksdb/store_folder.hpp"

namespace tidegate::disk {
namespace {

using rocksdb::Slice;
using rocksdb::Status;

/// RocksDB's own notes (manifest, options, text log) and the log of what was forgotten.
constexpr std::uint64_t kNotesBytes = 3 << 20;
constexpr std::uint64_t kForgottenBytes = 1 << 20;
/// Bits an answer: of 15 000 questions a file's filter answers one wrongly with "may be there".
constexpr double kFilterBits = 20;
/// Little more than one answer of a usual size is read and checked for one that is asked for. An index entry of some
/// 20 bytes a block stays in memory.
constexpr std::size_t kBlockBytes = 1024;
constexpr std::size_t kProbeBytes = 256 << 10;
constexpr int kFilesToMerge = 4;
/// Longest wait for the system to delete files that were dropped.
constexpr auto kDeletionBound = std::chrono::seconds(5);

Slice slice_of(const CacheKey& key) { return {reinterpret_cast<const char*>(key.data()), key.size()}; }
Slice slice_of(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
std::span<const std::byte> bytes_of(const Slice& slice) { return std::as_bytes(std::span(slice.data(), slice.size())); }

Error error_of(const std::string& folder, const Status& status) {
  const bool full = status.IsNoSpace() || status.subcode() == Status::SubCode::kNoSpace;
  return Error(ErrorCode::io_error, fmt::format("disk cache '{}': {}{}", folder, status.ToString(),
                                                full ? "; free space on its disk or make capacity_bytes smaller" : ""));
}

/// Whether an opening that failed so means that the files cannot be made sense of.
bool is_damage(const Status& status) {
  return status.IsCorruption() || status.IsInvalidArgument() || status.IsNotSupported() || status.IsNotFound() ||
         status.IsPathNotFound() || status.IsIncomplete();
}

/// Wakes who waits for dropped files to be gone.
class DeletionListener final : public rocksdb::EventListener {
 public:
  void OnTableFileDeleted(const rocksdb::TableFileDeletionInfo& info) override {
    (void)info;
    const std::lock_guard lock(mutex_);
    condition_.notify_all();
  }

  /// False if `reached` did not become true in time.
  template <class Reached>
  bool wait_until(const Reached& reached) {
    std::unique_lock lock(mutex_);
    return condition_.wait_for(lock, kDeletionBound, reached);
  }

 private:
  std::mutex mutex_;  // leaf
  std::condition_variable condition_;
};

rocksdb::BlockBasedTableOptions table_options() {
  rocksdb::BlockBasedTableOptions table;
  table.no_block_cache = true;  // the page cache holds what is read often; filters and indexes stay with open files
  table.checksum = rocksdb::kXXH3;
  table.format_version = 5;
  table.block_size = kBlockBytes;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(kFilterBits));
  table.whole_key_filtering = true;
  return table;
}

rocksdb::Options database_options(const StoreOptions& store, const std::shared_ptr<DeletionListener>& listener) {
  rocksdb::Options options;
  if (store.env != nullptr) options.env = store.env;
  options.create_if_missing = true;
  options.paranoid_checks = true;
  options.compression = rocksdb::kNoCompression;  // float vectors do not compress
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table_options()));
  options.listeners.push_back(listener);

  options.compaction_style = rocksdb::kCompactionStyleFIFO;
  options.num_levels = 1;
  options.compaction_options_fifo.max_table_files_size = store.capacity_bytes - 3 * store.buffer_bytes - kNotesBytes;
  options.compaction_options_fifo.allow_compaction = true;
  options.level0_file_num_compaction_trigger = kFilesToMerge;
  options.max_compaction_bytes = store.buffer_bytes;
  options.disable_auto_compactions = true;  // DiskStore::flush asks for them and waits
  options.ttl = 0;
  options.periodic_compaction_seconds = 0;
  // Twice what DiskStore lets it hold: RocksDB never flushes by itself.
  options.write_buffer_size = 2 * store.buffer_bytes;
  options.arena_block_size = std::min<std::size_t>(store.buffer_bytes / 8, 1 << 20);
  options.memtable_prefix_bloom_size_ratio = 0.02;
  options.memtable_whole_key_filtering = true;

  options.avoid_flush_during_shutdown = true;  // the tier flushes before it closes
  options.max_open_files = -1;                 // a look-up opens nothing
  options.max_background_jobs = 2;
  options.max_bgerror_resume_count = 0;  // the tier decides when to try again
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.max_manifest_file_size = 256 << 10;
  options.info_log_level = rocksdb::WARN_LEVEL;
  options.max_log_file_size = 128 << 10;
  options.keep_log_file_num = 2;
  return options;
}

Answer judge(const CacheKey& key, const Status& status, const rocksdb::PinnableSlice& value) {
  Answer answer;
  if (status.IsNotFound()) return answer;
  if (!status.ok()) {
    answer.state = status.IsCorruption() ? Answer::State::corrupt : Answer::State::unreadable;
    return answer;
  }
  const auto stored = read_value(key, bytes_of(value));
  if (!stored) {
    answer.state = Answer::State::corrupt;
    return answer;
  }
  answer.state = Answer::State::whole;
  answer.life = stored->life;
  answer.record = std::make_shared<const std::vector<std::byte>>(stored->record.begin(), stored->record.end());
  return answer;
}

}  // namespace

struct DiskStore::Impl {
  Impl(StoreOptions o, StoreFolder f, ForgottenLog l)
      : options(std::move(o)), folder(std::move(f)), forgotten(std::move(l)) {}

  [[nodiscard]] Status open_database() {
    rocksdb::Options database = database_options(options, listener);
    files.reset(rocksdb::NewSstFileManager(database.env));
    database.sst_file_manager = files;
    rocksdb::DB* opened = nullptr;
    const Status status = rocksdb::DB::Open(database, folder.store(), &opened);
    db.reset(opened);
    limit = database.compaction_options_fifo.max_table_files_size;
    return status;
  }

  /// Into memory. RocksDB's own log stays off: answers may be lost, and what is forgotten
  /// has a log of ours.
  [[nodiscard]] Result<void> write_batch(rocksdb::WriteBatch& batch) const {
    rocksdb::WriteOptions unlogged;
    unlogged.disableWAL = true;
    const Status status = db->Write(unlogged, &batch);
    if (!status.ok()) return error_of(options.folder, status);
    return {};
  }

  /// What was forgotten and not yet in a file when the process died.
  [[nodiscard]] Result<void> forget_again(const std::vector<CacheKey>& keys) {
    if (keys.empty()) return {};
    rocksdb::WriteBatch batch;
    for (const CacheKey& key : keys) batch.Delete(slice_of(key));
    TIDEGATE_CHECK(write_batch(batch));
    const Status status = db->Flush(rocksdb::FlushOptions());
    if (!status.ok()) return error_of(options.folder, status);
    return forgotten.clear();
  }

  [[nodiscard]] std::uint64_t number_of_keys() const {
    std::uint64_t number = 0;
    db->GetIntProperty(rocksdb::DB::Properties::kEstimateNumKeys, &number);
    return number;
  }

  /// Merges small files or drops the oldest, whichever is due.
  [[nodiscard]] Status trim() {
    const std::uint64_t before = number_of_keys();
    const Status status = db->CompactRange(rocksdb::CompactRangeOptions(), nullptr, nullptr);
    const std::uint64_t after = number_of_keys();
    if (after < before) evicted.fetch_add(before - after, std::memory_order_relaxed);
    return status;
  }

  const StoreOptions options;
  StoreFolder folder;  // before db: the lock is given back last
  ForgottenLog forgotten;
  const std::shared_ptr<DeletionListener> listener = std::make_shared<DeletionListener>();
  std::shared_ptr<rocksdb::SstFileManager> files;
  std::unique_ptr<rocksdb::DB> db;
  std::uint64_t limit = 0;
  // Relaxed: written by the one thread that writes, read for statistics.
  std::atomic<std::uint64_t> in_memory{0};
  std::atomic<std::uint64_t> evicted{0};
};

DiskStore::DiskStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

DiskStore::~DiskStore() = default;

Result<DiskStore::Opened> DiskStore::open(const StoreOptions& options, Start start) {
  const BlockSignals block;  // RocksDB starts its threads here
  TIDEGATE_TRY(StoreFolder folder, StoreFolder::take(options.folder));
  Opened opened;
  if (start == Start::anew) {
    TIDEGATE_CHECK(folder.reset());
  } else if (!folder.is_current()) {
    opened.found = folder.holds_store() ? Found::unreadable : Found::empty;
    TIDEGATE_CHECK(folder.reset());
  }
  TIDEGATE_TRY(ForgottenLog log, ForgottenLog::open(folder.forgotten()));
  auto impl = std::make_unique<Impl>(options, std::move(folder), std::move(log));
  auto keys = impl->forgotten.read();
  if (!keys && keys.error().code() != ErrorCode::corrupt_data) return std::move(keys).error();
  Status status = keys ? impl->open_database() : Status::Corruption();
  if (is_damage(status)) {
    opened.found = Found::unreadable;
    TIDEGATE_CHECK(impl->folder.reset());
    TIDEGATE_CHECK(impl->forgotten.clear());
    keys = std::vector<CacheKey>();
    status = impl->open_database();
  }
  if (!status.ok()) return error_of(options.folder, status);
  TIDEGATE_CHECK(impl->forget_again(*keys));
  opened.store.reset(new DiskStore(std::move(impl)));
  return opened;
}

void DiskStore::forget_everything(const std::string& folder) noexcept { StoreFolder::distrust(folder); }

bool DiskStore::may_hold(const CacheKey& key) const {
  std::string unused;
  return impl_->db->KeyMayExist(rocksdb::ReadOptions(), impl_->db->DefaultColumnFamily(), slice_of(key), &unused,
                                static_cast<bool*>(nullptr));
}

std::vector<Answer> DiskStore::read(std::span<const CacheKey> keys) const {
  const rocksdb::ReadOptions options;  // verifies the checksums of blocks
  rocksdb::ColumnFamilyHandle* const family = impl_->db->DefaultColumnFamily();
  std::vector<Answer> answers(keys.size());
  std::vector<rocksdb::PinnableSlice> values(keys.size());
  if (keys.size() == 1) {
    const Status status = impl_->db->Get(options, family, slice_of(keys[0]), values.data());
    answers[0] = judge(keys[0], status, values[0]);
    return answers;
  }
  std::vector<Slice> slices;
  slices.reserve(keys.size());
  for (const CacheKey& key : keys) slices.push_back(slice_of(key));
  std::vector<Status> states(keys.size());
  impl_->db->MultiGet(options, family, keys.size(), slices.data(), values.data(), states.data());
  for (std::size_t i = 0; i < keys.size(); ++i) answers[i] = judge(keys[i], states[i], values[i]);
  return answers;
}

Result<void> DiskStore::write(std::span<const KeyedChange* const> changes) {
  rocksdb::WriteBatch batch;
  std::vector<CacheKey> forgotten;
  std::uint64_t cost = 0;
  for (const KeyedChange* change : changes) {
    const auto& [key, what] = *change;
    cost += what.cost();
    if (what.forgets() || what.after_forgetting) {
      forgotten.push_back(key);
      batch.Delete(slice_of(key));
    }
    if (what.forgets()) continue;
    const Trailer trailer = encode_trailer(key, what.life);
    const std::array<Slice, 1> name{slice_of(key)};
    const std::array<Slice, 2> value{slice_of(what.record.bytes()), slice_of(std::span<const std::byte>(trailer))};
    batch.Put({name.data(), 1}, {value.data(), 2});
  }
  if (!forgotten.empty()) TIDEGATE_CHECK(impl_->forgotten.append(forgotten));
  TIDEGATE_CHECK(impl_->write_batch(batch));
  impl_->in_memory.fetch_add(cost, std::memory_order_relaxed);
  return {};
}

bool DiskStore::full() const noexcept {
  return impl_->in_memory.load(std::memory_order_relaxed) >= impl_->options.buffer_bytes ||
         impl_->forgotten.bytes() >= kForgottenBytes;
}

bool DiskStore::dirty() const noexcept { return impl_->in_memory.load(std::memory_order_relaxed) > 0; }

Result<void> DiskStore::flush() {
  // Dropped files may still be there while a reader has them open.
  const auto fits = [this] { return impl_->files->GetTotalSize() <= impl_->limit; };
  if (!impl_->listener->wait_until(fits)) {
    const Status status = impl_->trim();
    if (!status.ok()) return error_of(impl_->options.folder, status);
    if (!fits()) return Error(ErrorCode::busy, "disk cache: files that were dropped cannot be deleted yet");
  }
  rocksdb::FlushOptions waiting;
  waiting.wait = true;
  waiting.allow_write_stall = true;
  Status status = impl_->db->Flush(waiting);
  if (status.ok()) {
    impl_->in_memory.store(0, std::memory_order_relaxed);
    TIDEGATE_CHECK(impl_->forgotten.clear());
    status = impl_->trim();
  }
  if (!status.ok()) return error_of(impl_->options.folder, status);
  return {};
}

Result<void> DiskStore::resume() {
  const Status status = impl_->db->Resume();
  if (!status.ok()) return error_of(impl_->options.folder, status);
  return {};
}

bool DiskStore::disk_takes_writes() const {
  const rocksdb::Options defaults;
  rocksdb::Env* const env = impl_->options.env != nullptr ? impl_->options.env : defaults.env;
  const std::string path = impl_->folder.probe();
  const bool taken = rocksdb::WriteStringToFile(env, std::string(kProbeBytes, '\0'), path, true).ok();
  (void)env->DeleteFile(path);
  return taken;
}

std::uint64_t DiskStore::entries() const { return impl_->number_of_keys(); }

std::uint64_t DiskStore::bytes() const {
  return impl_->files->GetTotalSize() + impl_->in_memory.load(std::memory_order_relaxed);
}

std::uint64_t DiskStore::evicted() const { return impl_->evicted.load(std::memory_order_relaxed); }

}  // namespace tidegate::disk
