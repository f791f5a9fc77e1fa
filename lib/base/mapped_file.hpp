// MappedFile: a whole file, read-only in memory.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "tidegate/result.hpp"

namespace tidegate {

/// Maps a regular file read-only and shared, so processes share its pages.
/// A file cut short by someone else while mapped raises SIGBUS on access: model
/// files must be replaced by rename, not written in place.
class MappedFile {
 public:
  /// Errors: not_found, io_error (names the file and the system's reason).
  [[nodiscard]] static Result<MappedFile> open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

 private:
  MappedFile(const std::byte* data, std::size_t size) noexcept : data_(data), size_(size) {}
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// The whole text of a small file. Errors: not_found, io_error, too_large (above `limit` bytes).
[[nodiscard]] Result<std::string> read_text_file(const std::string& path, std::size_t limit = 256U << 20);

}  // namespace tidegate
