// replace_file: a whole file written so that readers see the old one or the new one.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "tidegate/result.hpp"

namespace tidegate {

/// Writes to `path` + ".tmp", which is synced to the disk and renamed to `path` at the end. What an interrupted
/// writer left is overwritten by the next. Used by one thread. Errors: busy (another writer is at it), io_error
/// (names the file and the system's reason); then, and without `commit`, `path` is as it was.
class FileReplacement {
 public:
  [[nodiscard]] static Result<FileReplacement> open(std::string path);
  FileReplacement(FileReplacement&& other) noexcept;
  FileReplacement& operator=(FileReplacement&& other) noexcept;
  ~FileReplacement();

  [[nodiscard]] Result<void> append(std::span<const std::byte> bytes);
  /// Over what the file begins with.
  [[nodiscard]] Result<void> rewrite_front(std::span<const std::byte> bytes);
  [[nodiscard]] Result<void> commit();

 private:
  class Writer;
  explicit FileReplacement(std::unique_ptr<Writer> writer);
  std::unique_ptr<Writer> writer_;
};

/// Writes `parts`, one after the other, as FileReplacement does.
[[nodiscard]] Result<void> replace_file(const std::string& path, std::span<const std::span<const std::byte>> parts);

}  // namespace tidegate
