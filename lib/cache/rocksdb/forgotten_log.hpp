// ForgottenLog: keys that were forgotten and may still be in the store's files.
#pragma once

#include <string>
#include <vector>

#include "tidegate/cache.hpp"
#include "tidegate/result.hpp"

namespace tidegate::disk {

/// An append-only file of keys, each with a checksum. Not RocksDB's own log: a failed
/// write to that one leaves the database beyond repair (docs/decisions). One thread at a
/// time.
class ForgottenLog {
 public:
  /// Opens or makes the file. Errors: io_error.
  [[nodiscard]] static Result<ForgottenLog> open(const std::string& path);

  ForgottenLog(ForgottenLog&& other) noexcept;
  ForgottenLog& operator=(ForgottenLog&&) = delete;
  ~ForgottenLog();

  /// What was appended since the last `clear`; a last key that was cut off does not
  /// count. Errors: corrupt_data, io_error.
  [[nodiscard]] Result<std::vector<CacheKey>> read() const;
  /// Appends and syncs; after an error none of the keys counts.
  [[nodiscard]] Result<void> append(const std::vector<CacheKey>& keys);
  [[nodiscard]] Result<void> clear();
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  ForgottenLog(std::string path, int file, std::uint64_t bytes) : path_(std::move(path)), file_(file), bytes_(bytes) {}
  [[nodiscard]] Error failed(std::string_view what) const;

  std::string path_;
  int file_ = -1;
  std::uint64_t bytes_ = 0;  ///< whole keys
};

}  // namespace tidegate::disk
