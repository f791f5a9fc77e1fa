#include "base/replace_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <vector>

#include "base/try.hpp"

namespace tidegate {
namespace {

constexpr std::size_t kLargestWrite = std::size_t{1} << 30;

Error system_error(const std::string& path, const char* action) {
  return Error(ErrorCode::io_error, fmt::format("cannot {} '{}': {}", action, path, std::strerror(errno)));
}

/// A write beyond the process's limit of file sizes sends a signal that ends it. Held
/// back for this thread, the write fails with EFBIG instead.
class HoldSizeSignal {
 public:
  HoldSizeSignal() {
    sigemptyset(&signal_);
    sigaddset(&signal_, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &signal_, &before_);
  }
  ~HoldSizeSignal() {
    if (sigismember(&before_, SIGXFSZ) == 0) {
      constexpr timespec kNoWait{};
      while (sigtimedwait(&signal_, nullptr, &kNoWait) == SIGXFSZ) {
      }
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  HoldSizeSignal(const HoldSizeSignal&) = delete;
  HoldSizeSignal& operator=(const HoldSizeSignal&) = delete;

 private:
  sigset_t signal_;
  sigset_t before_;
};

/// An open file of which this is the only writer.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string path) : path_(std::move(path)) {}
  ~TemporaryFile() {
    if (descriptor_ < 0) return;
    if (owned_) ::unlink(path_.c_str());
    ::close(descriptor_);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  Result<void> open() {
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
    if (descriptor_ < 0) return system_error(path_, "create");
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return system_error(path_, "lock");
      return Error(ErrorCode::busy, fmt::format("'{}' is being written by somebody else", path_));
    }
    // Between the two calls the file may have got its final name.
    struct stat named {};
    struct stat held {};
    if (::fstat(descriptor_, &held) != 0) return system_error(path_, "read");
    if (::lstat(path_.c_str(), &named) != 0 || named.st_ino != held.st_ino || named.st_dev != held.st_dev) {
      return Error(ErrorCode::busy, fmt::format("'{}' was just written by somebody else", path_));
    }
    if (!S_ISREG(held.st_mode)) {
      return Error(ErrorCode::io_error, fmt::format("'{}' is not a regular file", path_));
    }
    owned_ = true;
    if (::ftruncate(descriptor_, 0) != 0) return system_error(path_, "empty");
    return {};
  }

  Result<void> write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(descriptor_, bytes.data(), std::min(bytes.size(), kLargestWrite));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return system_error(path_, "write");
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return {};
  }

  Result<void> rewrite_front(std::span<const std::byte> bytes) {
    if (::lseek(descriptor_, 0, SEEK_SET) != 0) return system_error(path_, "write");
    TIDEGATE_CHECK(write(bytes));
    return ::lseek(descriptor_, 0, SEEK_END) < 0 ? Result<void>(system_error(path_, "write")) : Result<void>();
  }

  Result<void> rename_to(const std::string& path) {
    if (::fsync(descriptor_) != 0) return system_error(path_, "write");
    if (::rename(path_.c_str(), path.c_str()) != 0) return system_error(path, "replace");
    owned_ = false;
    return {};
  }

 private:
  std::string path_;
  int descriptor_ = -1;
  bool owned_ = false;  // ours to remove
};

}  // namespace

/// Small parts are gathered: a write each would cost more than they do.
class FileReplacement::Writer {
 public:
  explicit Writer(std::string path) : path_(std::move(path)), file_(path_ + ".tmp") { gathered_.reserve(kGathered); }

  Result<void> open() { return file_.open(); }
  Result<void> append(std::span<const std::byte> bytes) {
    if (gathered_.size() + bytes.size() > kGathered) {
      const HoldSizeSignal hold;
      TIDEGATE_CHECK(flush());
      if (bytes.size() > kGathered) return file_.write(bytes);
    }
    gathered_.insert(gathered_.end(), bytes.begin(), bytes.end());
    return {};
  }
  Result<void> rewrite_front(std::span<const std::byte> bytes) {
    const HoldSizeSignal hold;
    TIDEGATE_CHECK(flush());
    return file_.rewrite_front(bytes);
  }
  Result<void> commit() {
    const HoldSizeSignal hold;
    TIDEGATE_CHECK(flush());
    return file_.rename_to(path_);
  }

 private:
  static constexpr std::size_t kGathered = std::size_t{256} << 10;

  Result<void> flush() {
    TIDEGATE_CHECK(file_.write(gathered_));
    gathered_.clear();
    return {};
  }

  std::string path_;
  TemporaryFile file_;
  std::vector<std::byte> gathered_;
};

FileReplacement::FileReplacement(std::unique_ptr<Writer> writer) : writer_(std::move(writer)) {}
FileReplacement::FileReplacement(FileReplacement&& other) noexcept = default;
FileReplacement& FileReplacement::operator=(FileReplacement&& other) noexcept = default;
FileReplacement::~FileReplacement() = default;

Result<FileReplacement> FileReplacement::open(std::string path) {
  auto writer = std::make_unique<Writer>(std::move(path));
  TIDEGATE_CHECK(writer->open());
  return FileReplacement(std::move(writer));
}

Result<void> FileReplacement::append(std::span<const std::byte> bytes) { return writer_->append(bytes); }
Result<void> FileReplacement::rewrite_front(std::span<const std::byte> bytes) { return writer_->rewrite_front(bytes); }
Result<void> FileReplacement::commit() { return writer_->commit(); }

Result<void> replace_file(const std::string& path, std::span<const std::span<const std::byte>> parts) {
  auto file = FileReplacement::open(path);
  if (!file) return file.error();
  for (const auto& part : parts) TIDEGATE_CHECK(file->append(part));
  return file->commit();
}

}  // namespace tidegate
