#include "base/mapped_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/try.hpp"

namespace tidegate {
namespace {

Error system_error(const std::string& path, const char* action) {
  const int reason = errno;
  return Error(reason == ENOENT ? ErrorCode::not_found : ErrorCode::io_error,
               fmt::format("cannot {} '{}': {}", action, path, std::strerror(reason)));
}

std::int64_t nanoseconds(const timespec& time) {
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

FileIdentity identity_of(const struct stat& facts) {
  return {facts.st_ino, static_cast<std::uint64_t>(facts.st_size), nanoseconds(facts.st_mtim),
          nanoseconds(facts.st_ctim)};
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return system_error(path, "open");
  struct stat facts {};
  if (::fstat(descriptor, &facts) != 0) {
    auto error = system_error(path, "read");
    ::close(descriptor);
    return error;
  }
  if (!S_ISREG(facts.st_mode)) {
    ::close(descriptor);
    return Error(ErrorCode::io_error, fmt::format("'{}' is not a regular file", path));
  }
  const auto size = static_cast<std::size_t>(facts.st_size);
  void* data = nullptr;
  if (size > 0) data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, 0);
  auto error = data == MAP_FAILED ? system_error(path, "map") : Error(ErrorCode::internal, "");
  ::close(descriptor);
  if (data == MAP_FAILED) return error;
  return MappedFile(static_cast<const std::byte*>(data), identity_of(facts));
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)), identity_(other.identity_) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(identity_, other.identity_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

Result<std::string> read_text_file(const std::string& path, std::size_t limit) {
  TIDEGATE_TRY(const MappedFile file, MappedFile::open(path));
  const auto bytes = file.bytes();
  if (bytes.size() > limit) {
    return Error(ErrorCode::too_large, fmt::format("'{}' is larger than expected", path))
        .with_numbers(static_cast<std::int64_t>(bytes.size()), static_cast<std::int64_t>(limit));
  }
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace tidegate
