// PackLoader: a packed model from its file, or packed anew where the file does not serve.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "runner/encoder/model_packer.hpp"
#include "runner/encoder/packed_file.hpp"

namespace tidegate {

/// A packed model, in memory or mapped. Moving it moves no number: views stay good.
class LoadedPack {
 public:
  LoadedPack(PackFacts facts, AlignedArray<std::byte> image) : facts_(std::move(facts)), memory_(std::move(image)) {}
  explicit LoadedPack(PackedFile file) : file_(std::move(file)) {}

  [[nodiscard]] const PackFacts& facts() const noexcept { return file_ ? file_->facts() : facts_; }
  [[nodiscard]] std::span<const std::byte> image() const noexcept { return file_ ? file_->image() : memory_.span(); }

  std::vector<std::string> notes;  ///< why a file was not used or could not be written

 private:
  std::optional<PackedFile> file_;
  PackFacts facts_;  // both unless there is a file
  AlignedArray<std::byte> memory_;
};

struct BuiltPack {
  PackedImage image;
  std::string report;
};
using PackBuilder = std::function<Result<BuiltPack>()>;

/// Takes the file at `path`; if it is absent, stale or damaged, builds, writes the file
/// and maps it. That no file could be written is a note, never an error. Errors: those
/// of `build`.
[[nodiscard]] Result<LoadedPack> load_pack(const std::string& path, const EncoderModel& model, const PackKey& key,
                                           const PackBuilder& build);

}  // namespace tidegate
