#include "cache/rocksdb/forgotten_log.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "base/crc32c.hpp"
#include "base/try.hpp"

namespace tidegate::disk {
namespace {

struct Line {
  CacheKey key;
  std::uint32_t checksum;
};
static_assert(sizeof(Line) == sizeof(CacheKey) + sizeof(std::uint32_t));

std::uint32_t checksum_of(const CacheKey& key) noexcept { return crc32c(std::as_bytes(std::span(key))); }

}  // namespace

Result<ForgottenLog> ForgottenLog::open(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  ForgottenLog log(path, file, 0);
  struct stat facts {};
  if (file < 0 || ::fstat(file, &facts) != 0) return log.failed("open");
  const auto size = static_cast<std::uint64_t>(facts.st_size);
  log.bytes_ = size - size % sizeof(Line);
  return log;
}

ForgottenLog::ForgottenLog(ForgottenLog&& other) noexcept
    : path_(std::move(other.path_)), file_(std::exchange(other.file_, -1)), bytes_(other.bytes_) {}

ForgottenLog::~ForgottenLog() {
  if (file_ >= 0) ::close(file_);
}

Error ForgottenLog::failed(std::string_view what) const {
  return Error(ErrorCode::io_error, fmt::format("disk cache: cannot {} '{}': {}", what, path_, std::strerror(errno)));
}

Result<std::vector<CacheKey>> ForgottenLog::read() const {
  std::vector<CacheKey> keys(bytes_ / sizeof(Line));
  for (std::size_t i = 0; i < keys.size(); ++i) {
    Line line{};
    const ssize_t got = ::pread(file_, &line, sizeof(line), static_cast<off_t>(i * sizeof(line)));
    if (got < 0) return failed("read");
    if (got != sizeof(line) || line.checksum != checksum_of(line.key)) {
      return Error(ErrorCode::corrupt_data, fmt::format("disk cache: '{}' is damaged", path_));
    }
    keys[i] = line.key;
  }
  return keys;
}

Result<void> ForgottenLog::append(const std::vector<CacheKey>& keys) {
  std::vector<Line> lines;
  lines.reserve(keys.size());
  for (const CacheKey& key : keys) lines.push_back({key, checksum_of(key)});
  auto left = std::as_bytes(std::span(lines));
  std::uint64_t at = bytes_;
  while (!left.empty()) {
    const ssize_t written = ::pwrite(file_, left.data(), left.size(), static_cast<off_t>(at));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return failed("write");
    at += static_cast<std::uint64_t>(written);
    left = left.subspan(static_cast<std::size_t>(written));
  }
  if (::fdatasync(file_) != 0) return failed("sync");
  bytes_ = at;
  return {};
}

Result<void> ForgottenLog::clear() {
  if (bytes_ == 0) return {};
  if (::ftruncate(file_, 0) != 0) return failed("empty");
  bytes_ = 0;
  return {};
}

}  // namespace tidegate::disk
