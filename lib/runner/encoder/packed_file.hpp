// PackedFile: a packed model kept in a file, mapped by every process that runs it.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/mapped_file.hpp"
#include "runner/encoder/encoder_model.hpp"
#include "runner/encoder/image_layout.hpp"
#include "runner/encoder/packing_plan.hpp"

namespace tidegate {

/// Whom a packed file serves. Another model or other settings make it stale, and so do
/// other texts where a load asks for texts of its own.
struct PackKey {
  Digest model{};     ///< EncoderModel::content_digest
  Digest settings{};  ///< how it is packed
  Digest texts{};     ///< of calibration texts; zero: of a file, the built-in ones; of a load, whatever there is
};

/// What a file holds beside the image.
struct PackFacts {
  PackingPlan plan;
  std::string report;  ///< JSON, not read here
  std::vector<KnownFile> known_files;
  Digest image_digest{};  ///< of the image: with it two packs that embed differently are told apart
};

/// A packed file that fits a model, mapped read-only: processes that open the same file
/// share its pages. Moving it moves no number.
class PackedFile {
 public:
  /// Maps `path` and checks header, sizes and checksums; the layout follows from model
  /// and plan. Errors: not_found, io_error, version_mismatch (another format, model,
  /// settings or texts), corrupt_data.
  [[nodiscard]] static Result<PackedFile> open(const std::string& path, const EncoderModel& model, const PackKey& key);

  [[nodiscard]] const PackFacts& facts() const noexcept { return facts_; }
  /// Starts on a cache line.
  [[nodiscard]] std::span<const std::byte> image() const noexcept { return image_; }

 private:
  PackedFile(MappedFile file, PackFacts facts, std::span<const std::byte> image) noexcept
      : file_(std::move(file)), facts_(std::move(facts)), image_(image) {}

  MappedFile file_;
  PackFacts facts_;
  std::span<const std::byte> image_;
};

/// The digests that the file's model had, of which those of unchanged files still hold;
/// none where there is no intact file of this format.
[[nodiscard]] std::vector<KnownFile> read_known_files(const std::string& path);

/// Replaces `path`. Errors: as replace_file.
[[nodiscard]] Result<void> write_packed_file(const std::string& path, const PackKey& key, const PackFacts& facts,
                                             std::span<const std::byte> image);

/// Where the packed file of a model lies: "tidegate-<name>.pack" in the model's folder, or
/// in `pack_folder`, where several models may lie, with a digest of the folder's path.
[[nodiscard]] std::string packed_file_path(const std::string& folder, const std::string& pack_folder,
                                           std::string_view name);

}  // namespace tidegate
