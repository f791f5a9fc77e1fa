#include "cache/rocksdb/store_keeper.hpp"

#include <algorithm>
#include <utility>

#include "base/try.hpp"

namespace tidegate::disk {
namespace {

/// A look-up asks each file's filter; three files' worth of the capacity stays free.
constexpr std::uint64_t kFilesOfCapacity = 20;
constexpr std::uint64_t kLargestChosenBuffer = 64 << 20;

StoreOptions store_options(const DiskCacheOptions& options, rocksdb::Env* env) {
  const std::uint64_t chosen = std::min(options.capacity_bytes / kFilesOfCapacity, kLargestChosenBuffer);
  return {options.folder, options.capacity_bytes, options.write_buffer_bytes > 0 ? options.write_buffer_bytes : chosen,
          env};
}

}  // namespace

StoreKeeper::StoreKeeper(const DiskCacheOptions& options, rocksdb::Env* env) : options_(store_options(options, env)) {}

std::shared_ptr<DiskStore> StoreKeeper::store() const {
  MutexLock lock(mutex_);
  return store_;
}

Result<void> StoreKeeper::open(Start start) {
  TIDEGATE_TRY(DiskStore::Opened opened, DiskStore::open(options_, start));
  if (opened.found == Found::unreadable) resets_.fetch_add(1, std::memory_order_relaxed);
  ours_ = true;
  MutexLock lock(mutex_);
  store_ = std::move(opened.store);
  return {};
}

Result<void> StoreKeeper::restore() {
  if (const auto present = store()) {
    auto resumed = present->resume();
    if (resumed || !present->disk_takes_writes()) return resumed;
  }
  close();
  return open(Start::keep);
}

Result<void> StoreKeeper::start_over() {
  close();
  return open(Start::anew);
}

void StoreKeeper::distrust() noexcept {
  if (ours_) DiskStore::forget_everything(options_.folder);
}

void StoreKeeper::close() {
  std::shared_ptr<DiskStore> closing;
  {
    MutexLock lock(mutex_);
    closing = std::exchange(store_, nullptr);
  }
  if (closing != nullptr) evicted_before_.fetch_add(closing->evicted(), std::memory_order_relaxed);
}

std::uint64_t StoreKeeper::evicted() const {
  const auto present = store();
  return evicted_before_.load(std::memory_order_relaxed) + (present != nullptr ? present->evicted() : 0);
}

}  // namespace tidegate::disk
