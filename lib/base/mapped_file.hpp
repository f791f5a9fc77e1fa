// MappedFile: a whole file, read-only in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "tidegate/result.hpp"

namespace tidegate {

/// What changes when a file is replaced or written to.
struct FileIdentity {
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;  ///< st_mtim since 1970
  std::int64_t changed_ns = 0;   ///< st_ctim since 1970

  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

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
  /// As it was when the file was opened.
  [[nodiscard]] const FileIdentity& identity() const noexcept { return identity_; }

 private:
  MappedFile(const std::byte* data, const FileIdentity& identity) noexcept
      : data_(data), size_(static_cast<std::size_t>(identity.size)), identity_(identity) {}
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  FileIdentity identity_;
};

/// The whole text of a small file. Errors: not_found, io_error, too_large (above `limit` bytes).
[[nodiscard]] Result<std::string> read_text_file(const std::string& path, std::size_t limit = 256U << 20);

}  // namespace tidegate
