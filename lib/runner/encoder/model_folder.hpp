// ModelFolder: the files of one model folder, each read once and remembered by its digest.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/mapped_file.hpp"
#include "runner/encoder/json_document.hpp"
#include "tidegate/request.hpp"

namespace tidegate {

/// A file whose digest was once computed. While its identity is the same it need not be
/// read again to know its digest.
struct KnownFile {
  std::string name;  ///< relative to the model folder
  FileIdentity identity;
  Digest digest{};

  friend bool operator==(const KnownFile&, const KnownFile&) = default;
};

/// Reads files by their path relative to the folder; messages carry that path.
/// What is parsed and what is digested are the same bytes. Not thread-safe.
class ModelFolder {
 public:
  explicit ModelFolder(std::string path, std::span<const KnownFile> known = {})
      : path_(std::move(path)), known_(known.begin(), known.end()) {}

  /// Errors: not_found (no such folder).
  [[nodiscard]] Result<void> check_exists() const;
  [[nodiscard]] bool contains(const std::string& name) const;

  /// nullopt where the file is absent. Errors: io_error, too_large, corrupt_data (JSON).
  [[nodiscard]] Result<std::optional<JsonValue>> read_json(const std::string& name);
  /// The same for a file that must be there. Errors: also not_found.
  [[nodiscard]] Result<JsonValue> read_required_json(const std::string& name);
  /// Maps a file for as long as the result lives.
  [[nodiscard]] Result<MappedFile> map(const std::string& name);
  /// Counts a file nobody parses here, where it is present.
  [[nodiscard]] Result<void> include_in_digest(const std::string& name);

  /// SHA-256 over name, size and SHA-256 of every file read, in the order of names.
  [[nodiscard]] Digest content_digest() const;

  /// The files that were mapped and have not changed for a while: one that has may
  /// change once more without any trace in its identity, as clocks of file systems tick
  /// every few milliseconds.
  [[nodiscard]] const std::vector<KnownFile>& settled_files() const noexcept { return settled_; }

  /// `folder`/`name`, or `name` where `folder` is empty.
  [[nodiscard]] static std::string join(const std::string& folder, const std::string& name);
  /// Relative, without "..", ".", empty parts or control characters: stays in the folder.
  [[nodiscard]] static bool stays_inside(std::string_view name) noexcept;

 private:
  struct FileFacts {
    std::uint64_t size = 0;
    Digest digest{};
  };
  [[nodiscard]] std::string full_path(const std::string& name) const { return join(path_, name); }
  void remember(const std::string& name, std::span<const std::byte> contents);
  void remember(const std::string& name, const MappedFile& file);

  std::string path_;
  std::vector<KnownFile> known_;
  std::vector<KnownFile> settled_;
  std::map<std::string, FileFacts> read_;  // by relative path
};

}  // namespace tidegate
