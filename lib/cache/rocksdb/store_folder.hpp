// StoreFolder: the disk tier's folder, its lock and the format of what lies in it.
#pragma once

#include <string>

#include "tidegate/result.hpp"

namespace tidegate::disk {

/// Holds the folder for one store at a time, across processes, until destroyed; the
/// system lets go of it when the process dies. In the folder: `lock`, `format` (one
/// line that names the format), `forgotten`, `store/`, the database, and now and then `probe`.
class StoreFolder {
 public:
  /// Errors: busy (somebody else has it), io_error, invalid_argument (it holds files
  /// that are not a cache's).
  [[nodiscard]] static Result<StoreFolder> take(const std::string& folder);

  StoreFolder(StoreFolder&& other) noexcept;
  StoreFolder& operator=(StoreFolder&&) = delete;
  ~StoreFolder();

  /// Whether `format` names the format of this version.
  [[nodiscard]] bool is_current() const;
  [[nodiscard]] bool holds_store() const;
  /// Removes the database and writes `format` anew.
  [[nodiscard]] Result<void> reset();
  /// Takes the current format away, so that the next one to open starts empty.
  static void distrust(const std::string& folder) noexcept;
  [[nodiscard]] std::string store() const;
  /// File of the ForgottenLog.
  [[nodiscard]] std::string forgotten() const;
  /// A file to try the disk with.
  [[nodiscard]] std::string probe() const;

 private:
  StoreFolder(std::string folder, int lock) : folder_(std::move(folder)), lock_(lock) {}

  std::string folder_;
  int lock_ = -1;
};

}  // namespace tidegate::disk
