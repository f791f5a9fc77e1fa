#include "npy_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

namespace tidegate::program {
namespace {

std::string part_of(const std::string& path) { return path + ".part"; }

std::string npy_header(std::size_t rows, std::size_t columns) {
  std::string text = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, columns);
  // Magic, version and length take 10 bytes; the whole is padded to a multiple of 64.
  const std::size_t padded = (10 + text.size() + 1 + 63) / 64 * 64 - 10;
  text.resize(padded - 1, ' ');
  text += '\n';
  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(padded & 0xFF);
  header += static_cast<char>(padded >> 8);
  return header + text;
}

/// False with errno set if not everything could be written.
bool write_all(int descriptor, const void* data, std::size_t bytes, std::size_t offset) {
  const auto* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t wrote = ::pwrite(descriptor, at, bytes, static_cast<off_t>(offset));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return false;
    at += wrote;
    offset += static_cast<std::size_t>(wrote);
    bytes -= static_cast<std::size_t>(wrote);
  }
  return true;
}

}  // namespace

NpyFile::NpyFile(std::string path, int descriptor, std::size_t header_bytes, std::size_t columns)
    : path_(std::move(path)), descriptor_(descriptor), header_bytes_(header_bytes), columns_(columns) {}

NpyFile::NpyFile(NpyFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      header_bytes_(other.header_bytes_),
      columns_(other.columns_) {}

NpyFile::~NpyFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(part_of(path_).c_str());
}

Error NpyFile::failure(const char* action) const {
  return Error(ErrorCode::io_error, fmt::format("cannot {} '{}': {}", action, path_, std::strerror(errno)));
}

Result<NpyFile> NpyFile::create(const std::string& path, std::size_t rows, std::size_t columns) {
  const int descriptor = ::open(part_of(path).c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
  const std::string header = npy_header(rows, columns);
  NpyFile file(path, descriptor, header.size(), columns);
  if (descriptor < 0) return file.failure("create");
  const std::size_t total = header.size() + rows * columns * sizeof(float);
  const int reserved = ::posix_fallocate(descriptor, 0, static_cast<off_t>(total));
  if (reserved != 0) {
    errno = reserved;
    return file.failure("reserve space for");
  }
  if (!write_all(descriptor, header.data(), header.size(), 0)) return file.failure("write");
  return file;
}

Result<void> NpyFile::write_row(std::size_t row, std::span<const float> values) {
  const std::size_t offset = header_bytes_ + row * columns_ * sizeof(float);
  if (!write_all(descriptor_, values.data(), values.size_bytes(), offset)) return failure("write");
  return {};
}

Result<void> NpyFile::commit() {
  const int closed = ::close(std::exchange(descriptor_, -1));
  if (closed != 0 || std::rename(part_of(path_).c_str(), path_.c_str()) != 0) {
    auto error = failure("finish");
    ::unlink(part_of(path_).c_str());
    return error;
  }
  return {};
}

}  // namespace tidegate::program
