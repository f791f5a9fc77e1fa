#include "cache/rocksdb/store_folder.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "base/replace_file.hpp"
#include "base/try.hpp"

namespace tidegate::disk {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFormat = "tidegate disk cache, format 2\n";
constexpr std::array<std::string_view, 6> kOurNames{"lock", "format", "format.tmp", "forgotten", "store", "probe"};

Error refused(const std::string& folder, std::string_view what, std::string_view why) {
  return Error(ErrorCode::io_error, fmt::format("disk cache: {} '{}': {}", what, folder, why));
}

/// Nothing that somebody else put there is ever removed.
Result<void> check_is_ours(const std::string& folder) {
  std::error_code trouble;
  fs::directory_iterator entry(folder, trouble);
  for (; !trouble && entry != fs::directory_iterator(); entry.increment(trouble)) {
    const std::string name = entry->path().filename().string();
    bool ours = false;
    for (const std::string_view known : kOurNames) ours |= name == known;
    if (ours) continue;
    return Error(ErrorCode::invalid_argument,
                 fmt::format("disk cache: folder '{}' holds '{}', which is no part of a cache; give it a folder of its "
                             "own",
                             folder, name));
  }
  if (trouble) return refused(folder, "cannot read the folder", trouble.message());
  return {};
}

}  // namespace

Result<StoreFolder> StoreFolder::take(const std::string& folder) {
  std::error_code trouble;
  fs::create_directories(folder, trouble);
  if (trouble) return refused(folder, "cannot make the folder", trouble.message());
  TIDEGATE_CHECK(check_is_ours(folder));
  const std::string path = folder + "/lock";
  const int lock = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock < 0) return refused(path, "cannot open the lock", std::strerror(errno));
  StoreFolder taken(folder, lock);
  if (::flock(lock, LOCK_EX | LOCK_NB) == 0) return taken;
  if (errno != EWOULDBLOCK) return refused(path, "cannot take the lock", std::strerror(errno));
  return Error(ErrorCode::busy, fmt::format("disk cache: folder '{}' is in use by another process or engine (its file "
                                            "'lock' is held); give each a folder of its own",
                                            folder));
}

StoreFolder::StoreFolder(StoreFolder&& other) noexcept
    : folder_(std::move(other.folder_)), lock_(std::exchange(other.lock_, -1)) {}

StoreFolder::~StoreFolder() {
  if (lock_ >= 0) ::close(lock_);
}

bool StoreFolder::is_current() const {
  std::ifstream file(folder_ + "/format", std::ios::binary);
  std::string text(kFormat.size() + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  return static_cast<std::size_t>(file.gcount()) == kFormat.size() && text.starts_with(kFormat);
}

bool StoreFolder::holds_store() const {
  std::error_code ignored;
  return fs::exists(store(), ignored);
}

Result<void> StoreFolder::reset() {
  std::error_code trouble;
  fs::remove_all(store(), trouble);
  if (trouble) return refused(store(), "cannot empty", trouble.message());
  const std::array<std::span<const std::byte>, 1> parts{std::as_bytes(std::span(kFormat))};
  return replace_file(folder_ + "/format", parts);
}

void StoreFolder::distrust(const std::string& folder) noexcept { ::unlink((folder + "/format").c_str()); }

std::string StoreFolder::forgotten() const { return folder_ + "/forgotten"; }

std::string StoreFolder::probe() const { return folder_ + "/probe"; }

std::string StoreFolder::store() const { return folder_ + "/store"; }

}  // namespace tidegate::disk
